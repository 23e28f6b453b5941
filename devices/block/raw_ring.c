/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw images through io_uring. */
#include <errno.h>
#include <string.h>

#include "devices/block/raw.h"
#include "vmm/base/fd.h"

#define RETRY_NS NSEC_PER_MSEC	/* when the kernel is short of memory */

static void submit(struct raw *r)
{
	/* The kernel is short of something: what is queued is offered again. */
	if (io_uring_submit(&r->ring) < 0)
		loop_timer_set(r->loop, &r->retry, now_ns() + RETRY_NS);
}

static void retry(void *arg)
{
	submit(arg);
}

/* There are more entries than requests in flight, so one is always free. */
static void ring_issue(struct raw_io *io)
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
		io_uring_prep_fallocate(sqe, io->fd, raw_falloc_mode(req),
					(off_t)req->offset, (off_t)req->len);
	io_uring_sqe_set_data(sqe, io);
	submit(io->raw);
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
		raw_io_complete(io, result);
	}
}

static int ring_open(struct raw *r, struct error *err)
{
	int ret = io_uring_queue_init(2 * RAW_DEPTH, &r->ring, 0);

	r->ring.ring_fd = ret ? -1 : r->ring.ring_fd;
	loop_timer_init(&r->retry, retry, r);
	r->event.fn = ring_event;
	if (ret)
		return error_set(err, -ret, "no io_uring here: %s",
				 strerror(-ret));
	ret = io_uring_register_eventfd(&r->ring, r->event.fd);
	if (ret)
		return error_set(err, -ret, "io_uring takes no eventfd: %s",
				 strerror(-ret));
	return 0;
}

static void ring_close(struct raw *r)
{
	struct io_uring_cqe *cqe;

	loop_timer_cancel(&r->retry);
	if (r->ring.ring_fd < 0)
		return;
	if (r->busy)
		io_uring_submit(&r->ring);
	for (; r->busy && !io_uring_wait_cqe(&r->ring, &cqe); r->busy--)
		io_uring_cqe_seen(&r->ring, cqe);
	io_uring_queue_exit(&r->ring);
}

const struct raw_engine raw_ring = {
	.open = ring_open,
	.issue = ring_issue,
	.close = ring_close,
};
