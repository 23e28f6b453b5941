/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event loop: when it looks for work, and what it does before it sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "vmm/base/fd.h"
#include "vmm/base/util.h"
#include "vmm/loop.h"

struct test {
	struct loop loop;
	struct loop_fd fd;
	struct loop_poller poller;
	struct loop_timer limit;
	unsigned int events, looks, arms;
	unsigned int stop_looks, stop_arms;	/* at this many */
	bool finds;		/* what look() answers */
	bool found;		/* what arm() answers */
	bool quiet;		/* the event comes once */
	bool late;		/* it comes, but never while it looks */
	unsigned int stop_events;	/* at this many, or never */
};

static void on_event(void *arg, uint32_t events)
{
	struct test *t = arg;

	t->events++;
	loop_expect(&t->loop);
	if (t->quiet)
		fd_event_take(t->fd.fd);
	if (t->events == t->stop_events)
		loop_stop(&t->loop);
}

static bool on_look(void *arg)
{
	struct test *t = arg;

	if (t->late)
		fd_event_take(t->fd.fd);
	if (++t->looks == t->stop_looks)
		loop_stop(&t->loop);
	return t->finds;
}

static bool on_arm(void *arg)
{
	struct test *t = arg;

	if (t->late)
		fd_event_signal(t->fd.fd);
	if (++t->arms == t->stop_arms)
		loop_stop(&t->loop);
	return t->found;
}

/* That nothing ever happened is a failure. */
static void on_limit(void *arg)
{
	abort();
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));
	struct error err = ERROR_INIT;

	if (!t || loop_init(&t->loop, &err) < 0)
		return -1;
	t->fd = (struct loop_fd){
		.fd = fd_event(), .events = EPOLLIN, .fn = on_event, .arg = t
	};
	t->poller = (struct loop_poller){
		.look = on_look, .arm = on_arm, .arg = t
	};
	loop_timer_init(&t->limit, on_limit, t);
	loop_timer_set(&t->loop, &t->limit, now_ns() + 60 * NSEC_PER_SEC);
	fd_event_signal(t->fd.fd);
	*state = t;
	return loop_add(&t->loop, &t->fd, &err);
}

static int teardown(void **state)
{
	struct test *t = *state;

	fd_close(&t->fd.fd);
	loop_exit(&t->loop);
	free(t);
	return 0;
}

static void it_looks_once_something_is_expected(void **state)
{
	struct test *t = *state;

	loop_poller_add(&t->loop, &t->poller);
	t->stop_looks = 3;
	loop_run(&t->loop);
	assert_true(t->events >= 1);
}

static void where_looks_find_there_are_more(void **state)
{
	struct test *t = *state;

	loop_poller_add(&t->loop, &t->poller);
	t->finds = true;
	t->stop_events = 1000;
	loop_run(&t->loop);
	assert_true(t->looks > t->events / 2);
}

static void looks_in_vain_become_rare(void **state)
{
	struct test *t = *state;

	loop_poller_add(&t->loop, &t->poller);
	t->late = true;
	t->stop_events = 10000;
	loop_run(&t->loop);
	assert_true(t->arms < 30);
}

static void events_are_served_while_it_looks(void **state)
{
	struct test *t = *state;

	t->quiet = true;
	t->loop.poll_ns = NSEC_PER_MSEC;
	loop_expect(&t->loop);
	loop_poller_add(&t->loop, &t->poller);
	t->stop_arms = 1;
	loop_run(&t->loop);
	assert_int_equal(t->events, 1);
	assert_true(t->looks >= 2);
}

static void it_sleeps_only_if_nothing_came_meanwhile(void **state)
{
	struct test *t = *state;

	t->quiet = t->found = true;
	t->loop.poll_ns = NSEC_PER_MSEC;
	loop_poller_add(&t->loop, &t->poller);
	t->stop_arms = 5;
	loop_run(&t->loop);
	assert_int_equal(t->arms, 5);
}

static void without_a_poller_it_sleeps_at_once(void **state)
{
	struct test *t = *state;

	for (int i = 0; i < 100; i++)
		loop_run_once(&t->loop, -1);
	assert_int_equal(t->events, 100);
	assert_false(loop_polls(&t->loop));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			it_looks_once_something_is_expected, setup, teardown),
		cmocka_unit_test_setup_teardown(where_looks_find_there_are_more,
						setup, teardown),
		cmocka_unit_test_setup_teardown(looks_in_vain_become_rare,
						setup, teardown),
		cmocka_unit_test_setup_teardown(events_are_served_while_it_looks,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			it_sleeps_only_if_nothing_came_meanwhile, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			without_a_poller_it_sleeps_at_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
