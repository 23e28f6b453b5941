/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy on hundreds of made-up guests and lines, beside QEMU's rule:
 * stop when what is left goes over the line within the wished pause; with
 * auto-converge, 20 % and then 10 % more for each two busy seconds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "migration/forecast.h"
#include "vmm/base/util.h"

#define MS NSEC_PER_MSEC
#define SLOT (50 * MS)
#define SLOTS 240		/* then from the start again */
#define GUESTS 5000
/* One more round may meet a burst that was never seen: one guest in 500. */
#define UNLUCKY (GUESTS / 500)
#define LIMIT (600 * NSEC_PER_SEC)	/* QEMU's rule itself never gives up */

/* What a guest writes: a rate for each slot of time, within a working set. */
struct trace {
	uint64_t rate[SLOTS];	/* bytes/s */
	uint64_t working_set;
	bool sweeps;		/* one page after the other; else anywhere */
};

static uint64_t draw(uint64_t *seed, uint64_t low, uint64_t high)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return low + (*seed >> 33) % (high - low + 1);
}

/* Bytes written from @from on for @ns, pages counted each time. */
static uint64_t written(const struct trace *t, uint64_t from, uint64_t ns)
{
	uint64_t end = from + ns;
	double sum = 0;

	if (ns > 20 * SLOTS * SLOT) {
		uint64_t laps = ns / (SLOTS * SLOT);

		return laps * written(t, 0, SLOTS * SLOT) +
		       written(t, from, ns % (SLOTS * SLOT));
	}
	while (from < end) {
		uint64_t next = MIN((from / SLOT + 1) * SLOT, end);

		sum += (double)t->rate[from / SLOT % SLOTS] *
		       (double)(next - from) / 1e9;
		from = next;
	}
	return (uint64_t)sum;
}

static uint64_t trace_dirty(const void *arg, uint64_t from, uint64_t ns,
			    unsigned int throttle)
{
	const struct trace *t = arg;
	double w = (double)t->working_set;
	double x = (double)written(t, from, ns) * (100 - throttle) / 100;

	if (t->sweeps)
		return (uint64_t)MIN(x, w);
	return (uint64_t)(w * x / (w + x + 1));
}

enum shape { CONSTANT, BURSTS, RAMP, NOISE, SHAPES };

static void draw_trace(struct trace *t, enum shape shape, uint64_t *seed)
{
	uint64_t low = draw(seed, 0, 200) * MIB;
	uint64_t high = draw(seed, 1, 4000) * MIB;
	uint64_t period = draw(seed, 4, 100), busy = draw(seed, 1, period);

	t->working_set = draw(seed, 1, 4000) * MIB;
	t->sweeps = draw(seed, 0, 1);
	for (uint64_t i = 0; i < SLOTS; i++) {
		switch (shape) {
		case CONSTANT:
			t->rate[i] = high;
			break;
		case BURSTS:
			t->rate[i] = i % period < busy ? high : low;
			break;
		case RAMP:
			t->rate[i] = high * i / SLOTS;
			break;
		default:
			t->rate[i] = draw(seed, 0, high / MIB) * MIB;
		}
	}
}

static void draw_model(struct forecast_model *m, const struct trace *t,
		       uint64_t *seed)
{
	*m = (struct forecast_model){
		.dirty = trace_dirty,
		.arg = t,
		.first = MAX(t->working_set, draw(seed, 16, 16384) * MIB),
		.bandwidth = draw(seed, 10, 3000) * MIB,
		.latency_ns = draw(seed, 0, 20) * MS / 10,
		.overhead_ns = draw(seed, 5, 40) * MS / 10,
	};
}

/*
 * QEMU's rule on the same model. A round ends with a sync of the dirty bitmap;
 * what happened since the last look at the throttle is looked at when a second
 * has passed.
 */
