/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks in Ceph, by librbd's asynchronous calls. Requests go straight from and
 * to the guest's buffers; librbd's threads put what is done on a list and wake
 * the loop.
 *
 * While Ceph does not answer, requests wait in librbd, which repeats them.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/rbd.h"
#include "vmm/base/fd.h"

#define FLUSH_MS 5000		/* in deactivate */

/* A request at librbd; req->driver_data. */
struct rbd_io {
	struct rbd_disk *disk;
	struct block_request *req;	/* NULL: our own flush */
	rbd_completion_t completion;
	struct list link;		/* rbd_disk.done */
	int result;
};

static struct rbd_disk *to_rbd(struct block *blk)
{
	return container_of(blk, struct rbd_disk, blk);
}

/* In a thread of librbd's. */
static void on_complete(rbd_completion_t c, void *arg)
{
	struct rbd_io *io = arg;
	struct rbd_disk *d = io->disk;

	pthread_mutex_lock(&d->lock);
	if (list_empty(&d->done))
		fd_event_signal(d->wake.fd);
	list_add_tail(&d->done, &io->link);
	pthread_mutex_unlock(&d->lock);
}

static struct rbd_io *new_io(struct rbd_disk *d, struct block_request *req)
{
	struct rbd_io *io = calloc(1, sizeof(*io));

	if (!io)
		return NULL;
	io->disk = d;
	io->req = req;
	list_init(&io->link);
	if (!d->lib.aio_create_completion(io, on_complete, &io->completion))
		return io;
	free(io);
	return NULL;
}

static void free_io(struct rbd_io *io)
{
	io->disk->lib.aio_release(io->completion);
	free(io);
}

/*
 * Another host broke our lock: whatever we write from now on is refused, which
 * is more than a disk with bad sectors. People are told.
 */
static void check_fenced(struct rbd_disk *d, const struct block_request *req,
			 int result)
{
	if (d->fenced || (result != -ESHUTDOWN &&
			  (result != -EROFS || req->op == BLOCK_READ)))
		return;
	d->fenced = true;
	log_error(d->log, "%s: another host has taken this image away: %s",
		  d->name, strerror(-result));
	if (d->events.lost)
		d->events.lost(d->events.arg, "another host has taken it away");
}

static void finish(struct rbd_io *io)
{
	ssize_t got = io->disk->lib.aio_get_return_value(io->completion);
	struct block_request *req = io->req;
	struct rbd_disk *d = io->disk;
	int result = got < 0 ? (int)got : 0;

	free_io(io);
	if (!req)
		return;
	if (result)
		check_fenced(d, req, result);
	req->done(req, result);
}

static void on_resize(struct rbd_disk *d)
{
	uint64_t size = 0;

	if (d->lib.get_size(d->image, &size) < 0)
		return;
	size = align_down(size, 512);
	if (size == d->blk.size)
		return;
	log_info(d->log, "%s: the image has %llu bytes now, it had %llu",
		 d->name, (unsigned long long)size,
		 (unsigned long long)d->blk.size);
	d->want_size = d->blk.size = size;
	if (d->blk.active && d->events.resized)
		d->events.resized(d->events.arg);
}

static int no_progress(uint64_t done, uint64_t total, void *arg)
{
	return 0;
}

/* Holds the loop up while Ceph changes the header, as taking the lock does. */
static int rbd_disk_resize(struct block *blk, uint64_t size, struct error *err)
{
	struct rbd_disk *d = to_rbd(blk);
	int ret = d->lib.resize2(d->image, size, false, no_progress, NULL);

	if (ret < 0)
		return error_set(err, -ret, "cannot make it %llu bytes: %s",
				 (unsigned long long)size, strerror(-ret));
	on_resize(d);
	return 0;
}

static struct rbd_io *next_done(struct rbd_disk *d)
{
	struct rbd_io *io = NULL;

	pthread_mutex_lock(&d->lock);
	if (!list_empty(&d->done)) {
		io = list_entry(d->done.next, struct rbd_io, link);
		list_del(&io->link);
	}
	pthread_mutex_unlock(&d->lock);
	return io;
}

static void on_wake(void *arg, uint32_t events)
{
	struct rbd_disk *d = arg;
	struct rbd_io *io;
	bool changed;

	fd_event_take(d->wake.fd);
	pthread_mutex_lock(&d->lock);
	changed = d->header_changed;
	d->header_changed = false;
	pthread_mutex_unlock(&d->lock);
	if (changed)
		on_resize(d);
	rbd_map_settle(d);
	while ((io = next_done(d)))
		finish(io);
}

static int issue(struct rbd_disk *d, struct block_request *req,
		 rbd_completion_t c)
{
	const struct rbd_library *lib = &d->lib;

	switch (req->op) {
	case BLOCK_READ:
		return lib->aio_readv(d->image, req->iov, req->niov,
				      req->offset, c);
	case BLOCK_WRITE:
		return lib->aio_writev(d->image, req->iov, req->niov,
				       req->offset, c);
	case BLOCK_DISCARD:
		return lib->aio_discard(d->image, req->offset, req->len, c);
	case BLOCK_WRITE_ZEROES:
		return lib->aio_write_zeroes(d->image, req->offset, req->len,
			c, req->unmap ? 0 :
			(int)RBD_WRITE_ZEROES_FLAG_THICK_PROVISION, 0);
	default:
		return lib->aio_flush(d->image, c);
	}
}

static void refuse(void *arg)
{
	struct block_request *req = arg;

	req->done(req, req->result);
}

