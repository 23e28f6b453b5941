/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks on an NBD server, by libnbd's asynchronous interface: nbd:// (TCP)
 * and nbd+unix:// URIs as in the NBD project's uri.md.
 *
 * A lost server fails no request until reconnect_s have passed: they are kept,
 * the connection is made again and they are replayed (requests in flight have
 * no order, so a write that was carried out already may be carried out twice).
 * The server must keep what it acknowledged while it restarts; if its machine
 * crashes it may lose writes that were not flushed, of which the guest hears
 * nothing. What the old connection had delivered the server may still carry
 * out behind our back: NBD has no fence.
 *
 * Flush, discard and write zeroes are offered whatever the server can do, so
 * that the guest's disk doesn't change with the server: what is missing is
 * left out (flush, discard) or done by writing (zeroes).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/nbd.h"

#define MAX_RANGE GIB		/* of a command that carries no data */
#define ZERO_BYTES MIB
#define FLUSH_MS 5000		/* in deactivate */

static struct nbd_disk *to_nbd(struct block *blk)
{
	return container_of(blk, struct nbd_disk, blk);
}

static struct nbd_io *first_io(struct list *head)
{
	return list_entry(head->next, struct block_request, link)->driver_data;
}

static void gather(struct nbd_io *io)
{
	const struct block_request *req = io->req;
	char *to = io->bounce;

	for (int i = 0; i < req->niov; i++) {
		memcpy(to, req->iov[i].iov_base, req->iov[i].iov_len);
		to += req->iov[i].iov_len;
	}
}

static void scatter(struct nbd_io *io)
{
	const struct block_request *req = io->req;
	const char *from = io->bounce;

	for (int i = 0; i < req->niov; i++) {
		memcpy(req->iov[i].iov_base, from, req->iov[i].iov_len);
		from += req->iov[i].iov_len;
	}
}

/* The request is over; it is in no list. */
static void finish(struct nbd_io *io, int result)
{
	struct block_request *req = io->req;

	if (io->bounce && req->op == BLOCK_READ && !result)
		scatter(io);
	if (req->op == BLOCK_MAP)
		result = nbd_map_end(io, result);
	free(io->bounce);
	free(io);
	req->driver_data = NULL;
	req->done(req, result);
}

/* libnbd calls this with its lock held: only note it. */
static int piece_done(void *arg, int *error)
{
	struct nbd_io *io = arg;

	io->error = *error;
	io->conn->busy -= io->piece;
	list_del(&io->req->link);
	list_add_tail(&io->disk->arrived, &io->req->link);
	return 1;		/* libnbd forgets the command */
}

/* It is one, or a write that is done but for that. */
static bool is_flush(const struct nbd_io *io)
{
	const struct block_request *req = io->req;

	return req->op == BLOCK_FLUSH ||
	       (req->op == BLOCK_WRITE && io->done == req->len);
}

/* Bytes of the next command: what is left, or as much as it may have. */
static uint64_t next_piece(const struct nbd_io *io)
{
	const struct nbd_disk *d = io->disk;
	uint64_t left = io->req->len - io->done;

	switch (io->req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return MIN(left, d->max_piece);
	case BLOCK_FLUSH:
	case BLOCK_MAP:
		return 0;
	case BLOCK_DISCARD:
		return MIN(left, MAX_RANGE);
	default:
		return d->nbd.can_zero(io->conn->h) == 1 ?
		       MIN(left, MAX_RANGE) :
		       MIN(left, MIN(ZERO_BYTES, d->max_piece));
	}
}

static int64_t issue_write(struct nbd_io *io, nbd_completion_callback cb)
{
	const struct nbd_library *nbd = &io->disk->nbd;
	struct nbd_handle *h = io->conn->h;
	bool fua = io->req->fua && nbd->can_fua(h) == 1;

	if (is_flush(io))
		return nbd->aio_flush(h, cb, 0);
	io->flush |= io->req->fua && !fua;
	return nbd->aio_pwrite(h, io->data + io->done, io->piece,
			       io->req->offset + io->done, cb,
			       fua ? LIBNBD_CMD_FLAG_FUA : 0);
}

static int64_t issue_zeroes(struct nbd_io *io, nbd_completion_callback cb)
{
	struct nbd_disk *d = io->disk;
	struct nbd_handle *h = io->conn->h;
	uint64_t at = io->req->offset + io->done;
	uint32_t flags = io->req->unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;

	if (d->nbd.can_zero(h) == 1)
		return d->nbd.aio_zero(h, io->piece, at, cb, flags);
	if (!d->zeroes)
		d->zeroes = calloc(1, ZERO_BYTES);
	if (!d->zeroes)
		return -1;
	return d->nbd.aio_pwrite(h, d->zeroes, io->piece, at, cb, 0);
}

