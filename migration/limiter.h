/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bandwidth limit shared by the bulk channels of one migration. */
#ifndef GODWIT_MIGRATION_LIMITER_H
#define GODWIT_MIGRATION_LIMITER_H

#include <pthread.h>
#include <stdint.h>

struct limiter {
	uint64_t rate;		/* bytes/s, 0 = unlimited; fixed */
	uint64_t next;		/* when the line is free again, now_ns() */
	pthread_mutex_t lock;	/* protects next */
};

void limiter_init(struct limiter *l, uint64_t rate);
void limiter_exit(struct limiter *l);
/*
 * Book @bytes from the time @now on; returns when they may be sent. Time that
 * was not used is kept for at most 50 ms: a burst of that size.
 */
uint64_t limiter_book(struct limiter *l, uint64_t bytes, uint64_t now);
/* Book and wait; 0, or -ECANCELED / -ETIMEDOUT. */
int limiter_take(struct limiter *l, uint64_t bytes, int cancel_fd,
		 uint64_t deadline);

#endif
