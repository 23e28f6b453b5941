/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: file descriptors, timers, and functions posted from other
 * threads, all run one at a time in the thread that called loop_run().
 *
 * Threads: loop_post(), loop_call() and loop_stop() may be called from any
 * thread; everything else only from the loop's thread, or before it runs.
 */
#ifndef GODWIT_LOOP_H
#define GODWIT_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "vmm/base/error.h"
#include "vmm/base/list.h"

struct loop {
	int epoll_fd;
	int wake_fd;		/* eventfd: posted work or stop */
	pthread_t thread;	/* who runs it, valid while running */
	bool running;
	bool stopped;
	pthread_mutex_t lock;	/* protects posted and stopped */
	struct list posted;
	struct list timers;	/* ascending deadline, loop thread only */
	struct list pollers;	/* loop thread only */
	bool expects;		/* loop_expect(), since the last turn */
	uint64_t poll_ns;	/* looks so long before it sleeps, or not at all */
	unsigned int skip;	/* expectations until it looks again */
	unsigned int backoff;	/* skip after the next look in vain */
	uint64_t asked;		/* epoll was then, now_ns() clock */
};

/* Embedded in its owner; fd is not owned. */
struct loop_fd {
	int fd;
	uint32_t events;	/* EPOLLIN, EPOLLOUT, EPOLLET */
	void (*fn)(void *arg, uint32_t events);
	void *arg;
	bool added;
};

struct loop_timer {
	struct list link;
	uint64_t deadline;	/* now_ns() clock */
	void (*fn)(void *arg);
	void *arg;
};

/*
 * Work that can be found by looking, which is cheaper for both sides than a
 * wake-up where it comes every few microseconds. While loop_polls(), its owner
 * needs no wake-up; before the loop sleeps it is told to ask for one. The loop
 * looks after loop_expect() only: at other times what comes next is the answer
 * of a disk or of a server, who could use the CPU meanwhile.
 */
struct loop_poller {
	struct list link;
	bool (*look)(void *arg);	/* serve what is there; was anything? */
	bool (*arm)(void *arg);		/* ask for a wake-up, then look */
	void *arg;
};

int loop_init(struct loop *loop, struct error *err) __must_check;
void loop_exit(struct loop *loop);
/* Serve until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Serve what is ready, waiting at most timeout_ms for it (-1: for ever).
 * For tests, and for draining at the end. */
void loop_run_once(struct loop *loop, int timeout_ms);

/* Set events, fn and arg before; the object must stay until loop_del(). */
int loop_add(struct loop *loop, struct loop_fd *f, struct error *err);
void loop_mod(struct loop *loop, struct loop_fd *f, uint32_t events);
void loop_del(struct loop *loop, struct loop_fd *f);

/* Fires once at @deadline. Set again from the callback for a period. */
void loop_timer_init(struct loop_timer *t, void (*fn)(void *arg), void *arg);
void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline);
void loop_timer_cancel(struct loop_timer *t);

void loop_poller_add(struct loop *loop, struct loop_poller *p);
void loop_poller_del(struct loop_poller *p);
/* Somebody was told what a poller's work may soon follow from: a guest, that
 * its request is complete. */
static inline void loop_expect(struct loop *loop)
{
	loop->expects = true;
}
static inline bool loop_polls(const struct loop *loop)
{
	return loop->poll_ns;
}

/* Run fn(arg) in the loop's thread, in the order of the posts. */
void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);
/* The same, and wait until it has run. In the loop's own thread, or when the
 * loop doesn't run, it is a plain call. */
void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg);

#endif
