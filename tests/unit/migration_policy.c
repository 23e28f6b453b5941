/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migration/limiter.h"
#include "migration/policy.h"
#include "vmm/base/util.h"

#define MS NSEC_PER_MSEC

/* A round that sent 1 GiB/s for a second and left @dirty MiB. */
static struct policy_round left(uint64_t mib)
{
	return (struct policy_round){ .sent = GIB, .sent_ns = NSEC_PER_SEC,
				      .dirty = mib * MIB,
				      .dirty_ns = NSEC_PER_SEC,
				      .elapsed_ns = 10 * NSEC_PER_SEC };
}

static struct policy wished(uint64_t downtime, uint64_t limit)
{
	const struct policy_config cfg = {
		.downtime_ns = downtime,
		.max_pause_ns = 500 * MS,
		.bandwidth_limit = limit,
		.on_timeout = POLICY_ABORT,
	};
	struct policy p;

	policy_init(&p, &cfg);
	return p;
}

static enum policy_verdict feed(struct policy *p, uint64_t mib)
{
	struct policy_round r = left(mib);
	struct error err = ERROR_INIT;

	return policy_round(p, &r, &err);
}

static void long_pause_predicted_goes_on(void **state)
{
	struct policy p = wished(300 * MS, 0);

	(void)state;
	assert_int_equal(feed(&p, 512), POLICY_CONTINUE);
	/* 512 MiB at 1 GiB/s */
	assert_in_range(p.expected_ns, 500 * MS, 510 * MS);
}

static void nothing_left_stops_at_once(void **state)
{
	struct policy p = wished(300 * MS, 0);

	(void)state;
	assert_int_equal(feed(&p, 0), POLICY_STOP);
}

static void rounds_that_still_halve_the_rest_are_used(void **state)
{
	struct policy p = wished(300 * MS, 0);

	(void)state;
	assert_int_equal(feed(&p, 200), POLICY_CONTINUE);
	assert_int_equal(feed(&p, 60), POLICY_CONTINUE);
	assert_int_equal(feed(&p, 40), POLICY_STOP);
}

static void wish_above_the_cap_is_cut_to_the_cap(void **state)
{
	struct policy p = wished(10000 * MS, 0);

	(void)state;
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(feed(&p, 800), POLICY_CONTINUE);
}

static void thirty_rounds_without_shrinking_give_up(void **state)
{
	struct policy_round r = left(800);
	struct error err = ERROR_INIT;
	struct policy p = wished(300 * MS, 0);

	(void)state;
	for (unsigned int i = 0; i < 30; i++)
		assert_int_equal(policy_round(&p, &r, &err), POLICY_CONTINUE);
	assert_int_equal(policy_round(&p, &r, &err), POLICY_GIVE_UP);
	assert_non_null(strstr(err.msg, "does not converge"));
	assert_non_null(strstr(err.msg, "800 MiB/s"));
	assert_non_null(strstr(err.msg, "1024 MiB/s"));
}

static void slow_shrinking_does_not_give_up(void **state)
{
	uint64_t mib = 100000;
	struct policy p = wished(300 * MS, 0);

	(void)state;
	for (unsigned int i = 0; i < 60; i++, mib = mib * 92 / 100)
		assert_int_equal(feed(&p, mib), POLICY_CONTINUE);
}

static void limit_bounds_the_bandwidth_counted_on(void **state)
{
	struct policy p = wished(300 * MS, 100 * MIB);

	(void)state;
	assert_int_equal(feed(&p, 50), POLICY_CONTINUE);
	assert_int_equal(p.bandwidth, 100 * MIB);
	assert_in_range(p.expected_ns, 500 * MS, 510 * MS);
}

static void tiny_round_does_not_spoil_the_bandwidth(void **state)
{
	struct policy_round tiny = { .sent = 100, .sent_ns = MS,
				     .dirty = 512 * MIB, .dirty_ns = MS };
	struct error err = ERROR_INIT;
	struct policy p = wished(300 * MS, 0);

	(void)state;
	feed(&p, 512);
	policy_round(&p, &tiny, &err);
	assert_int_equal(p.bandwidth, GIB);
}

/* A second in which the guest dirtied @dirty MiB of 1000 that were sent. */
static enum policy_verdict second(struct policy *p, uint64_t dirty)
{
	struct policy_round r = { .sent = 1000 * MIB, .sent_ns = NSEC_PER_SEC,
				  .dirty = dirty * MIB,
				  .dirty_ns = NSEC_PER_SEC };
	struct error err = ERROR_INIT;

	return policy_round(p, &r, &err);
}

static void busy_guest_is_throttled_step_by_step(void **state)
{
	static const unsigned int steps[] = { 0, 20, 30, 40, 50, 60, 70, 80,
					      90, 99, 99 };
	struct policy p = wished(300 * MS, 0);

	(void)state;
	p.cfg.auto_converge = true;
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		assert_int_equal(second(&p, 800), POLICY_CONTINUE);
		assert_int_equal(p.throttle, steps[i]);
	}
	for (unsigned int i = 0; i < 29; i++)
		assert_int_equal(second(&p, 800), POLICY_CONTINUE);
	assert_int_equal(second(&p, 800), POLICY_GIVE_UP);
}