static void rbd_submit(struct block *blk, struct block_request *req)
{
	struct rbd_disk *d = to_rbd(blk);
	struct rbd_io *io;

	if (req->op == BLOCK_MAP) {
		rbd_map_submit(d, req);
		return;
	}
	io = new_io(d, req);
	req->result = io ? issue(d, req, io->completion) : -ENOMEM;
	if (req->result >= 0)
		return;
	/* refused at once: no callback comes */
	if (io)
		free_io(io);
	loop_post(d->loop, refuse, req);
}

static int rbd_activate(struct block *blk, struct error *err)
{
	struct rbd_disk *d = to_rbd(blk);
	int ret = 0;

	d->fenced = false;
	if (!blk->readonly)
		ret = rbd_lock_take(d, err);
	/* the other host wrote: forget what was read before */
	if (!ret)
		d->lib.invalidate_cache(d->image);
	if (!ret)
		ret = rbd_link_measure(d, err);
	if (ret && !blk->readonly)
		d->lib.lock_release(d->image);
	return ret;
}

/* The loop is ours here: wait for the callback beside it. */
static bool wait_idle(struct rbd_disk *d, const struct rbd_io *io)
{
	struct pollfd p = { .fd = d->wake.fd, .events = POLLIN };
	uint64_t end = now_ns() + FLUSH_MS * NSEC_PER_MSEC, now;
	bool done = false;

	while (!done && (now = now_ns()) < end) {
		poll(&p, 1, (int)((end - now) / NSEC_PER_MSEC) + 1);
		fd_event_take(d->wake.fd);
		pthread_mutex_lock(&d->lock);
		done = !list_empty(&io->link);
		pthread_mutex_unlock(&d->lock);
	}
	return done;
}

/* An answer that comes too late is freed when it comes: finish(). */
static int flush(struct rbd_disk *d, struct error *err)
{
	struct rbd_io *io = new_io(d, NULL);
	int ret = io ? d->lib.aio_flush(d->image, io->completion) : -ENOMEM;

	if (ret < 0) {
		if (io)
			free_io(io);
	} else if (!wait_idle(d, io)) {
		ret = -ETIMEDOUT;
	} else {
		ret = (int)d->lib.aio_get_return_value(io->completion);
	}
	/* what is on the list is the loop's to look at */
	fd_event_signal(d->wake.fd);
	if (ret < 0)
		return error_set(err, -ret, "%s: cannot flush: %s", d->name,
				 strerror(-ret));
	return 0;
}

static int rbd_deactivate(struct block *blk, struct error *err)
{
	struct rbd_disk *d = to_rbd(blk);
	int ret;

	if (blk->readonly)
		return 0;
	ret = flush(d, err);
	if (ret)
		return ret;
	ret = d->lib.lock_release(d->image);
	if (ret < 0)
		return error_set(err, -ret,
				 "%s: cannot release the exclusive lock: %s",
				 d->name, strerror(-ret));
	return 0;
}

static void rbd_disk_close(struct block *blk)
{
	struct rbd_disk *d = to_rbd(blk);
	struct rbd_io *io;

	rbd_map_exit(d);
	rbd_link_close(d);
	while ((io = next_done(d)))
		free_io(io);
	loop_del(d->loop, &d->wake);
	fd_close(&d->wake.fd);
	pthread_mutex_destroy(&d->lock);
	rbd_uri_free(&d->uri);
	free(d->name);
	free(d);
}

static int prepare(struct rbd_disk *d, const char *uri, struct error *err)
{
	size_t len = strcspn(uri + strlen("rbd:"), ":") + strlen("rbd:");
	int ret = rbd_uri_parse(&d->uri, uri, err);

	if (ret)
		return ret;
	d->name = strndup(uri, len);
	d->wake = (struct loop_fd){
		.fd = fd_event(), .events = EPOLLIN, .fn = on_wake, .arg = d
	};
	if (!d->name || d->wake.fd < 0)
		return error_set(err, ENOMEM, "no memory");
	return loop_add(d->loop, &d->wake, err) ?:
	       rbd_library_load(&d->lib, err);
}

static int rbd_disk_open(struct block **out, const struct block_options *opt,
			 const struct block_events *events, struct loop *loop,
			 const struct log *log, struct error *err)
{
	struct rbd_disk *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return error_set(err, ENOMEM, "no memory");
	d->blk = (struct block){
		.size = opt->size, .block_size = 512,
		.readonly = opt->readonly, .can_flush = true,
		.can_discard = true, .can_write_zeroes = true,
		.can_map = true,
	};
	d->loop = loop;
	d->log = log;
	d->want_size = opt->size;
	d->wake.fd = -1;
	if (events)
		d->events = *events;
	list_init(&d->done);
	list_init(&d->maps);
	pthread_mutex_init(&d->lock, NULL);
	ret = prepare(d, opt->uri, err) ?: rbd_link_open(d, err);
	if (ret)
		rbd_disk_close(&d->blk);
	else
		*out = &d->blk;
	return ret;
}

static const struct block_driver rbd_driver = {
	.scheme = "rbd",
	.doc = "Ceph's block devices (librbd)",
	.fence = "its exclusive lock; who loses it is shut out",
	.open = rbd_disk_open,
	.activate = rbd_activate,
	.deactivate = rbd_deactivate,
	.submit = rbd_submit,
	.resize = rbd_disk_resize,
	.close = rbd_disk_close,
};

BLOCK_DRIVER(rbd_driver);
