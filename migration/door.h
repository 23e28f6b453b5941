/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of a destination: who knocks is asked for an allowed address, for
 * TLS where it is wanted, for an allowed name, and for HELLO; all in seconds,
 * and several at a time, so that no stranger keeps another one waiting.
 *
 * At most DOOR_MAX stand at the door; when one more comes, the one that has
 * stood there longest without a HELLO is sent away.
 *
 * Used by the destination's thread alone, which it never makes wait longer
 * than it was told to.
 */
#ifndef GODWIT_MIGRATION_DOOR_H
#define GODWIT_MIGRATION_DOOR_H

#include <poll.h>

#include "migration/channel.h"
#include "migration/wire.h"
#include "vmm/base/log.h"

#define DOOR_MAX 16
#define DOOR_EXTRA 2

struct door_visitor;

struct door {
	struct listener listener;
	struct channel_security security;
	const struct log *log;
	int stop_fd;			/* not owned */
	struct door_visitor *visitor[DOOR_MAX];
	uint64_t told_since;		/* for the limit on log lines */
	unsigned int told, untold;
};

/* Listen. */
int door_open(struct door *d, const char *uri,
	      const struct channel_security *security, const struct log *log,
	      int stop_fd, struct error *err) __must_check;
void door_close(struct door *d);
/*
 * Wait for a visitor who may come in and said HELLO (1: take it), or until
 * something happens on one of the @n (DOOR_EXTRA at most) @extra (0). Else
 * -ETIMEDOUT, or -ECANCELED when stop_fd is readable.
 */
int door_wait(struct door *d, struct pollfd *extra, unsigned int n,
	      uint64_t deadline);
/* After a 1: the visitor, with HELLO answered. -errno: it left meanwhile. */
int door_take(struct door *d, struct channel *ch, struct wire_hello *hello,
	      struct error *err) __must_check;
/* Send REFUSE to a visitor that was taken. That it is read is seen to while
 * others are waited for. */
void door_refuse(struct door *d, struct channel *ch, const char *why);

#endif
