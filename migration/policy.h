/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to stop the guest: a pure function of what the rounds measured.
 *
 * The pause is predicted as the time to send what is dirty, at the bandwidth
 * of the last rounds, plus the time for everything else in the pause.
 */
#ifndef GODWIT_MIGRATION_POLICY_H
#define GODWIT_MIGRATION_POLICY_H

#include <stdint.h>

#include "vmm/base/error.h"

enum policy_verdict {
	POLICY_CONTINUE = 1,
	POLICY_STOP,		/* pause now */
	POLICY_GIVE_UP,		/* does not converge; @err says by how much */
};

struct policy {
	/* configuration */
	uint64_t downtime_ns;		/* wished pause */
	uint64_t max_pause_ns;		/* cap */
	uint64_t bandwidth_limit;	/* bytes/s, 0 = none */
	uint64_t overhead_ns;		/* all but the pages, estimated */

	/* what was learnt */
	uint64_t bandwidth;		/* bytes/s, 0 = not known yet */
	uint64_t dirty_rate;		/* bytes/s */
	uint64_t least;			/* smallest rest so far, bytes */
	uint64_t previous;		/* rest before the last round */
	uint64_t expected_ns;		/* predicted pause */
	unsigned int stalled;		/* rounds without a new least */
	unsigned int polished;		/* rounds below the wished pause */
};

/* What a round did. */
struct policy_round {
	uint64_t sent;		/* bytes on the wire */
	uint64_t sent_ns;	/* until the destination had them */
	uint64_t dirty;		/* bytes that are dirty now */
	uint64_t dirty_ns;	/* since the sync before */
};

void policy_init(struct policy *p, uint64_t downtime_ns, uint64_t max_pause_ns,
		 uint64_t bandwidth_limit);
enum policy_verdict policy_round(struct policy *p,
				 const struct policy_round *round,
				 struct error *err);

#endif
