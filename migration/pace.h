/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How hard a channel compresses: a pure function of what that cost and what it
 * gave. A level is kept only if memory goes faster with it than without.
 *
 * A channel compresses and sends in turns. While it waits for the link, there is
 * time to compress harder; while the link waits for it, it should compress
 * less. So the larger share says which way to try the next step, and the rate
 * at which memory went, before and after, whether it was right. A step that
 * gained nothing is taken back, and tried again later, each time four times as late.
 */
#ifndef GODWIT_MIGRATION_PACE_H
#define GODWIT_MIGRATION_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_STEPS 7		/* levels, with "as it is" */
#define PACE_WINDOW (8ull << 20)	/* bytes of memory between decisions */
#define PACE_PROBE (2ull << 20)		/* when trying whether to compress at all */

/* One thread's. */
struct pace {
	unsigned int step;	/* of the levels */
	/* since the last decision */
	uint64_t raw, out;	/* bytes of memory, and on the wire */
	uint64_t cpu_ns, send_ns;
	/* the step that is being tried */
	bool trying;
	unsigned int old_step;
	double old_rate;
	unsigned int wait, patience;	/* windows until the next try */
};

/* What a batch of pages took. */
struct pace_batch {
	uint64_t raw;		/* bytes of guest memory */
	uint64_t out;		/* bytes on the wire for them */
	uint64_t cpu_ns;	/* compressing */
	uint64_t send_ns;	/* until the socket had them, limit included */
};

void pace_init(struct pace *p);
/* zstd's level, -20 to 9; 0: send memory as it is. */
int pace_level(const struct pace *p);
void pace_note(struct pace *p, const struct pace_batch *b);

#endif
