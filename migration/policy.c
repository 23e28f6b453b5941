/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/policy.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/util.h"

#define STALLED_MAX 30		/* rounds without shrinking */
#define POLISH_MAX 4
#define POLISH_NS (2 * NSEC_PER_MSEC)	/* not worth another round */
#define OVERHEAD_NS (5 * NSEC_PER_MSEC)
/* A short round says little about the line: it must not spoil the estimate. */
#define MEASURE_NS (1 * NSEC_PER_MSEC)
#define MEASURE_BYTES (1 * MIB)

void policy_init(struct policy *p, uint64_t downtime_ns, uint64_t max_pause_ns,
		 uint64_t bandwidth_limit)
{
	memset(p, 0, sizeof(*p));
	p->downtime_ns = MIN(downtime_ns, max_pause_ns);
	p->max_pause_ns = max_pause_ns;
	p->bandwidth_limit = bandwidth_limit;
	p->overhead_ns = OVERHEAD_NS;
	p->least = UINT64_MAX;
}

static uint64_t rate(uint64_t bytes, uint64_t ns)
{
	return (uint64_t)((double)bytes * 1e9 / (double)MAX(ns, 1ull));
}

static void learn(struct policy *p, const struct policy_round *round)
{
	uint64_t now = rate(round->sent, round->sent_ns);

	if (!p->bandwidth)
		p->bandwidth = now;
	else if (round->sent_ns >= MEASURE_NS && round->sent >= MEASURE_BYTES)
		p->bandwidth = p->bandwidth / 2 + now / 2;
	if (p->bandwidth_limit)
		p->bandwidth = MIN(p->bandwidth, p->bandwidth_limit);
	p->bandwidth = MAX(p->bandwidth, 1ull);
	p->dirty_rate = rate(round->dirty, round->dirty_ns);
}

static uint64_t send_time(const struct policy *p, uint64_t bytes)
{
	return (uint64_t)((double)bytes * 1e9 / (double)p->bandwidth);
}

/*
 * Short enough to stop. Another round costs about what the pause would, with
 * the guest running; it is worth that as long as it halves the rest.
 */
static enum policy_verdict polish(struct policy *p, uint64_t rest)
{
	if (p->polished >= POLISH_MAX || send_time(p, rest) <= POLISH_NS)
		return POLICY_STOP;
	if (p->polished && rest > p->previous / 2)
		return POLICY_STOP;
	p->polished++;
	return POLICY_CONTINUE;
}

enum policy_verdict policy_round(struct policy *p,
				 const struct policy_round *round,
				 struct error *err)
{
	uint64_t rest = round->dirty;
	enum policy_verdict verdict = POLICY_CONTINUE;

	learn(p, round);
	p->expected_ns = send_time(p, rest) + p->overhead_ns;
	if (rest < p->least - p->least / 20) {
		p->least = rest;
		p->stalled = 0;
	} else {
		p->stalled++;
	}
	if (p->expected_ns <= p->downtime_ns) {
		verdict = polish(p, rest);
	} else if (p->stalled >= STALLED_MAX) {
		verdict = POLICY_GIVE_UP;
		error_set(err, ETIME,
			  "does not converge: the guest dirties %llu MiB/s, the network carries %llu MiB/s, the pause would take %llu ms (wished %llu): raise --downtime or lower the load",
			  (unsigned long long)(p->dirty_rate / MIB),
			  (unsigned long long)(p->bandwidth / MIB),
			  (unsigned long long)(p->expected_ns / NSEC_PER_MSEC),
			  (unsigned long long)(p->downtime_ns / NSEC_PER_MSEC));
	}
	p->previous = rest;
	return verdict;
}