static void qemu_run(struct forecast *f, const struct forecast_model *m,
		     const struct policy_config *cfg)
{
	uint64_t now = 0, rest = m->first, sent = 0, dirty = 0, since = 0;
	unsigned int high = 0, throttle = 0;
	double limit = (double)m->bandwidth * (double)cfg->downtime_ns / 1e9;

	*f = (struct forecast){ .end = POLICY_GIVE_UP };
	while (now < LIMIT) {
		uint64_t ns = (uint64_t)((double)rest * 1e9 /
					 (double)m->bandwidth) + m->latency_ns;

		sent += rest;
		rest = m->dirty(m->arg, now, ns, throttle);
		dirty += rest;
		now += ns;
		f->rounds++;
		if ((double)rest <= limit) {
			f->end = POLICY_STOP;
			break;
		}
		if (now - since < NSEC_PER_SEC)
			continue;
		if (cfg->auto_converge && dirty > sent / 2 && ++high >= 2) {
			high = 0;
			throttle = throttle ? MIN(throttle + 10, 99u) : 20;
		}
		since = now;
		sent = dirty = 0;
	}
	f->throttle = throttle;
	f->pause_ns = (uint64_t)((double)rest * 1e9 / (double)m->bandwidth) +
		      m->overhead_ns;
	f->total_ns = now + f->pause_ns;
}

struct tally {
	unsigned int guests, both, only_qemu, only_ours, later, sooner;
	uint64_t qemu_ns, ours_ns, qemu_pause_ns, ours_pause_ns;
};

static void compare(struct tally *t, uint64_t seed, bool auto_converge)
{
	struct policy_config cfg = {
		.downtime_ns = draw(&seed, 2, 40) * 10 * MS,
		.max_pause_ns = 500 * MS,
		.timeout_ns = LIMIT,
		.on_timeout = POLICY_ABORT,
		.auto_converge = auto_converge,
	};
	static struct trace trace;
	struct forecast_model m;
	struct forecast q, o;

	draw_trace(&trace, (enum shape)draw(&seed, 0, SHAPES - 1), &seed);
	draw_model(&m, &trace, &seed);
	cfg.overhead_ns = m.overhead_ns;
	qemu_run(&q, &m, &cfg);
	forecast_run(&o, &m, &cfg);
	t->guests++;
	if (o.end == POLICY_STOP)
		assert_true(o.pause_ns <= cfg.downtime_ns);
	/* where QEMU's rule breaks its word, it is no measure */
	if (q.end != POLICY_STOP || q.pause_ns > cfg.downtime_ns) {
		t->only_ours += o.end == POLICY_STOP;
		return;
	}
	t->only_qemu += o.end != POLICY_STOP;
	t->both += o.end == POLICY_STOP;
	t->qemu_ns += q.total_ns;
	t->ours_ns += o.total_ns;
	t->qemu_pause_ns += q.pause_ns;
	t->ours_pause_ns += o.pause_ns;
	t->sooner += o.total_ns + NSEC_PER_SEC < q.total_ns;
	t->later += o.total_ns > q.total_ns + 2 * cfg.downtime_ns;
}

static void compare_all(bool auto_converge)
{
	struct tally t = { 0 };

	for (uint64_t i = 0; i < GUESTS; i++)
		compare(&t, i * 7919 + 1, auto_converge);
	print_message("%u guests: %u moved by both, %u by QEMU's rule alone, %u by ours alone; %u later, %u sooner; %.1f s for %.1f s, pauses %.1f s for %.1f s\n",
		      t.guests, t.both, t.only_qemu, t.only_ours, t.later,
		      t.sooner, (double)t.ours_ns / 1e9,
		      (double)t.qemu_ns / 1e9, (double)t.ours_pause_ns / 1e9,
		      (double)t.qemu_pause_ns / 1e9);
	assert_int_equal(t.only_qemu, 0);
	assert_in_range(t.later, 0, UNLUCKY);
	assert_true(t.ours_pause_ns < t.qemu_pause_ns * 3 / 4);
	assert_true(t.ours_ns < t.qemu_ns + t.qemu_ns / 100);
	assert_in_range(t.both, GUESTS / 10, GUESTS);
}

