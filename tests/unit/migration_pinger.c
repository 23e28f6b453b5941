/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who lives, and who doesn't: message_await(), and the pinger's thread. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migration/pinger.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define SIGNS 20

static const struct wire_job job = { { 1, 2, 3 } };

struct ends {
	struct channel a, b;
};

static void open_ends(struct ends *e, uint64_t idle_ns)
{
	struct error err = ERROR_INIT;

	assert_int_equal(channel_pair(&e->a, &e->b, &err), 0);
	e->a.idle_ns = idle_ns;
	/* red rather than waiting for ever */
	e->b.idle_ns = 5 * NSEC_PER_SEC;
}

static void close_ends(struct ends *e)
{
	channel_close(&e->a);
	channel_close(&e->b);
}

static void say_bye(struct channel *ch)
{
	struct error err = ERROR_INIT;

	assert_int_equal(message_send_job(ch, WIRE_BYE, &job, NULL, 0, &err),
			 0);
}

/* Answers more PINGs than a silent peer would be given, then speaks. */
static void *slow_peer(void *arg)
{
	struct error err = ERROR_INIT;
	struct message m;

	for (int i = 0; i < SIGNS; i++) {
		int ret = message_next(arg, &m, 0, &err);

		message_free(&m);
		if (ret < 0)
			return NULL;
	}
	say_bye(arg);
	return NULL;
}

static void silence_is_asked_about_and_then_given_up(void **state)
{
	struct error err = ERROR_INIT;
	struct message m;
	struct ends e;

	open_ends(&e, 20 * NSEC_PER_MSEC);
	assert_int_equal(message_await(&e.a, &m, -1, 0, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "no sign of life"));
	/* PING came: it means nothing, but is a message */
	assert_int_equal(message_next(&e.b, &m, 0, &err), 0);
	close_ends(&e);
}

static void a_peer_that_answers_is_waited_for(void **state)
{
	struct error err = ERROR_INIT;
	pthread_t thread;
	struct message m;
	struct ends e;

	open_ends(&e, 40 * NSEC_PER_MSEC);
	pthread_create(&thread, NULL, slow_peer, &e.b);
	while (message_await(&e.a, &m, -1, 0, &err) == -ETIMEDOUT)
		;	/* on a busy machine even a thread may look dead */
	assert_int_equal(m.type, WIRE_BYE);
	message_free(&m);
	pthread_join(thread, NULL);
	close_ends(&e);
}

static void a_peer_that_only_answers_has_a_limit_too(void **state)
{
	struct error err = ERROR_INIT;
	pthread_t thread;
	struct message m;
	struct ends e;

	open_ends(&e, 400 * NSEC_PER_MSEC);
	pthread_create(&thread, NULL, slow_peer, &e.b);
	assert_int_equal(message_await(&e.a, &m, -1,
				       now_ns() + 200 * NSEC_PER_MSEC, &err),
			 -ETIMEDOUT);
	channel_shutdown(&e.a);
	pthread_join(thread, NULL);
	close_ends(&e);
}

/* A length that was damaged makes a reader wait for what never comes. */
static void a_message_that_does_not_end_is_given_up(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t header[WIRE_HEADER];
	struct message m;
	struct iovec iov = { .iov_base = header, .iov_len = sizeof(header) };
	struct ends e;

	open_ends(&e, 20 * NSEC_PER_MSEC);
	wire_header_encode(header, WIRE_BYE, &job, sizeof(job), NULL, 0);
	assert_int_equal(channel_writev(&e.b, &iov, 1, 0, &err), 0);
	assert_int_equal(message_recv(&e.a, &m, 0, &err), -ETIMEDOUT);
	message_free(&m);
	close_ends(&e);
}

static void news(void *arg)
{
	fd_event_signal(*(int *)arg);
}

static void a_pinger_tells_what_the_peer_said(void **state)
{
	struct error err = ERROR_INIT;
	int told = fd_event();
	struct pinger p;
	struct message m;
	struct ends e;

	open_ends(&e, 0);
	pinger_start(&p, &e.a, news, &told);
	say_bye(&e.b);
	assert_int_equal(channel_wait_fd(told, POLLIN, -1, 0), 0);
	assert_true(pinger_over(&p));
	assert_int_equal(pinger_stop(&p, &m, &err), 1);
	assert_int_equal(m.type, WIRE_BYE);
	message_free(&m);
	fd_close(&told);
	close_ends(&e);
}

static void a_pinger_tells_that_the_peer_is_gone(void **state)
{
	struct error err = ERROR_INIT;
	int told = fd_event();
	struct pinger p;
	struct message m;
	struct ends e;

	open_ends(&e, 20 * NSEC_PER_MSEC);
	pinger_start(&p, &e.a, news, &told);
	assert_int_equal(channel_wait_fd(told, POLLIN, -1, 0), 0);
	assert_int_equal(pinger_stop(&p, &m, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "no sign of life"));
	fd_close(&told);
	close_ends(&e);
}

static void *send_rest(void *arg)
{
	struct error err = ERROR_INIT;
	struct ends *e = arg;
	struct iovec iov = {
		.iov_base = (char *)(uintptr_t)job.id + 1,
		.iov_len = WIRE_JOB - 1,
	};

	assert_int_equal(channel_writev(&e->b, &iov, 1, 0, &err), 0);
	return NULL;
}

/* It is stopped between two messages, or the stream would be out of step. */
static void a_pinger_that_is_stopped_ends_its_message(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t part[WIRE_HEADER + 1];
	struct iovec iov = { .iov_base = part, .iov_len = sizeof(part) };
	pthread_t thread;
	struct pinger p;
	struct message m;
	struct ends e;
	int ret;

	open_ends(&e, 0);
	wire_header_encode(part, WIRE_BYE, job.id, WIRE_JOB, NULL, 0);
	part[WIRE_HEADER] = job.id[0];
	pinger_start(&p, &e.a, NULL, NULL);
	assert_int_equal(channel_writev(&e.b, &iov, 1, 0, &err), 0);
	while (!atomic_load(&e.a.received))
		sched_yield();
	pthread_create(&thread, NULL, send_rest, &e);
	ret = pinger_stop(&p, &m, &err);
	pthread_join(thread, NULL);
	assert_int_equal(ret, 1);
	assert_int_equal(m.type, WIRE_BYE);
	message_free(&m);
	close_ends(&e);
}

static void stopping_what_does_not_run_is_harmless(void **state)
{
	struct error err = ERROR_INIT;
	struct pinger p;
	struct message m;

	pinger_init(&p);
	assert_false(pinger_over(&p));
	assert_int_equal(pinger_stop(&p, &m, &err), 0);
	message_free(&m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_is_asked_about_and_then_given_up),
		cmocka_unit_test(a_peer_that_answers_is_waited_for),
		cmocka_unit_test(a_peer_that_only_answers_has_a_limit_too),
		cmocka_unit_test(a_message_that_does_not_end_is_given_up),
		cmocka_unit_test(a_pinger_tells_what_the_peer_said),
		cmocka_unit_test(a_pinger_tells_that_the_peer_is_gone),
		cmocka_unit_test(a_pinger_that_is_stopped_ends_its_message),
		cmocka_unit_test(stopping_what_does_not_run_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
