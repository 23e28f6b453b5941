/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One thread looks at the clock every 5 ms, going from CPU to CPU, so that
 * clocks which differ between CPUs show as a step back. Another prints: a
 * slow console must not look like a pause.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

#define LOOKS_A_CPU 50

static struct {
	pthread_mutex_t lock;	/* of all but on and period */
	bool on;
	double period;		/* of lines, in seconds */
	double last;		/* look */
	double line_gap, asked_gap, all_gap, back;
	unsigned long looks, steps;
} ticks = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void go_to_cpu(unsigned long n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(n % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void widen(double *gap, double by)
{
	if (by > *gap)
		*gap = by;
}

static void note(double now)
{
	double gap = now - ticks.last;

	pthread_mutex_lock(&ticks.lock);
	ticks.last = now;
	ticks.looks++;
	widen(&ticks.line_gap, gap);
	widen(&ticks.asked_gap, gap);
	widen(&ticks.all_gap, gap);
	widen(&ticks.back, -gap);
	ticks.steps += gap < 0;
	pthread_mutex_unlock(&ticks.lock);
}

/* Ahead of everything else: what it misses, the machine did not run. */
static void *look(void *unused)
{
	sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){
				   .sched_priority = 1 });
	for (;;) {
		double now;

		if (ticks.looks % LOOKS_A_CPU == 0)
			go_to_cpu(ticks.looks / LOOKS_A_CPU);
		now = seconds(CLOCK_MONOTONIC);
		note(now);
		sleep_until(now + 0.005);
	}
	return unused;
}

static void *print(void *unused)
{
	unsigned long n;

	for (n = 0;; n++) {
		double mono, gap, all;

		sleep_until(seconds(CLOCK_MONOTONIC) + ticks.period);
		pthread_mutex_lock(&ticks.lock);
		mono = ticks.last;
		gap = ticks.line_gap;
		all = ticks.all_gap;
		ticks.line_gap = 0;
		pthread_mutex_unlock(&ticks.lock);
		say("tick %lu mono=%.3f real=%.3f gap=%.3f gapmax=%.3f", n,
		    mono, seconds(CLOCK_REALTIME), gap, all);
	}
	return unused;
}

bool tick_start(const char *value)
{
	int ms = atoi(value);

	ticks.period = (ms > 0 ? ms : 100) / 1e3;
	ticks.last = seconds(CLOCK_MONOTONIC);
	ticks.on = start_thread(look) && start_thread(print);
	return ticks.on;
}

double tick_take_gap(void)
{
	double gap;

	pthread_mutex_lock(&ticks.lock);
	gap = ticks.asked_gap;
	ticks.asked_gap = 0;
	pthread_mutex_unlock(&ticks.lock);
	return gap;
}

struct report tick_check(void)
{
	struct report r;

	if (!ticks.on)
		return report(VERDICT_SKIP, "work.tick is off");
	pthread_mutex_lock(&ticks.lock);
	if (ticks.steps)
		r = report(VERDICT_FAIL, "%lu steps back, largest %.9f s",
			   ticks.steps, ticks.back);
	else
		r = report(VERDICT_OK, "%lu looks, none back; gap %.3f",
			   ticks.looks, ticks.asked_gap);
	pthread_mutex_unlock(&ticks.lock);
	return r;
}