static void never_worse_than_qemus_rule(void **state)
{
	(void)state;
	compare_all(false);
}

static void never_worse_than_qemus_auto_converge(void **state)
{
	(void)state;
	compare_all(true);
}

/* A guest that writes 200 MiB/s all over 1 GiB, over a line of 100 MiB/s. */
static const struct forecast_curve busy = {
	.n = 2,
	.point = { { 500 * MS, 100 * MIB }, { 1000 * MS, 200 * MIB } },
	.memory = GIB,
};

static struct forecast_model over_line(const struct forecast_curve *c,
				       uint64_t mib)
{
	return (struct forecast_model){ forecast_curve_dirty, c, GIB,
					mib * MIB, MS, 5 * MS };
}

static const struct policy_config usual = {
	.downtime_ns = 300 * MS,
	.max_pause_ns = 500 * MS,
	.on_timeout = POLICY_ABORT,
};

static void what_it_would_take_is_enough(void **state)
{
	struct forecast_model m = over_line(&busy, 100);
	struct policy_config c = usual;
	struct forecast_needs needs;
	struct forecast f;

	(void)state;
	forecast_run(&f, &m, &c);
	assert_int_equal(f.end, POLICY_GIVE_UP);
	forecast_needs(&needs, &m, &c);
	assert_in_range(needs.throttle, 50, 99);
	c.auto_converge = true;
	forecast_run(&f, &m, &c);
	assert_int_equal(f.end, POLICY_STOP);
	c = usual;
	c.downtime_ns = c.max_pause_ns = needs.downtime_ns;
	forecast_run(&f, &m, &c);
	assert_int_equal(f.end, POLICY_STOP);
	assert_in_range(needs.bandwidth, 190 * MIB, 240 * MIB);
	m.bandwidth = needs.bandwidth;
	forecast_run(&f, &m, &usual);
	assert_int_equal(f.end, POLICY_STOP);
	/* and not much more than enough */
	m.bandwidth = needs.bandwidth * 9 / 10;
	forecast_run(&f, &m, &usual);
	assert_int_equal(f.end, POLICY_GIVE_UP);
}

/* guests/dirtier on a software KVM: what a dry run saw, in us and pages. */
static const uint32_t recorded[][FORECAST_POINTS][2] = {
	/* ws=8, as fast as it can */
	{ { 8112, 46 }, { 29613, 275 }, { 31719, 275 }, { 62847, 513 },
	  { 125976, 980 }, { 251199, 1522 }, { 1086241, 1659 },
	  { 1086260, 1659 } },
	/* ws=32, the same, on a busy host */
	{ { 23907, 160 }, { 23942, 160 }, { 32110, 194 }, { 73730, 329 },
	  { 384541, 363 }, { 384560, 363 }, { 504099, 511 },
	  { 1063225, 1997 } },
	/* ws=32 rate=20 */
	{ { 10064, 19 }, { 16249, 24 }, { 60858, 34 }, { 70389, 54 },
	  { 131955, 92 }, { 251304, 162 }, { 827542, 294 },
	  { 1000796, 317 } },
	/* ws=32 rate=5 ord=r */
	{ { 8196, 6 }, { 16358, 8 }, { 33784, 10 }, { 63008, 16 },
	  { 131234, 28 }, { 250655, 52 }, { 509865, 101 },
	  { 1000965, 159 } },
};

