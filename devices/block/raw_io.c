/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of a raw image through io_uring: short transfers are continued,
 * zeroes that the image can't make by itself are written.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/block/raw.h"
#include "vmm/base/fd.h"

#define ZERO_BYTES 65536	/* of zeroes in memory */
#define ZERO_IOVS 64		/* times that in one write */
#define RETRY_NS NSEC_PER_MSEC	/* when the kernel is short of memory */

static void raw_start(struct raw *r, struct block_request *req);

static void ring_submit(struct raw *r)
{
	/* The kernel is short of something: what is queued is offered again. */
	if (io_uring_submit(&r->ring) < 0)
		loop_timer_set(r->loop, &r->retry, now_ns() + RETRY_NS);
}

static void ring_retry(void *arg)
{
	ring_submit(arg);
}

static void finish(struct raw_io *io, int result)
{
	struct block_request *req = io->req;
	struct raw *r = io->raw;

	if (io->bounce && req->op == BLOCK_READ && !result) {
		const char *from = io->bounce;

		for (int i = 0; i < req->niov; i++) {
			memcpy(req->iov[i].iov_base, from, req->iov[i].iov_len);
			from += req->iov[i].iov_len;
		}
	}
	free(io->bounce);
	free(io->own);
	io->next_free = r->free;
	r->free = io;
	r->busy--;
	if (!list_empty(&r->waiting)) {
		struct block_request *next = list_entry(r->waiting.next,
						struct block_request, link);

		list_del(&next->link);
		raw_start(r, next);
	}
	req->done(req, result);
}

static int falloc_mode(const struct block_request *req)
{
	if (req->op == BLOCK_WRITE_ZEROES && !req->unmap)
		return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
}

/* Hand the request, or what is left of it, to the kernel. There are more
 * entries in the ring than requests in flight, so one is always free. */
static void issue(struct raw_io *io)
{
	const struct block_request *req = io->req;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->raw->ring);

	if (req->result)	/* has failed; says so from the loop */
		io_uring_prep_nop(sqe);
	else if (req->op == BLOCK_FLUSH)
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
	else if (req->op == BLOCK_READ)
		io_uring_prep_readv(sqe, io->fd, io->iov, (unsigned)io->niov,
				    req->offset + io->done);
	else if (req->op == BLOCK_WRITE || io->zeroing)
		io_uring_prep_writev(sqe, io->fd, io->iov, (unsigned)io->niov,
				     req->offset + io->done);
	else
		io_uring_prep_fallocate(sqe, io->fd, falloc_mode(req),
					(off_t)req->offset, (off_t)req->len);
	io_uring_sqe_set_data(sqe, io);
	ring_submit(io->raw);
}

/* The next stretch of a WRITE_ZEROES that the image can't do by itself. */
static int prepare_zeroes(struct raw_io *io)
{
	uint64_t left = io->req->len - io->done;

	if (!io->own)
		io->own = calloc(ZERO_IOVS, sizeof(*io->own));
	if (!io->own)
		return -ENOMEM;
	io->iov = io->own;
	io->niov = 0;
	while (left && io->niov < ZERO_IOVS) {
		size_t n = MIN(left, (uint64_t)ZERO_BYTES);

		io->iov[io->niov++] = (struct iovec){ io->raw->zeroes, n };
		left -= n;
	}
	io->zeroing = true;
	return 0;
}

/* Skip the @n bytes that a short transfer moved. */
static int skip(struct raw_io *io, size_t n)
{
	if (!io->own) {
		size_t bytes = (size_t)io->niov * sizeof(*io->own);

		io->own = malloc(bytes);
		if (!io->own)
			return -ENOMEM;
		memcpy(io->own, io->iov, bytes);
		io->iov = io->own;
	}
	while (n >= io->iov->iov_len) {
		n -= io->iov->iov_len;
		io->iov++;
		io->niov--;
	}
	io->iov->iov_base = (char *)io->iov->iov_base + n;
	io->iov->iov_len -= n;
	return 0;
}

/* Bytes were moved: is that all? */
static void moved(struct raw_io *io, int n)
{
	int ret;

	io->done += (uint64_t)n;
	if (io->done == io->req->len) {
		finish(io, 0);
		return;
	}
	if (!n)		/* the image ends here: somebody cut it */
		ret = -EIO;
	else if (io->zeroing)
		ret = prepare_zeroes(io);
	else
		ret = skip(io, (size_t)n);
	if (ret)
		finish(io, ret);
	else
		issue(io);
}

static bool unsupported(int result)
{
	return result == -EOPNOTSUPP || result == -EINVAL ||
	       result == -ENOSYS || result == -ENOTTY;
}

static void falloc_done(struct raw_io *io, int result)
{
	/* A discard is a hint; zeroes have to be there. */
	if (unsupported(result)) {
		result = 0;
		if (io->req->op == BLOCK_WRITE_ZEROES) {
			result = prepare_zeroes(io);
			if (!result) {
				issue(io);
				return;
			}
		}
	}
	finish(io, result);
}

