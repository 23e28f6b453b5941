/* SPDX-License-Identifier: GPL-2.0-or-later */
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
				      .dirty_ns = NSEC_PER_SEC };
}

static enum policy_verdict feed(struct policy *p, uint64_t mib)
{
	struct policy_round r = left(mib);
	struct error err = ERROR_INIT;

	return policy_round(p, &r, &err);
}

static void long_pause_predicted_goes_on(void **state)
{
	struct policy p;

	(void)state;
	policy_init(&p, 300 * MS, 500 * MS, 0);
	assert_int_equal(feed(&p, 512), POLICY_CONTINUE);
	/* 512 MiB at 1 GiB/s */
	assert_in_range(p.expected_ns, 500 * MS, 510 * MS);
}

static void nothing_left_stops_at_once(void **state)
{
	struct policy p;

	(void)state;
	policy_init(&p, 300 * MS, 500 * MS, 0);
	assert_int_equal(feed(&p, 0), POLICY_STOP);
}

static void rounds_that_still_halve_the_rest_are_used(void **state)
{
	struct policy p;

	(void)state;
	policy_init(&p, 300 * MS, 500 * MS, 0);
	assert_int_equal(feed(&p, 200), POLICY_CONTINUE);
	assert_int_equal(feed(&p, 60), POLICY_CONTINUE);
	assert_int_equal(feed(&p, 40), POLICY_STOP);
}

static void wish_above_the_cap_is_cut_to_the_cap(void **state)
{
	struct policy p;

	(void)state;
	policy_init(&p, 10000 * MS, 500 * MS, 0);
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(feed(&p, 800), POLICY_CONTINUE);
}

static void thirty_rounds_without_shrinking_give_up(void **state)
{
	struct policy_round r = left(800);
	struct error err = ERROR_INIT;
	struct policy p;

	(void)state;
	policy_init(&p, 300 * MS, 500 * MS, 0);
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
	struct policy p;

	(void)state;
	policy_init(&p, 300 * MS, 500 * MS, 0);
	for (unsigned int i = 0; i < 60; i++, mib = mib * 92 / 100)
		assert_int_equal(feed(&p, mib), POLICY_CONTINUE);
}

static void limit_bounds_the_bandwidth_counted_on(void **state)
{
	struct policy p;

	(void)state;
	policy_init(&p, 300 * MS, 500 * MS, 100 * MIB);
	assert_int_equal(feed(&p, 50), POLICY_CONTINUE);
	assert_int_equal(p.bandwidth, 100 * MIB);
	assert_in_range(p.expected_ns, 500 * MS, 510 * MS);
}

static void tiny_round_does_not_spoil_the_bandwidth(void **state)
{
	struct policy_round tiny = { .sent = 100, .sent_ns = MS,
				     .dirty = 512 * MIB, .dirty_ns = MS };
	struct error err = ERROR_INIT;
	struct policy p;

	(void)state;
	policy_init(&p, 300 * MS, 500 * MS, 0);
	feed(&p, 512);
	policy_round(&p, &tiny, &err);
	assert_int_equal(p.bandwidth, GIB);
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
		cmocka_unit_test(limiter_spreads_bytes_over_time),
		cmocka_unit_test(limiter_without_a_rate_never_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