static void guest_that_converges_is_not_throttled(void **state)
{
	struct policy p = wished(300 * MS, 0);

	(void)state;
	p.cfg.auto_converge = true;
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(second(&p, 450), POLICY_CONTINUE);
	assert_int_equal(p.throttle, 0);
	/* one busy second is none */
	second(&p, 800);
	second(&p, 450);
	second(&p, 800);
	assert_int_equal(p.throttle, 0);
}

static void nobody_is_throttled_unasked(void **state)
{
	struct policy p = wished(300 * MS, 0);

	(void)state;
	for (unsigned int i = 0; i < 20; i++)
		second(&p, 800);
	assert_int_equal(p.throttle, 0);
}

/* 100 MiB are left at 1 GiB/s: about 103 ms. */
static enum policy_verdict at(struct policy *p, uint64_t seconds)
{
	struct policy_round r = left(100);
	struct error err = ERROR_INIT;

	r.elapsed_ns = seconds * NSEC_PER_SEC;
	p->polished = 100;
	return policy_round(p, &r, &err);
}

static void wish_grows_over_the_ramp(void **state)
{
	struct policy p = wished(300 * MS, 0);

	(void)state;
	p.cfg.ramp_ns = 90 * NSEC_PER_SEC;
	assert_int_equal(at(&p, 1), POLICY_CONTINUE);
	assert_int_equal(at(&p, 29), POLICY_CONTINUE);
	assert_int_equal(at(&p, 30), POLICY_STOP);
}

static void ramp_does_not_wait_where_nothing_shrinks(void **state)
{
	struct policy p = wished(300 * MS, 0);
	unsigned int rounds = 0;

	(void)state;
	p.cfg.ramp_ns = 90000 * NSEC_PER_SEC;
	while (at(&p, 1) == POLICY_CONTINUE)
		rounds++;
	assert_in_range(rounds, 60, 100);
}

static void time_out_aborts_or_pauses(void **state)
{
	struct policy p = wished(300 * MS, 0);
	struct policy_round r = left(800);
	struct error err = ERROR_INIT;

	(void)state;
	p.cfg.timeout_ns = 20 * NSEC_PER_SEC;
	r.elapsed_ns = 20 * NSEC_PER_SEC;
	/* no end before that, however little it shrinks */
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(policy_round(&p, &r, &err), POLICY_CONTINUE);
	r.elapsed_ns++;
	assert_int_equal(policy_round(&p, &r, &err), POLICY_GIVE_UP);
	assert_non_null(strstr(err.msg, "20 s (--timeout)"));
	assert_int_equal(policy_time(&p, r.elapsed_ns, &err), -ETIMEDOUT);
	p.cfg.on_timeout = POLICY_PAUSE;
	assert_int_equal(policy_round(&p, &r, &err), POLICY_FORCE);
	assert_int_equal(policy_time(&p, r.elapsed_ns, &err), 0);
	/* what is short enough needs no force */
	r.dirty = 0;
	assert_int_equal(policy_round(&p, &r, &err), POLICY_STOP);
}

static void limiter_spreads_bytes_over_time(void **state)
{
	struct limiter l;
	uint64_t now = 10 * NSEC_PER_SEC;

	(void)state;
	limiter_init(&l, 100 * MIB);
	/* the burst of 50 ms, then one at a time */
	assert_int_equal(limiter_book(&l, 10 * MIB, now), now - 50 * MS);
	assert_int_equal(limiter_book(&l, 10 * MIB, now), now + 50 * MS);
	assert_int_equal(limiter_book(&l, 10 * MIB, now), now + 150 * MS);
	limiter_exit(&l);
}

static void limiter_without_a_rate_never_waits(void **state)
{
	struct limiter l;

	(void)state;
	limiter_init(&l, 0);
	assert_int_equal(limiter_book(&l, UINT64_MAX, 5), 5);
	assert_int_equal(limiter_book(&l, UINT64_MAX, 5), 5);
	limiter_exit(&l);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_pause_predicted_goes_on),
		cmocka_unit_test(nothing_left_stops_at_once),
		cmocka_unit_test(rounds_that_still_halve_the_rest_are_used),
		cmocka_unit_test(wish_above_the_cap_is_cut_to_the_cap),
		cmocka_unit_test(thirty_rounds_without_shrinking_give_up),
		cmocka_unit_test(slow_shrinking_does_not_give_up),
		cmocka_unit_test(limit_bounds_the_bandwidth_counted_on),
		cmocka_unit_test(tiny_round_does_not_spoil_the_bandwidth),
		cmocka_unit_test(busy_guest_is_throttled_step_by_step),
		cmocka_unit_test(guest_that_converges_is_not_throttled),
		cmocka_unit_test(nobody_is_throttled_unasked),
		cmocka_unit_test(wish_grows_over_the_ramp),
		cmocka_unit_test(ramp_does_not_wait_where_nothing_shrinks),
		cmocka_unit_test(time_out_aborts_or_pauses),
		cmocka_unit_test(limiter_spreads_bytes_over_time),
		cmocka_unit_test(limiter_without_a_rate_never_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
