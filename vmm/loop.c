/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define POLL_NS 20000		/* of looking before the loop sleeps */
#define MAX_BACKOFF 1023u
#define ASK_NS 20000		/* events wait at most as long while it looks */

struct post {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
	pthread_cond_t *done_cond;	/* of a waiting loop_call(), or NULL */
	bool *done;
};

int loop_init(struct loop *loop, struct error *err)
{
	struct epoll_event ev = { .events = EPOLLIN };

	memset(loop, 0, sizeof(*loop));
	list_init(&loop->posted);
	list_init(&loop->timers);
	list_init(&loop->pollers);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = fd_event();
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) < 0) {
		error_set(err, errno, "event loop: %s", strerror(errno));
		fd_close(&loop->epoll_fd);
		fd_close(&loop->wake_fd);
		return -err->code;
	}
	pthread_mutex_init(&loop->lock, NULL);
	return 0;
}

void loop_exit(struct loop *loop)
{
	struct post *p, *tmp;

	list_for_each_safe(p, tmp, &loop->posted, link)
		free(p);
	fd_close(&loop->epoll_fd);
	fd_close(&loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
}

int loop_add(struct loop *loop, struct loop_fd *f, struct error *err)
{
	struct epoll_event ev = { .events = f->events, .data.ptr = f };

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, f->fd, &ev) < 0)
		return error_set(err, errno, "event loop: can't watch fd %d: %s",
				 f->fd, strerror(errno));
	f->added = true;
	return 0;
}

void loop_mod(struct loop *loop, struct loop_fd *f, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = f };

	if (f->events == events)
		return;
	f->events = events;
	if (f->added)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, f->fd, &ev);
}

void loop_del(struct loop *loop, struct loop_fd *f)
{
	if (f->added)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
	f->added = false;
}

void loop_timer_init(struct loop_timer *t, void (*fn)(void *arg), void *arg)
{
	list_init(&t->link);
	t->fn = fn;
	t->arg = arg;
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline)
{
	struct loop_timer *pos;

	list_del(&t->link);
	t->deadline = deadline;
	list_for_each(pos, &loop->timers, link)
		if (pos->deadline > deadline)
			break;
	/* before pos; the head itself when none is later */
	list_add_tail(&pos->link, &t->link);
}

void loop_timer_cancel(struct loop_timer *t)
{
	list_del(&t->link);
}

/* True if there was one to run. */
static bool run_timers(struct loop *loop)
{
	bool any = false;
	uint64_t now;

	if (list_empty(&loop->timers))
		return false;
	now = now_ns();
	while (!list_empty(&loop->timers)) {
		struct loop_timer *t = list_entry(loop->timers.next,
						  struct loop_timer, link);

		if (t->deadline > now)
			break;
		list_del(&t->link);
		t->fn(t->arg);
		any = true;
	}
	return any;
}