static void compare_recorded(unsigned int guest, uint64_t bandwidth)
{
	struct forecast_curve c = { .n = FORECAST_POINTS, .memory = 48 * MIB };
	/* no latency: QEMU's rule is told the bandwidth, ours measures it */
	struct forecast_model m = { forecast_curve_dirty, &c, 33 * MIB,
				    bandwidth, 0, 5 * MS };
	const struct policy_config cfg = {
		.downtime_ns = 100 * MS, .max_pause_ns = 500 * MS,
		.on_timeout = POLICY_ABORT, .auto_converge = true,
	};
	struct forecast q, o;

	for (unsigned int i = 0; i < FORECAST_POINTS; i++) {
		c.point[i].ns = recorded[guest][i][0] * NSEC_PER_USEC;
		c.point[i].bytes = recorded[guest][i][1] * 4096ull;
	}
	qemu_run(&q, &m, &cfg);
	forecast_run(&o, &m, &cfg);
	if (o.end == POLICY_STOP)
		assert_true(o.pause_ns <= cfg.downtime_ns);
	if (q.end != POLICY_STOP || q.pause_ns > cfg.downtime_ns)
		return;
	assert_int_equal(o.end, POLICY_STOP);
	assert_true(o.total_ns <= q.total_ns + 2 * cfg.downtime_ns);
}

static void never_worse_on_recorded_guests(void **state)
{
	(void)state;
	for (unsigned int g = 0; g < ARRAY_SIZE(recorded); g++)
		for (uint64_t kib = 64; kib < 4096 * 1024; kib += kib / 8)
			compare_recorded(g, kib * KIB);
}

static void a_calm_guest_takes_its_memory_once(void **state)
{
	static const struct forecast_curve calm = { .n = 0, .memory = GIB };
	struct forecast_model m = over_line(&calm, 1024);
	struct forecast f;

	(void)state;
	forecast_run(&f, &m, &usual);
	assert_int_equal(f.end, POLICY_STOP);
	assert_int_equal(f.rounds, 1);
	assert_int_equal(f.bytes, GIB);
	assert_in_range(f.total_ns, 1000 * MS, 1010 * MS);
	assert_int_equal(f.pause_ns, 5 * MS);
}

static void a_curve_is_followed_and_goes_on_behind_its_end(void **state)
{
	struct forecast_curve c = busy;

	(void)state;
	assert_int_equal(forecast_curve_dirty(&c, 0, 0, 0), 0);
	assert_int_equal(forecast_curve_dirty(&c, 0, 250 * MS, 0), 50 * MIB);
	assert_int_equal(forecast_curve_dirty(&c, 0, 2000 * MS, 0), 400 * MIB);
	assert_int_equal(forecast_curve_dirty(&c, 0, 100000 * MS, 0), GIB);
	assert_int_equal(forecast_curve_dirty(&c, 0, 1000 * MS, 75), 50 * MIB);
	/* saturated: no more comes */
	c.point[1].bytes = 100 * MIB;
	assert_int_equal(forecast_curve_dirty(&c, 0, 9000 * MS, 0), 100 * MIB);
}

static void asked_to_pause_it_ends_in_a_long_pause(void **state)
{
	struct forecast_model m = over_line(&busy, 100);
	struct policy_config c = usual;
	struct forecast f;

	(void)state;
	c.on_timeout = POLICY_PAUSE;
	c.timeout_ns = 30 * NSEC_PER_SEC;
	forecast_run(&f, &m, &c);
	assert_int_equal(f.end, POLICY_FORCE);
	assert_true(f.pause_ns > c.max_pause_ns);
	assert_true(f.total_ns - f.pause_ns > c.timeout_ns);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_worse_than_qemus_rule),
		cmocka_unit_test(never_worse_than_qemus_auto_converge),
		cmocka_unit_test(never_worse_on_recorded_guests),
		cmocka_unit_test(what_it_would_take_is_enough),
		cmocka_unit_test(a_calm_guest_takes_its_memory_once),
		cmocka_unit_test(a_curve_is_followed_and_goes_on_behind_its_end),
		cmocka_unit_test(asked_to_pause_it_ends_in_a_long_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
