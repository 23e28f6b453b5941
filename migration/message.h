/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control messages on a channel: whole, checked, bounded. */
#ifndef GODWIT_MIGRATION_MESSAGE_H
#define GODWIT_MIGRATION_MESSAGE_H

#include "migration/channel.h"
#include "migration/wire.h"

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
void message_free(struct message *m);
/* Say HELLO, wait for the other's and check that it fits ours. */
int message_hello(struct channel *ch, const struct wire_hello *mine,
		  uint64_t deadline, struct error *err) __must_check;

#endif
