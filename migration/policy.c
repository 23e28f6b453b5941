/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/policy.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/util.h"

#define STALLED_MAX 30		/* rounds without shrinking */
#define POLISH_MAX 4
#define POLISH_NS (2 * NSEC_PER_MSEC)	/* not worth another round */
#define POLISH_SHARE 4		/* of the time that it was watched */
#define OVERHEAD_NS (5 * NSEC_PER_MSEC)
/* A short round says little about the line: it must not spoil the estimate. */
#define MEASURE_NS (1 * NSEC_PER_MSEC)
#define MEASURE_BYTES (1 * MIB)
#define RAMP_STEPS 10
/* As QEMU: 20 % after two busy seconds, then 10 % more for each, up to 99 %. */
#define THROTTLE_PERIOD_NS NSEC_PER_SEC
#define THROTTLE_FIRST 20
#define THROTTLE_STEP 10
#define THROTTLE_MAX 99

void policy_init(struct policy *p, const struct policy_config *cfg)
{
	memset(p, 0, sizeof(*p));
	p->cfg = *cfg;
	p->cfg.downtime_ns = MIN(cfg->downtime_ns, cfg->max_pause_ns);
	if (!cfg->overhead_ns)
		p->cfg.overhead_ns = OVERHEAD_NS;
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
	if (p->cfg.bandwidth_limit)
		p->bandwidth = MIN(p->bandwidth, p->cfg.bandwidth_limit);
	p->bandwidth = MAX(p->bandwidth, 1ull);
	p->dirty_rate = rate(round->dirty, round->dirty_ns);
	if (round->dirty_ns >= MEASURE_NS)
		p->worst_rate = MAX(p->worst_rate, p->dirty_rate);
	if (round->dirty < p->least - p->least / 20) {
		p->least = round->dirty;
		p->stalled = 0;
	} else {
		p->stalled++;
	}
}

static uint64_t send_time(const struct policy *p, uint64_t bytes)
{
	return (uint64_t)((double)bytes * 1e9 / (double)p->bandwidth);
}

/* The pause that is good enough by now. */
static uint64_t wish(struct policy *p, uint64_t elapsed_ns)
{
	uint64_t last = RAMP_STEPS - 1;

	if (elapsed_ns >= p->cfg.ramp_ns)
		p->step = RAMP_STEPS - 1;
	else
		p->step = (unsigned int)MAX(p->step, elapsed_ns * last /
					    p->cfg.ramp_ns);
	return p->cfg.downtime_ns / RAMP_STEPS * (p->step + 1);
}

/*
 * Short enough to stop. Another round costs about what the pause would, with
 * the guest running; it is worth that as long as it halves the rest, and as
 * long as the guest at twice its busiest could not spoil what was reached.
 */
static enum policy_verdict polish(struct policy *p, uint64_t rest,
				  uint64_t wish_ns, uint64_t elapsed_ns)
{
	uint64_t ns = send_time(p, rest);
	double spoilt = (double)p->worst_rate * (double)ns / 1e9;

	if (p->polished >= POLISH_MAX || ns <= POLISH_NS ||
	    ns > elapsed_ns / POLISH_SHARE)
		return POLICY_STOP;
	if (p->polished && rest > p->previous / 2)
		return POLICY_STOP;
	if (send_time(p, (uint64_t)spoilt) * 2 + p->cfg.overhead_ns > wish_ns)
		return POLICY_STOP;
	p->polished++;
	return POLICY_CONTINUE;
}

/*
 * Does the guest dirty more than half of what the line carries, for a second
 * at least? What is dirty after a round was written under the throttle of now,
 * so one such period shows what a step did.
 */
static bool busy_period(struct policy *p, const struct policy_round *round)
{
	bool busy;

	p->period_ns += round->sent_ns;
	p->period_sent += round->sent;
	p->period_dirty += round->dirty;
	if (p->period_ns < THROTTLE_PERIOD_NS)
		return false;
	busy = p->period_dirty > p->period_sent / 2;
	p->busy = busy ? p->busy + 1 : 0;
	p->period_ns = p->period_sent = p->period_dirty = 0;
	return busy;
}

