/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads that copy beside a vCPU that is always busy. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <cmocka.h>

#include "migration/channels.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

#define PARTS 32
#define PART (512 * KIB)

struct copy {
	char *from, *to;
	atomic_bool over;
	long turns;		/* that others had, while it wanted to go on */
};

static void *busy(void *arg)
{
	struct copy *c = arg;

	while (!atomic_load(&c->over))
		;
	return NULL;
}

static void *copy(void *arg)
{
	struct copy *c = arg;
	struct rusage before, after;

	channels_step_back();
	getrusage(RUSAGE_THREAD, &before);
	for (unsigned int i = 0; i < PARTS; i++) {
		memcpy(c->to, c->from, PART);
		channels_give_way(PART);
	}
	getrusage(RUSAGE_THREAD, &after);
	c->turns = after.ru_nivcsw - before.ru_nivcsw;
	atomic_store(&c->over, true);
	return NULL;
}

/* Both on the CPU that this is on: what is started inherits that. */
static void stay(cpu_set_t *before)
{
	cpu_set_t one;

	assert_int_equal(sched_getaffinity(0, sizeof(*before), before), 0);
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* Since 6.18 who yields gives up what was left of its turn. */
static bool yields_for_sure(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	return uname(&u) == 0 &&
	       sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 18));
}

static void who_waits_has_a_turn_after_each_part(void **state)
{
	struct copy c = { 0 };
	pthread_t guest, copier;
	cpu_set_t all;

	(void)state;
	if (!yields_for_sure()) {
		print_message("SKIP before Linux 6.18 who yields may go on at once\n");
		skip();
	}
	c.from = calloc(1, PART);
	c.to = calloc(1, PART);
	stay(&all);
	assert_int_equal(thread_start(&guest, "guest", busy, &c), 0);
	assert_int_equal(thread_start(&copier, "copier", copy, &c), 0);
	pthread_join(copier, NULL);
	pthread_join(guest, NULL);
	sched_setaffinity(0, sizeof(all), &all);
	/* now and then the other one has had more than its share */
	assert_true(c.turns >= PARTS / 2);
	free(c.from);
	free(c.to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_waits_has_a_turn_after_each_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
