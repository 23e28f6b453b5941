/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The level of compression on made-up memory, CPUs and links. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "migration/pace.h"
#include "vmm/base/util.h"

#define BATCH MIB
#define COPY 0.15e-9		/* seconds a byte */

/* Of each level: bytes on the wire for one of memory; ns to make them. */
struct content {
	int level;
	double ratio, cost;
};

static const struct content text[PACE_STEPS] = {
	{ 0, 1, 0 }, { -20, 0.60, 0.8 }, { -5, 0.48, 1.7 }, { 1, 0.32, 2.5 },
	{ 3, 0.28, 8 }, { 6, 0.26, 20 }, { 9, 0.25, 40 },
};
static const struct content noise[PACE_STEPS] = {
	{ 0, 1, 0 }, { -20, 1, 0.35 }, { -5, 1, 0.35 }, { 1, 1, 0.35 },
	{ 3, 1, 0.4 }, { 6, 1, 3.5 }, { 9, 1, 8 },
};
#define FAST 5e9		/* bytes/s: loopback */
#define MIDDLE 300e6
#define SLOW 12e6

static const struct content *at_level(const struct content *c, int level)
{
	while (c->level != level)
		c++;
	return c;
}

/* Seconds that sending one byte of memory takes: copied to the socket, whose
 * buffer drained while it was compressed. */
static double send_seconds(const struct content *c, double link)
{
	return MAX(c->ratio * COPY, c->ratio / link - c->cost / 1e9);
}

/* Seconds for a byte at one level. */
static double seconds(const struct content *c, double link)
{
	return c->cost / 1e9 + send_seconds(c, link);
}

/* Send @mib of such memory; the seconds that it took. */
static double run(struct pace *p, const struct content *memory, double link,
		  unsigned int mib)
{
	double sum = 0;

	for (unsigned int i = 0; i < mib; i++) {
		const struct content *c = at_level(memory, pace_level(p));
		const struct pace_batch b = {
			.raw = BATCH,
			.out = (uint64_t)(BATCH * c->ratio),
			.cpu_ns = (uint64_t)(BATCH * c->cost),
			.send_ns = (uint64_t)(BATCH * send_seconds(c, link) * 1e9),
		};

		pace_note(p, &b);
		sum += seconds(c, link) * BATCH;
	}
	return sum;
}

static double best(const struct content *memory, double link, unsigned int mib)
{
	double least = 1;

	for (unsigned int i = 0; i < PACE_STEPS; i++)
		least = MIN(least, seconds(&memory[i], link));
	return least * BATCH * mib;
}

/* A gigabyte takes little longer than at the best level from the start. */
static void expect_near(const struct content *memory, double link, double most)
{
	struct pace p;
	double took;

	pace_init(&p);
	took = run(&p, memory, link, 1024);
	if (took > most * best(memory, link, 1024))
		fail_msg("at %.0f MB/s: %.2f s instead of %.2f s", link / 1e6,
			 took, best(memory, link, 1024));
}

static void each_link_gets_about_its_best_level(void **state)
{
	(void)state;
	for (double link = SLOW; link <= FAST; link *= 1.3)
		expect_near(text, link, 1.15);
}

static void a_fast_link_gets_memory_as_it_is(void **state)
{
	struct pace p;
	unsigned int as_it_is = 0;

	(void)state;
	pace_init(&p);
	run(&p, text, FAST, 256);
	for (unsigned int i = 0; i < 1024; i++) {
		as_it_is += !pace_level(&p);
		run(&p, text, FAST, 1);
	}
	assert_true(as_it_is > 950);
}

static void a_slow_link_gets_a_high_level(void **state)
{
	struct pace p;

	(void)state;
	pace_init(&p);
	run(&p, text, SLOW, 128);
	assert_true(pace_level(&p) >= 3);
}

static void what_does_not_compress_is_soon_left_alone(void **state)
{
	static const double links[] = { SLOW, MIDDLE, FAST };
	struct pace p;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(links); i++) {
		pace_init(&p);
		run(&p, noise, links[i], 8);
		assert_int_equal(pace_level(&p), 0);
		expect_near(noise, links[i], 1.05);
	}
}

static void a_link_that_changes_is_noticed(void **state)
{
	struct pace p;

	(void)state;
	pace_init(&p);
	run(&p, text, FAST, 2048);
	run(&p, text, SLOW, 1024);
	assert_true(run(&p, text, SLOW, 256) < 1.1 * best(text, SLOW, 256));
	run(&p, text, FAST, 1024);
	assert_true(run(&p, text, FAST, 256) < 1.1 * best(text, FAST, 256));
}

static void memory_that_compresses_again_is_noticed(void **state)
{
	struct pace p;

	(void)state;
	pace_init(&p);
	run(&p, noise, MIDDLE, 2048);
	run(&p, text, MIDDLE, 1024);
	assert_true(run(&p, text, MIDDLE, 256) < 1.1 * best(text, MIDDLE, 256));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_link_gets_about_its_best_level),
		cmocka_unit_test(a_fast_link_gets_memory_as_it_is),
		cmocka_unit_test(a_slow_link_gets_a_high_level),
		cmocka_unit_test(what_does_not_compress_is_soon_left_alone),
		cmocka_unit_test(a_link_that_changes_is_noticed),
		cmocka_unit_test(memory_that_compresses_again_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
