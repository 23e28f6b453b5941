/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the rest that the policy asks for is shared out among vCPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "migration/vcpus.h"
#include "vmm/base/util.h"

/* vCPUs that dirty so many pages in a second, and rested as ->rest says. */
static struct vcpu_loads loads(unsigned int n, const uint64_t *rate)
{
	const uint64_t zero[VM_MAX_VCPUS] = { 0 };
	struct vcpu_loads l = { 0 };

	assert_true(vcpu_loads_measure(&l, n, zero, NSEC_PER_SEC));
	assert_int_equal(l.n, 0);
	assert_true(vcpu_loads_measure(&l, n, rate, 2 * NSEC_PER_SEC));
	return l;
}

static void a_rate_is_pages_by_time(void **state)
{
	const uint64_t at[][2] = { { 1000, 50 }, { 1500, 51 }, { 9000, 99 } };
	struct vcpu_loads l = { 0 };

	(void)state;
	assert_true(vcpu_loads_measure(&l, 2, at[0], 10 * NSEC_PER_SEC));
	assert_true(vcpu_loads_measure(&l, 2, at[1], 10 * NSEC_PER_SEC +
				       500 * NSEC_PER_MSEC));
	assert_int_equal(l.n, 2);
	assert_int_equal(l.rate[0], 1000);
	assert_int_equal(l.rate[1], 2);
	/* too soon to say anything */
	assert_false(vcpu_loads_measure(&l, 2, at[2], 10 * NSEC_PER_SEC +
					501 * NSEC_PER_MSEC));
	assert_int_equal(l.rate[0], 1000);
}

static void one_vcpu_rests_as_all_did(void **state)
{
	(void)state;
	for (unsigned int percent = 0; percent < 100; percent++) {
		struct vcpu_loads l = loads(1, (uint64_t[]){ 12345 });

		vcpu_loads_share(&l, percent);
		assert_int_equal(l.rest[0], percent);
	}
}

static void vcpus_that_are_alike_rest_alike(void **state)
{
	(void)state;
	for (unsigned int percent = 0; percent < 100; percent++) {
		uint64_t busy[VM_MAX_VCPUS], idle[VM_MAX_VCPUS] = { 0 };
		struct vcpu_loads a, b;

		for (unsigned int i = 0; i < VM_MAX_VCPUS; i++)
			busy[i] = 777;
		a = loads(VM_MAX_VCPUS, busy);
		b = loads(VM_MAX_VCPUS, idle);
		vcpu_loads_share(&a, percent);
		vcpu_loads_share(&b, percent);
		for (unsigned int i = 0; i < VM_MAX_VCPUS; i++) {
			assert_int_equal(a.rest[i], percent);
			assert_int_equal(b.rest[i], percent);
		}
	}
}

static void a_quiet_one_hardly_rests(void **state)
{
	(void)state;
	for (unsigned int percent = 1; percent < 100; percent++) {
		struct vcpu_loads l = loads(3, (uint64_t[]){ 20, 50000, 0 });

		vcpu_loads_share(&l, percent);
		assert_in_range(l.rest[0], 0, 1);
		assert_int_equal(l.rest[1], percent);
		assert_int_equal(l.rest[2], 0);
	}
}

static void rest_is_in_proportion_to_what_is_dirtied(void **state)
{
	struct vcpu_loads l = loads(2, (uint64_t[]){ 30000, 10000 });

	(void)state;
	vcpu_loads_share(&l, 40);
	assert_int_equal(l.rest[0], 48);
	assert_int_equal(l.rest[1], 16);
}

/* Made-up loads: nobody beyond 99, and the total comes down by what was asked,
 * but for rounding, and a hundredth where one could not do its part. */
static void the_total_comes_down_by_what_is_asked(void **state)
{
	(void)state;
	srand(1);
	for (unsigned int round = 0; round < 20000; round++) {
		unsigned int n = 1 + (unsigned int)rand() % VM_MAX_VCPUS;
		unsigned int percent = (unsigned int)rand() % 100;
		uint64_t rate[VM_MAX_VCPUS];
		double total = 0, less = 0;
		struct vcpu_loads l;

		for (unsigned int i = 0; i < n; i++) {
			rate[i] = (uint64_t)rand() >> rand() % 31;
			total += (double)rate[i];
		}
		l = loads(n, rate);
		vcpu_loads_share(&l, percent);
		for (unsigned int i = 0; i < n; i++) {
			assert_in_range(l.rest[i], 0, 99);
			less += (double)rate[i] * l.rest[i];
		}
		if (total > 0) {
			assert_true(less >= (percent - 1.6) * total);
			assert_true(less <= (percent + 0.6) * total);
		}
		for (unsigned int i = 0; i + 1 < n; i++)
			if (rate[i] > rate[i + 1])
				assert_true(l.rest[i] >= l.rest[i + 1]);
	}
}

/* Else a writer that was slowed down would look quiet, and be let go. */
static void who_was_slowed_down_is_still_known_as_a_writer(void **state)
{
	struct vcpu_loads l = loads(2, (uint64_t[]){ 10000, 100 });
	uint64_t seen[2] = { 10000, 100 };

	(void)state;
	for (unsigned int second = 3; second < 30; second++) {
		vcpu_loads_share(&l, 80);
		assert_in_range(l.rest[0], 75, 85);
		assert_in_range(l.rest[1], 0, 5);
		seen[0] += 10000 * (100 - l.rest[0]) / 100;
		seen[1] += 100 * (100 - l.rest[1]) / 100;
		assert_true(vcpu_loads_measure(&l, 2, seen,
					       second * NSEC_PER_SEC));
	}
}

static void who_begins_to_write_is_found_out(void **state)
{
	struct vcpu_loads l = loads(2, (uint64_t[]){ 10000, 0 });
	uint64_t seen[2] = { 10000, 0 };

	(void)state;
	vcpu_loads_share(&l, 80);
	for (unsigned int second = 3; second < 13; second++) {
		seen[1] += 10000 * (100 - l.rest[1]) / 100;
		assert_true(vcpu_loads_measure(&l, 2, seen,
					       second * NSEC_PER_SEC));
		vcpu_loads_share(&l, 80);
	}
	assert_in_range(l.rest[0], 0, 2);
	assert_in_range(l.rest[1], 75, 85);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rate_is_pages_by_time),
		cmocka_unit_test(one_vcpu_rests_as_all_did),
		cmocka_unit_test(vcpus_that_are_alike_rest_alike),
		cmocka_unit_test(a_quiet_one_hardly_rests),
		cmocka_unit_test(rest_is_in_proportion_to_what_is_dirtied),
		cmocka_unit_test(the_total_comes_down_by_what_is_asked),
		cmocka_unit_test(who_was_slowed_down_is_still_known_as_a_writer),
		cmocka_unit_test(who_begins_to_write_is_found_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