/* Give libnbd the next piece. < 0 if it takes none. */
static int64_t issue(struct nbd_io *io)
{
	nbd_completion_callback cb = {
		.callback = piece_done, .user_data = io
	};
	const struct nbd_library *nbd = &io->disk->nbd;
	struct block_request *req = io->req;
	struct nbd_handle *h = io->conn->h;
	uint64_t at = req->offset + io->done;

	switch (req->op) {
	case BLOCK_READ:
		return nbd->aio_pread(h, io->data + io->done, io->piece, at,
				      cb, 0);
	case BLOCK_WRITE:
		return issue_write(io, cb);
	case BLOCK_FLUSH:
		return nbd->aio_flush(h, cb, 0);
	case BLOCK_DISCARD:
		return nbd->aio_trim(h, io->piece, at, cb, 0);
	case BLOCK_MAP:
		return nbd_map_issue(io, cb);
	default:
		return issue_zeroes(io, cb);
	}
}

/* Nothing to do: the server lacks what may be left out. */
static bool is_moot(const struct nbd_io *io)
{
	const struct nbd_library *nbd = &io->disk->nbd;
	struct nbd_handle *h = io->conn->h;

	return (is_flush(io) && nbd->can_flush(h) != 1) ||
	       (io->req->op == BLOCK_DISCARD && nbd->can_trim(h) != 1) ||
	       (io->req->op == BLOCK_MAP && !nbd_map_known(io));
}

static void put(struct list *head, struct nbd_io *io)
{
	list_del(&io->req->link);
	list_add_tail(head, &io->req->link);
}

static void hand_out(struct nbd_disk *d)
{
	while (d->state == NBD_LINK_READY && !list_empty(&d->waiting)) {
		struct nbd_io *io = first_io(&d->waiting);

		io->error = 0;
		io->conn = nbd_link_next(d);
		io->piece = next_piece(io);
		if (is_moot(io)) {
			io->piece = io->req->len;
			put(&d->arrived, io);
			continue;
		}
		/* libnbd may complete it at once, so it is counted first */
		put(&d->inflight, io);
		io->conn->busy += io->piece;
		if (issue(io) < 0 && !nbd_link_is_down(d)) {
			io->error = d->nbd.get_errno() ?: EIO;
			io->conn->busy -= io->piece;
			put(&d->arrived, io);
		}
		if (nbd_link_is_down(d))
			break;
	}
}

static bool means_lost(int error)
{
	return error == ENOTCONN || error == ESHUTDOWN ||
	       error == ECONNRESET || error == EPIPE;
}

/* len means nothing in a flush, and a map may end early. */
static bool is_over(const struct nbd_io *io)
{
	return io->req->op == BLOCK_FLUSH || io->req->op == BLOCK_MAP ||
	       (io->done >= io->req->len && !io->flush);
}

/*
 * Look at every piece that arrived: the request is over, or it waits for its
 * next piece, or for another connection. True if the server was lost.
 */
static bool collect(struct nbd_disk *d)
{
	bool lost = false;

	while (!list_empty(&d->arrived)) {
		struct nbd_io *io = first_io(&d->arrived);

		if (means_lost(io->error)) {
			lost = true;
			put(&d->waiting, io);
			continue;
		}
		if (is_flush(io))
			io->flush = false;
		io->done += io->piece;
		if (io->error || is_over(io)) {
			list_del(&io->req->link);
			finish(io, -io->error);
		} else {
			put(&d->waiting, io);
		}
	}
	return lost;
}

void nbd_settle(struct nbd_disk *d)
{
	/* what is over makes room, what is not may have a next piece */
	do {
		if (collect(d)) {
			nbd_link_lost(d, "the server is shutting down");
			return;
		}
		hand_out(d);
	} while (!list_empty(&d->arrived));
	if (d->state == NBD_LINK_READY && nbd_link_is_down(d))
		nbd_link_check(d);
}

void nbd_requeue(struct nbd_disk *d)
{
	collect(d);
	while (!list_empty(&d->inflight))
		put(&d->waiting, first_io(&d->inflight));
}

static void on_soon(void *arg)
{
	struct nbd_disk *d = arg;

	if (d->state == NBD_LINK_READY)
		nbd_link_check(d);
}

void nbd_fail_waiting(struct nbd_disk *d)
{
	while (!list_empty(&d->waiting)) {
		struct nbd_io *io = first_io(&d->waiting);

		list_del(&io->req->link);
		finish(io, BLOCK_LOST);
	}
}

/* It fails, from the loop. */
static void refuse(void *arg)
{
	struct block_request *req = arg;

	req->done(req, req->result);
}

static struct nbd_io *new_io(struct nbd_disk *d, struct block_request *req)
{
	struct nbd_io *io = calloc(1, sizeof(*io));

	if (!io)
		return NULL;
	io->disk = d;
	io->req = req;
	if (req->niov == 1)
		io->data = req->iov[0].iov_base;
	else if (req->niov)
		io->data = io->bounce = req->op == BLOCK_READ ?
					calloc(1, req->len) : malloc(req->len);
	if (req->niov && !io->data) {
		free(io);
		return NULL;
	}
	if (io->bounce && req->op == BLOCK_WRITE)
		gather(io);
	req->driver_data = io;
	return io;
}

