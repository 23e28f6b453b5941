/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a migration would go: the rounds of policy.h on a model of the guest and
 * of the line. Pure functions; a dry run feeds them with what it measured, the
 * tests with hundreds of made-up guests.
 */
#ifndef GODWIT_MIGRATION_FORECAST_H
#define GODWIT_MIGRATION_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/policy.h"

struct forecast_model {
	/* Bytes of distinct pages written from @from_ns on, for @ns, by a
	 * guest that is throttled by @throttle percent. */
	uint64_t (*dirty)(const void *arg, uint64_t from_ns, uint64_t ns,
			  unsigned int throttle);
	const void *arg;
	uint64_t first;		/* bytes of the first round, on the wire */
	uint64_t bandwidth;	/* bytes/s */
	uint64_t latency_ns;	/* of a round, beside its bytes */
	uint64_t overhead_ns;	/* of the pause, beside its pages */
};

/* All zero: none was made. */
struct forecast {
	enum policy_verdict end;	/* never CONTINUE */
	unsigned int rounds;		/* before the pause */
	unsigned int throttle;		/* percent, at the end */
	uint64_t bytes;			/* on the wire */
	uint64_t total_ns;		/* with the pause */
	uint64_t pause_ns;
	uint64_t least_ns;		/* the shortest pause on the way */
	uint64_t bandwidth, dirty_rate;	/* bytes/s, that it counts on */
};

void forecast_run(struct forecast *f, const struct forecast_model *model,
		  const struct policy_config *cfg);

/* What it would take, each by itself; 0: can't be had that way. */
struct forecast_needs {
	unsigned int throttle;		/* with auto-converge, percent */
	uint64_t downtime_ns;
	uint64_t bandwidth;
};

void forecast_needs(struct forecast_needs *needs,
		    const struct forecast_model *model,
		    const struct policy_config *cfg);

#define FORECAST_POINTS 8

/*
 * What a guest dirties, as it was measured: @bytes are dirty @ns after all was
 * clean. Grows in both; linear between the points, and behind the last one by
 * the slope of the last two, up to @memory.
 */
struct forecast_curve {
	unsigned int n;
	struct { uint64_t ns, bytes; } point[FORECAST_POINTS];
	uint64_t memory;
};

/* The dirty() of a model whose @arg is a curve. */
uint64_t forecast_curve_dirty(const void *arg, uint64_t from_ns, uint64_t ns,
			      unsigned int throttle);

#endif