static int until_timer(struct loop *loop, int timeout_ms)
{
	struct loop_timer *t;
	uint64_t now, ms;

	if (list_empty(&loop->timers))
		return timeout_ms;
	now = now_ns();
	t = list_entry(loop->timers.next, struct loop_timer, link);
	ms = t->deadline <= now ? 0 :
	     (t->deadline - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
	ms = MIN(ms, 1000000ull);
	return timeout_ms < 0 ? (int)ms : MIN((int)ms, timeout_ms);
}

static void finish_post(struct loop *loop, struct post *p)
{
	pthread_mutex_lock(&loop->lock);
	if (p->done) {
		*p->done = true;
		pthread_cond_signal(p->done_cond);
	}
	pthread_mutex_unlock(&loop->lock);
	free(p);
}

static void run_posted(struct loop *loop)
{
	struct list todo;

	fd_event_take(loop->wake_fd);
	list_init(&todo);
	pthread_mutex_lock(&loop->lock);
	while (!list_empty(&loop->posted)) {
		struct list *item = loop->posted.next;

		list_del(item);
		list_add_tail(&todo, item);
	}
	pthread_mutex_unlock(&loop->lock);
	while (!list_empty(&todo)) {
		struct post *p = list_entry(todo.next, struct post, link);

		list_del(&p->link);
		p->fn(p->arg);
		finish_post(loop, p);
	}
}

static void serve(struct loop *loop, const struct epoll_event *ev, int n)
{
	struct loop_fd *f = n == 1 ? ev->data.ptr : NULL;

	if (f)
		f->fn(f->arg, ev->events);
	else if (n == 1)
		run_posted(loop);
}

/*
 * One event a wait: a callback may delete and free the owner of any other
 * loop_fd, of which a batch could still hold a pointer.
 */
void loop_run_once(struct loop *loop, int timeout_ms)
{
	struct epoll_event ev;
	int n;

	if (run_timers(loop))
		timeout_ms = 0;		/* it may be what is waited for */
	n = epoll_wait(loop->epoll_fd, &ev, 1, until_timer(loop, timeout_ms));
	serve(loop, &ev, n);
	run_timers(loop);
}

/* -- looking before sleeping */

void loop_poller_add(struct loop *loop, struct loop_poller *p)
{
	list_add_tail(&loop->pollers, &p->link);
}

void loop_poller_del(struct loop_poller *p)
{
	list_del(&p->link);
}

static bool look(struct loop *loop)
{
	struct loop_poller *p;
	bool found = false;

	list_for_each(p, &loop->pollers, link)
		found |= p->look(p->arg);
	return found;
}

static bool arm(struct loop *loop)
{
	struct loop_poller *p;
	bool found = false;

	list_for_each(p, &loop->pollers, link)
		found |= p->arm(p->arg);
	return found;
}

/* Serve what is ready at @now, without waiting. */
static bool ask(struct loop *loop, uint64_t now)
{
	struct epoll_event ev;
	int n = epoll_wait(loop->epoll_fd, &ev, 1, 0);

	loop->asked = now;
	serve(loop, &ev, n);
	return n == 1;
}

/* Looks in vain become rare, one in 1024 in the end, until some find. */
static void adapt(struct loop *loop, bool found)
{
	if (found) {
		loop->backoff /= 2;
		return;
	}
	loop->backoff = MIN(2 * loop->backoff + 1, MAX_BACKOFF);
	loop->skip = loop->backoff;
	loop->poll_ns = 0;
}

/* Looking is cheap; asking for other events is a system call, made now and
 * then. */
static bool spin(struct loop *loop)
{
	uint64_t start = now_ns(), now = start;
	bool found;

	do {
		found = look(loop);
		if (found)
			adapt(loop, true);
		if (now - loop->asked >= ASK_NS)
			found |= ask(loop, now);
		now = now_ns();
	} while (!found && now - start < loop->poll_ns);
	if (!found)
		adapt(loop, false);
	return found;
}

/* Whether to look after the next loop_expect(), if not after this one. */
static void count(struct loop *loop)
{
	if (loop->skip)
		loop->skip--;
	else if (!list_empty(&loop->pollers))
		loop->poll_ns = POLL_NS;
}

static void turn(struct loop *loop)
{
	bool expects = loop->expects, polls = loop->poll_ns;
	struct epoll_event ev;
	int n;

	loop->expects = false;
	if (polls && ((expects && spin(loop)) || arm(loop)))
		return;
	if (expects && !polls)
		count(loop);
	n = epoll_wait(loop->epoll_fd, &ev, 1, until_timer(loop, -1));
	serve(loop, &ev, n);
}

void loop_run(struct loop *loop)
{
	bool stopped;

	pthread_mutex_lock(&loop->lock);
	loop->thread = pthread_self();
	loop->running = true;
	loop->stopped = false;
	pthread_mutex_unlock(&loop->lock);
	do {
		run_timers(loop);
		turn(loop);
		run_timers(loop);
		pthread_mutex_lock(&loop->lock);
		stopped = loop->stopped;
		pthread_mutex_unlock(&loop->lock);
	} while (!stopped);
	pthread_mutex_lock(&loop->lock);
	loop->running = false;
	pthread_mutex_unlock(&loop->lock);
	loop->poll_ns = 0;
	/* what was posted before the end still runs: callers may wait for it */
	run_posted(loop);
}

void loop_stop(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->stopped = true;
	pthread_mutex_unlock(&loop->lock);
	fd_event_signal(loop->wake_fd);
}

void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct post *p = malloc(sizeof(*p));

	if (!p)
		abort();	/* our own invariant: a post is never lost */
	*p = (struct post){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&loop->lock);
	list_add_tail(&loop->posted, &p->link);
	pthread_mutex_unlock(&loop->lock);
	fd_event_signal(loop->wake_fd);
}

void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	bool done = false;
	struct post *p = malloc(sizeof(*p));

	if (!p)
		abort();
	*p = (struct post){
		.fn = fn, .arg = arg, .done = &done, .done_cond = &cond
	};
	pthread_mutex_lock(&loop->lock);
	if (!loop->running || pthread_equal(loop->thread, pthread_self())) {
		pthread_mutex_unlock(&loop->lock);
		free(p);
		fn(arg);
		return;
	}
	list_add_tail(&loop->posted, &p->link);
	fd_event_signal(loop->wake_fd);
	while (!done)
		pthread_cond_wait(&cond, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
}