static void nbd_submit(struct block *blk, struct block_request *req)
{
	struct nbd_disk *d = to_nbd(blk);

	if (nbd_split(blk, req))
		return;
	req->result = d->given_up ? BLOCK_LOST : -ENOMEM;
	if (d->given_up || !new_io(d, req)) {
		loop_post(d->loop, refuse, req);
		return;
	}
	list_add_tail(&d->waiting, &req->link);
	hand_out(d);
	if (d->state != NBD_LINK_READY)
		return;
	nbd_link_watch(d);
	if (nbd_link_is_down(d) || !list_empty(&d->arrived))
		loop_timer_set(d->loop, &d->soon, 0);
}

static int nbd_activate(struct block *blk, struct error *err)
{
	struct nbd_disk *d = to_nbd(blk);

	d->lost = d->given_up = false;
	return nbd_link_open(d, err);
}

static int flush_done(void *arg, int *error)
{
	int *result = arg;

	*result = *error;
	return 1;
}

/* On one connection: it covers all of them. */
static int flush(struct nbd_disk *d, struct error *err)
{
	struct nbd_handle *h = d->conn[0].h;
	uint64_t end = now_ns() + FLUSH_MS * NSEC_PER_MSEC;
	int result = -1;	/* not known yet */
	nbd_completion_callback cb = {
		.callback = flush_done, .user_data = &result
	};

	if (d->blk.readonly || d->nbd.can_flush(h) != 1)
		return 0;
	if (d->nbd.aio_flush(h, cb, 0) < 0)
		result = EIO;
	while (result < 0 && !nbd_link_is_down(d) && now_ns() < end)
		if (d->nbd.poll(h, FLUSH_MS) < 0)
			break;
	if (!result)
		return 0;
	/* The callback's result lives here: forget the connection first. */
	if (result < 0)
		nbd_link_lost(d, "no answer to a flush");
	return error_set(err, EIO, "%s: cannot flush: %s", d->uri,
			 result > 0 ? strerror(result) : "no answer");
}

static int nbd_deactivate(struct block *blk, struct error *err)
{
	struct nbd_disk *d = to_nbd(blk);
	int ret;

	/* given up, nothing waits here: it is found again there or nowhere */
	if (d->given_up) {
		log_warn(d->log, "%s: left without a flush, its server is lost",
			 d->uri);
		nbd_link_close(d, false);
		return 0;
	}
	if (d->state != NBD_LINK_READY)
		return error_set(err, EIO,
				 "%s: the server is lost, what the guest wrote can't be flushed",
				 d->uri);
	ret = flush(d, err);
	if (!ret)
		nbd_link_close(d, true);
	return ret;
}

static void drop_all(struct list *head)
{
	while (!list_empty(head)) {
		struct nbd_io *io = first_io(head);

		list_del(&io->req->link);
		nbd_split_drop(io->req);
		free(io->bounce);
		free(io);
	}
}

static void nbd_disk_close(struct block *blk)
{
	struct nbd_disk *d = to_nbd(blk);

	nbd_link_close(d, d->state == NBD_LINK_READY);
	loop_timer_cancel(&d->soon);
	drop_all(&d->arrived);
	drop_all(&d->inflight);
	drop_all(&d->waiting);
	free(d->zeroes);
	free(d->uri);
	free(d);
}

static int nbd_open(struct block **out, const struct block_options *opt,
		    const struct block_events *events, struct loop *loop,
		    const struct log *log, struct error *err)
{
	struct nbd_disk *d = calloc(1, sizeof(*d));
	int ret = 0;

	if (!d || !(d->uri = strdup(opt->uri)))
		ret = error_set(err, ENOMEM, "no memory");
	if (ret == 0)
		ret = nbd_library_load(&d->nbd, err);
	if (ret < 0) {
		if (d)
			free(d->uri);
		free(d);
		return ret;
	}
	d->blk = (struct block){
		.size = opt->size, .block_size = 512,
		.readonly = opt->readonly, .can_flush = true,
		.can_fua = true, .can_discard = true, .can_write_zeroes = true,
		.can_map = true,
	};
	d->loop = loop;
	d->log = log;
	d->want_size = opt->size;
	d->reconnect_s = opt->reconnect_s;
	if (events)
		d->events = *events;
	list_init(&d->waiting);
	list_init(&d->inflight);
	list_init(&d->arrived);
	loop_timer_init(&d->soon, on_soon, d);
	nbd_link_init(d);
	*out = &d->blk;
	return 0;
}

#define NBD_SCHEME(var, name, text)		\
static const struct block_driver var = {	\
	.scheme = name,				\
	.doc = text,				\
	.open = nbd_open,			\
	.activate = nbd_activate,		\
	.deactivate = nbd_deactivate,		\
	.submit = nbd_submit,			\
	.close = nbd_disk_close,		\
};						\
						\
BLOCK_DRIVER(var)

NBD_SCHEME(nbd_tcp, "nbd", "NBD server over TCP (libnbd)");
NBD_SCHEME(nbd_unix, "nbd+unix", "NBD server on a unix socket (libnbd)");