static void throttle_more(struct policy *p, const struct policy_round *round)
{
	if (!busy_period(p, round) || p->throttle == THROTTLE_MAX)
		return;
	if (p->throttle)
		p->throttle = MIN(p->throttle + THROTTLE_STEP, THROTTLE_MAX);
	else if (p->busy >= 2)
		p->throttle = THROTTLE_FIRST;
	else
		return;
	p->stalled = 0;
	p->least = UINT64_MAX;
}

static bool too_late(const struct policy *p, uint64_t elapsed_ns)
{
	return p->cfg.timeout_ns && elapsed_ns > p->cfg.timeout_ns;
}

bool policy_switches(const struct policy *p, uint64_t elapsed_ns)
{
	return p->cfg.on_timeout == POLICY_POSTCOPY && too_late(p, elapsed_ns);
}

int policy_time(const struct policy *p, uint64_t elapsed_ns,
		struct error *err)
{
	if (p->cfg.on_timeout != POLICY_ABORT || !too_late(p, elapsed_ns))
		return 0;
	return error_set(err, ETIMEDOUT, "not done within %llu s (--timeout)",
			 (unsigned long long)(p->cfg.timeout_ns / NSEC_PER_SEC));
}

/* Nothing helped. */
static bool hopeless(struct policy *p)
{
	if (p->stalled < STALLED_MAX)
		return false;
	if (p->step < RAMP_STEPS - 1) {
		p->step++;
		p->stalled = 0;
		return false;
	}
	return !p->cfg.timeout_ns &&
	       (!p->cfg.auto_converge || p->throttle == THROTTLE_MAX);
}

/* No page is in the pause. */
static enum policy_verdict switch_over(struct policy *p)
{
	p->expected_ns = p->cfg.overhead_ns;
	return POLICY_SWITCH;
}

static void tell_why(const struct policy *p, struct error *err)
{
	error_set(err, ETIME,
		  "does not converge: the guest dirties %llu MiB/s, the network carries %llu MiB/s, the pause would take %llu ms (wished %llu): raise --downtime or lower the load%s",
		  (unsigned long long)(p->dirty_rate / MIB),
		  (unsigned long long)(p->bandwidth / MIB),
		  (unsigned long long)(p->expected_ns / NSEC_PER_MSEC),
		  (unsigned long long)(p->cfg.downtime_ns / NSEC_PER_MSEC),
		  p->cfg.auto_converge ? "" : ", or let --auto-converge do it");
}

enum policy_verdict policy_round(struct policy *p,
				 const struct policy_round *round,
				 struct error *err)
{
	uint64_t rest = round->dirty, good;
	uint64_t before = p->previous ? p->previous : round->sent;
	enum policy_verdict verdict = POLICY_CONTINUE;

	learn(p, round);
	good = wish(p, round->elapsed_ns);
	p->expected_ns = send_time(p, rest) + p->cfg.overhead_ns;
	if (p->expected_ns <= good)
		verdict = polish(p, rest, good, round->elapsed_ns);
	else if (p->cfg.auto_converge)
		throttle_more(p, round);
	p->previous = rest;
	if (p->expected_ns <= good)
		return verdict;
	/* as long as rounds help, no memory need follow its guest */
	if (p->cfg.postcopy && rest > before / 2)
		return switch_over(p);
	if (!too_late(p, round->elapsed_ns) && !hopeless(p))
		return POLICY_CONTINUE;
	if (p->cfg.on_timeout == POLICY_PAUSE)
		return POLICY_FORCE;
	if (p->cfg.on_timeout == POLICY_POSTCOPY || p->cfg.postcopy)
		return switch_over(p);
	tell_why(p, err);
	if (too_late(p, round->elapsed_ns))
		error_prefix(err, "not done within %llu s (--timeout)",
			     (unsigned long long)(p->cfg.timeout_ns /
						  NSEC_PER_SEC));
	return POLICY_GIVE_UP;
}
