/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control messages on a channel: whole, checked, bounded. */
#ifndef GODWIT_MIGRATION_MESSAGE_H
#define GODWIT_MIGRATION_MESSAGE_H

#include "migration/channel.h"
#include "migration/wire.h"

/* How long a peer may be silent, and a message be on its way. */
#define MESSAGE_IDLE_NS (7 * NSEC_PER_SEC)

struct message {
	enum wire_type type;
	size_t len;
	uint8_t *payload;	/* malloc'ed, or NULL */
};

/* The payload is @a followed by @b; either may be empty. */
int message_send(struct channel *ch, enum wire_type type, const void *a,
		 size_t alen, const void *b, size_t blen, uint64_t deadline,
		 struct error *err) __must_check;
/* GO, QUERY, BYE; and with a text DEAD, CANCEL. */
int message_send_job(struct channel *ch, enum wire_type type,
		     const struct wire_job *job, const char *text,
		     uint64_t deadline, struct error *err) __must_check;
/*
 * The next message that means something: PING is answered, PONG and what is
 * unknown but not mandatory are skipped. Free it, also after an error.
 */
int message_recv(struct channel *ch, struct message *m, uint64_t deadline,
		 struct error *err) __must_check;
/* The next message, whatever it is: 1 if it means something, 0 if not. */
int message_next(struct channel *ch, struct message *m, uint64_t deadline,
		 struct error *err) __must_check;
/*
 * Like message_recv(), from a peer that may be busy for long: every quarter of
 * the channel's idle_ns (or MESSAGE_IDLE_NS) it is asked for a sign of life by
 * PING. Silence for all of that, or the deadline, is -ETIMEDOUT. @stop_fd ends
 * the wait between two messages, never within one.
 */
int message_await(struct channel *ch, struct message *m, int stop_fd,
		  uint64_t deadline, struct error *err) __must_check;
void message_free(struct message *m);
/* Say HELLO, wait for the other's and check that it fits ours. */
int message_hello(struct channel *ch, const struct wire_hello *mine,
		  uint64_t deadline, struct error *err) __must_check;

#endif
