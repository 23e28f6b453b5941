/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw images through io_uring. */
#include <errno.h>
#include <string.h>

#include "devices/block/raw.h"

#define RETRY_NS NSEC_PER_MSEC	/* when the kernel is short of memory */

static void reap(struct raw *r)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&r->ring, &cqe)) {
		struct raw_io *io = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&r->ring, cqe);
		raw_merge_complete(io, result);
	}
}

static void prepare(struct io_uring_sqe *sqe, struct raw_io *io)
{
	const struct block_request *req = io->req;
	uint64_t at = req->offset + io->done;

	if (req->result)	/* has failed; says so from the loop */
		io_uring_prep_nop(sqe);
	else if (req->op == BLOCK_FLUSH)
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
	else if (req->op == BLOCK_READ)
		io_uring_prep_readv(sqe, io->fd, io->iov, (unsigned)io->niov,
				    at);
	else if (req->op == BLOCK_WRITE || io->zeroing)
		io_uring_prep_writev2(sqe, io->fd, io->iov, (unsigned)io->niov,
				      at, raw_write_flags(req));
	else
		io_uring_prep_fallocate(sqe, io->fd, raw_falloc_mode(req),
					(off_t)req->offset, (off_t)req->len);
	io_uring_sqe_set_data(sqe, io);
}

/* There are more entries than requests in flight, so one is always free. */
static void queue(struct raw *r)
{
	while (!list_empty(&r->todo)) {
		struct raw_io *io = list_entry(r->todo.next, struct raw_io,
					       link);

		list_del(&io->link);
		raw_merge(io, &r->todo);
		prepare(io_uring_get_sqe(&r->ring), io);
	}
}

/*
 * Hand over what was queued since the loop's last turn. What the page cache
 * has is complete at once.
 */
static void submit(void *arg)
{
	struct raw *r = arg;
	int n;

	queue(r);
	/* one that is refused at once ends a submission: go on behind it */
	do
		n = io_uring_submit(&r->ring);
	while (n > 0 && io_uring_sq_ready(&r->ring));
	/* The kernel is short of something: what is queued is offered again. */
	if (n < 0)
		loop_timer_set(r->loop, &r->soon, now_ns() + RETRY_NS);
	reap(r);
}

static void ring_issue(struct raw_io *io)
{
	list_add_tail(&io->raw->todo, &io->link);
	loop_timer_set(io->raw->loop, &io->raw->soon, 0);
}

static void ring_event(void *arg, uint32_t events)
{
	reap(arg);
}

static int ring_open(struct raw *r, struct error *err)
{
	int ret = io_uring_queue_init(2 * RAW_DEPTH, &r->ring, 0);

	r->ring.ring_fd = ret ? -1 : r->ring.ring_fd;
	list_init(&r->todo);
	loop_timer_init(&r->soon, submit, r);
	r->event.fn = ring_event;
	r->event.fd = r->ring.ring_fd;
	if (ret)
		return error_set(err, -ret, "no io_uring here: %s",
				 strerror(-ret));
	return 0;
}

static void ring_close(struct raw *r)
{
	struct io_uring_cqe *cqe;

	loop_timer_cancel(&r->soon);
	if (r->ring.ring_fd < 0)
		return;
	queue(r);
	if (r->busy)
		io_uring_submit(&r->ring);
	while (r->busy && !io_uring_wait_cqe(&r->ring, &cqe)) {
		r->busy -= raw_merge_undo(io_uring_cqe_get_data(cqe));
		io_uring_cqe_seen(&r->ring, cqe);
	}
	io_uring_queue_exit(&r->ring);
}

const struct raw_engine raw_ring = {
	.open = ring_open,
	.issue = ring_issue,
	.close = ring_close,
};
