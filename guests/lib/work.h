/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pacing, heartbeat and filling of memory, shared by the two workloads. */
#ifndef GUESTS_LIB_WORK_H
#define GUESTS_LIB_WORK_H

#include "guest.h"

struct work {
	/* configuration, from the command line */
	uint64_t base;		/* the working set's address: base=MiB */
	uint64_t pages;		/* its size: ws=MiB */
	uint64_t period;	/* of heartbeats, in ticks: hb=ms */
	uint64_t dot_period;	/* of single dots: tick=us, 0: none */
	uint64_t page_ticks;	/* a page's due time: rate=MiB/s, 0: at once */
	char order;		/* ord=s: one after the other, r: random */
	/* progress */
	uint64_t done, sweeps, bad;
	uint64_t next, next_beat, next_dot, beats;
	uint64_t paced_from, paced, random;
};

/* reads the command line, prints "3", fills memory, prints "F us" */
void work_init(struct work *work, const struct start_info *info);
/* heartbeat and dots that are due; the time */
uint64_t work_poll(struct work *work);
/* polls until the next page is due; its number */
uint64_t work_next(struct work *work);

static inline uint64_t *work_page(const struct work *work, uint64_t page)
{
	return (uint64_t *)(work->base + page * PAGE_SIZE);
}

#endif