static void complete(struct raw_io *io, int result)
{
	enum block_op op = io->req->op;

	if (io->req->result)
		finish(io, io->req->result);
	else if (result == -EAGAIN || result == -EINTR)
		issue(io);
	else if (op == BLOCK_READ || op == BLOCK_WRITE || io->zeroing)
		result < 0 ? finish(io, result) : moved(io, result);
	else if (op == BLOCK_FLUSH)
		finish(io, result);
	else
		falloc_done(io, result);
}

static void ring_event(void *arg, uint32_t events)
{
	struct raw *r = arg;
	struct io_uring_cqe *cqe;

	fd_event_take(r->event.fd);
	while (!io_uring_peek_cqe(&r->ring, &cqe)) {
		struct raw_io *io = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&r->ring, cqe);
		complete(io, result);
	}
}

static bool needs_bounce(const struct raw *r, const struct block_request *req)
{
	if (req->niov > IOV_MAX)
		return true;
	for (int i = 0; r->direct && i < req->niov; i++)
		if (((uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len) &
		    (r->granule - 1))
			return true;
	return false;
}

static int bounce(struct raw_io *io)
{
	const struct block_request *req = io->req;
	char *to;

	io->own = malloc(sizeof(*io->own));
	if (!io->own || posix_memalign(&io->bounce, RAW_PAGE, req->len)) {
		io->bounce = NULL;
		return -ENOMEM;
	}
	io->own[0] = (struct iovec){ io->bounce, req->len };
	io->iov = io->own;
	io->niov = 1;
	to = io->bounce;
	for (int i = 0; req->op == BLOCK_WRITE && i < req->niov; i++) {
		memcpy(to, req->iov[i].iov_base, req->iov[i].iov_len);
		to += req->iov[i].iov_len;
	}
	return 0;
}

static void raw_start(struct raw *r, struct block_request *req)
{
	bool data = req->op == BLOCK_READ || req->op == BLOCK_WRITE;
	struct raw_io *io = r->free;

	r->free = io->next_free;
	r->busy++;
	*io = (struct raw_io){
		.raw = r, .req = req, .fd = r->fd,
		.iov = req->iov, .niov = req->niov,
	};
	if (r->direct && ((req->offset | req->len) & (r->granule - 1)))
		io->fd = r->buffered_fd;
	if (data && needs_bounce(r, req))
		req->result = bounce(io);
	issue(io);
}

void raw_io_submit(struct block *blk, struct block_request *req)
{
	struct raw *r = to_raw(blk);

	if (r->free)
		raw_start(r, req);
	else
		list_add_tail(&r->waiting, &req->link);
}

static int ring_open(struct raw *r, struct error *err)
{
	int ret = io_uring_queue_init(2 * RAW_DEPTH, &r->ring, 0);

	if (ret)
		return error_set(err, -ret,
				 "no io_uring on this host: %s (seccomp filter of a container, or sysctl kernel.io_uring_disabled?)",
				 strerror(-ret));
	r->have_ring = true;
	r->event.fd = fd_event();
	if (r->event.fd < 0)
		return error_set(err, -r->event.fd, "cannot make an eventfd");
	ret = io_uring_register_eventfd(&r->ring, r->event.fd);
	if (ret)
		return error_set(err, -ret, "io_uring: no eventfd: %s",
				 strerror(-ret));
	r->event.events = EPOLLIN;
	r->event.fn = ring_event;
	r->event.arg = r;
	return loop_add(r->loop, &r->event, err);
}

int raw_io_init(struct raw *r, struct error *err)
{
	r->event.fd = -1;
	list_init(&r->waiting);
	loop_timer_init(&r->retry, ring_retry, r);
	for (unsigned int i = 0; i < RAW_DEPTH; i++) {
		r->io[i].next_free = r->free;
		r->free = &r->io[i];
	}
	/* Never written, so the kernel maps its one page of zeroes. */
	r->zeroes = mmap(NULL, ZERO_BYTES, PROT_READ,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->zeroes == MAP_FAILED)
		return error_set(err, ENOMEM, "no memory");
	return ring_open(r, err);
}

void raw_io_exit(struct raw *r)
{
	struct io_uring_cqe *cqe;

	/* The kernel must be done with the guest's memory. */
	if (r->busy)
		io_uring_submit(&r->ring);
	for (; r->busy && !io_uring_wait_cqe(&r->ring, &cqe); r->busy--)
		io_uring_cqe_seen(&r->ring, cqe);
	loop_timer_cancel(&r->retry);
	loop_del(r->loop, &r->event);
	if (r->have_ring)
		io_uring_queue_exit(&r->ring);
	fd_close(&r->event.fd);
	if (r->zeroes != MAP_FAILED)
		munmap(r->zeroes, ZERO_BYTES);
}
