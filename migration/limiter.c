/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/limiter.h"

#include <errno.h>

#include "migration/channel.h"
#include "vmm/base/util.h"

#define BURST_NS (50 * NSEC_PER_MSEC)

void limiter_init(struct limiter *l, uint64_t rate)
{
	l->rate = rate;
	l->next = 0;
	pthread_mutex_init(&l->lock, NULL);
}

void limiter_exit(struct limiter *l)
{
	pthread_mutex_destroy(&l->lock);
}

uint64_t limiter_book(struct limiter *l, uint64_t bytes, uint64_t now)
{
	uint64_t start;

	if (!l->rate)
		return now;
	pthread_mutex_lock(&l->lock);
	start = MAX(l->next, now - MIN(now, BURST_NS));
	l->next = start + (uint64_t)((double)bytes * 1e9 / (double)l->rate);
	pthread_mutex_unlock(&l->lock);
	return start;
}

int limiter_take(struct limiter *l, uint64_t bytes, int cancel_fd,
		 uint64_t deadline)
{
	uint64_t now = now_ns();
	uint64_t start = limiter_book(l, bytes, now);
	int ret;

	if (start <= now)
		return 0;
	if (deadline && start > deadline)
		return -ETIMEDOUT;
	ret = channel_wait_fd(-1, 0, cancel_fd, start);
	return ret == -ETIMEDOUT ? 0 : ret;
}
