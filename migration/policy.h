/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to stop the guest, and what to do with one that is too busy: a pure
 * function of what the rounds measured. forecast.h runs it on a model.
 *
 * The pause is predicted as the time to send what is dirty, at the bandwidth
 * of the last rounds, plus the time for everything else in the pause.
 */
#ifndef GODWIT_MIGRATION_POLICY_H
#define GODWIT_MIGRATION_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"

enum policy_verdict {
	POLICY_CONTINUE = 1,	/* with vCPUs throttled by @throttle */
	POLICY_STOP,		/* pause now: it will be short */
	POLICY_FORCE,		/* pause now, however long: on_timeout asks */
	POLICY_SWITCH,		/* pause now, the rest by post-copy */
	POLICY_GIVE_UP,		/* @err says by how much it does not converge */
};

/* What to do when time is out; without a timeout, when nothing shrinks. */
enum policy_timeout {
	POLICY_ABORT = 1,	/* the guest goes on here */
	POLICY_PAUSE,		/* the guest is stopped, so that it converges */
	POLICY_POSTCOPY,	/* the guest runs there, its memory follows */
};

struct policy_config {
	uint64_t downtime_ns;		/* wished pause */
	uint64_t max_pause_ns;		/* cap */
	uint64_t ramp_ns;		/* the wish grows to downtime over this
					 * time, in ten steps; 0: no ramp */
	uint64_t timeout_ns;		/* for all before the pause, 0 = none */
	uint64_t bandwidth_limit;	/* bytes/s, 0 = none */
	uint64_t overhead_ns;		/* the pause but for pages, estimated */
	enum policy_timeout on_timeout;
	bool auto_converge;		/* throttle what does not converge */
	bool postcopy;			/* switch once rounds don't halve the rest */
};

struct policy {
	struct policy_config cfg;

	/* what was learnt */
	uint64_t bandwidth;		/* bytes/s, 0 = not known yet */
	uint64_t dirty_rate;		/* bytes/s */
	uint64_t worst_rate;		/* the highest of those */
	uint64_t least;			/* smallest rest so far, bytes */
	uint64_t previous;		/* rest before the last round */
	uint64_t expected_ns;		/* predicted pause */
	unsigned int stalled;		/* rounds without a new least */
	unsigned int polished;		/* rounds below the wished pause */
	unsigned int step;		/* of the ramp, 0..9 */

	/* throttling */
	unsigned int throttle;		/* wanted now, percent */
	unsigned int busy;		/* busy periods in a row, if none yet */
	uint64_t period_ns, period_sent, period_dirty;
};

/* What a round did. */
struct policy_round {
	uint64_t sent;		/* bytes on the wire */
	uint64_t sent_ns;	/* until the destination had them */
	uint64_t dirty;		/* bytes that are dirty now */
	uint64_t dirty_ns;	/* since the sync before */
	uint64_t elapsed_ns;	/* since the migration began */
};

void policy_init(struct policy *p, const struct policy_config *cfg);
enum policy_verdict policy_round(struct policy *p,
				 const struct policy_round *round,
				 struct error *err);
/* Within a round: is time out, and shall the rest follow by post-copy? */
bool policy_switches(const struct policy *p, uint64_t elapsed_ns);
/* Within a round: is it time to abort? 0, or -ETIMEDOUT. */
int policy_time(const struct policy *p, uint64_t elapsed_ns,
		struct error *err);

#endif
