/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw images through a few threads that block, for hosts without io_uring
 * (seccomp filters of containers, sysctl kernel.io_uring_disabled).
 *
 * A request belongs to the threads from issue() until it lies in `over`, and
 * to the loop's thread again when that has taken it from there.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/raw.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"

#define THREADS 4

struct pool {
	pthread_t thread[THREADS];
	unsigned int nthreads;
	int event_fd;
	pthread_mutex_t lock;	/* all below */
	pthread_cond_t work;
	struct list todo;
	struct list over;
	bool stop;
};

static int carry_out(const struct raw_io *io)
{
	const struct block_request *req = io->req;
	off_t at = (off_t)(req->offset + io->done);
	ssize_t n;

	if (req->result)	/* has failed; says so from the loop */
		n = 0;
	else if (req->op == BLOCK_FLUSH)
		n = fdatasync(io->fd);
	else if (req->op == BLOCK_READ)
		n = preadv(io->fd, io->iov, io->niov, at);
	else if (req->op == BLOCK_WRITE || io->zeroing)
		n = pwritev2(io->fd, io->iov, io->niov, at,
			     raw_write_flags(req));
	else
		n = fallocate(io->fd, raw_falloc_mode(req),
			      (off_t)req->offset, (off_t)req->len);
	return n < 0 ? -errno : (int)n;
}

/* The oldest request to do, or NULL when it is time to end. */
static struct raw_io *next(struct pool *p)
{
	struct raw_io *io;

	while (list_empty(&p->todo) && !p->stop)
		pthread_cond_wait(&p->work, &p->lock);
	if (list_empty(&p->todo))
		return NULL;
	io = list_entry(p->todo.next, struct raw_io, link);
	list_del(&io->link);
	return io;
}

static void *worker(void *arg)
{
	struct pool *p = arg;
	struct raw_io *io;

	pthread_mutex_lock(&p->lock);
	while ((io = next(p))) {
		pthread_mutex_unlock(&p->lock);
		io->result = carry_out(io);
		pthread_mutex_lock(&p->lock);
		list_add_tail(&p->over, &io->link);
		fd_event_signal(p->event_fd);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void pool_issue(struct raw_io *io)
{
	struct pool *p = io->raw->pool;

	pthread_mutex_lock(&p->lock);
	list_add_tail(&p->todo, &io->link);
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

static struct raw_io *take_over(struct pool *p)
{
	struct raw_io *io = NULL;

	pthread_mutex_lock(&p->lock);
	if (!list_empty(&p->over)) {
		io = list_entry(p->over.next, struct raw_io, link);
		list_del(&io->link);
	}
	pthread_mutex_unlock(&p->lock);
	return io;
}

static void pool_event(void *arg, uint32_t events)
{
	struct raw *r = arg;
	struct raw_io *io;

	fd_event_take(r->event.fd);
	while ((io = take_over(r->pool)))
		raw_io_complete(io, io->result);
}

/* The threads do what there is to do, then they end. */
static void pool_close(struct raw *r)
{
	struct pool *p = r->pool;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned int i = 0; i < p->nthreads; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	fd_close(&p->event_fd);
	free(p);
	r->pool = NULL;
}

static int pool_open(struct raw *r, struct error *err)
{
	struct pool *p = calloc(1, sizeof(*p));
	int ret = 0;

	if (!p)
		return error_set(err, ENOMEM, "no memory");
	r->pool = p;
	r->event.fn = pool_event;
	p->event_fd = r->event.fd = fd_event();
	list_init(&p->todo);
	list_init(&p->over);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	if (p->event_fd < 0)
		ret = -p->event_fd;
	for (; !ret && p->nthreads < THREADS; p->nthreads += !ret)
		ret = thread_start(&p->thread[p->nthreads], "disk", worker, p);
	return ret ? error_set(err, ret, "no threads: %s", strerror(ret)) : 0;
}

const struct raw_engine raw_pool = {
	.open = pool_open,
	.issue = pool_issue,
	.close = pool_close,
};
