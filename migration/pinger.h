/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looks after the control channel while its owner is busy elsewhere: asks the
 * peer for signs of life and gives them, in a thread. A peer that works is so
 * told from one that is gone, on both sides.
 *
 * Between start and stop the owner leaves the channel alone.
 */
#ifndef GODWIT_MIGRATION_PINGER_H
#define GODWIT_MIGRATION_PINGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migration/message.h"

struct pinger {
	struct channel *ch;
	void (*news)(void *arg);	/* in its thread; may be NULL */
	void *arg;
	int stop_fd;			/* -1: it does not run */
	int cancel_fd;			/* the channel's, kept meanwhile */
	pthread_t thread;
	atomic_bool over;
	/* its thread's, until it is stopped */
	int ret;
	struct message said;
	struct error err;
};

/* It does not run, and can be stopped. */
void pinger_init(struct pinger *p);
/*
 * @news is called once if the peer is gone, or has said something. Without a
 * thread to be had it does not run: the peer may lose patience, no more.
 */
void pinger_start(struct pinger *p, struct channel *ch,
		  void (*news)(void *arg), void *arg);
/* Is there news? Any thread. */
bool pinger_over(const struct pinger *p);
/*
 * 0: no news; 1: the peer said *m, which the caller frees; or -errno: it is
 * gone.
 */
int pinger_stop(struct pinger *p, struct message *m, struct error *err)
	__must_check;

#endif
