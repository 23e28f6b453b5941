/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of a raw image: buffers that direct I/O can't use are bounced,
 * short transfers are continued, zeroes that the image can't make by itself
 * are written. An engine carries them out.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/block/raw.h"
#include "vmm/base/fd.h"

#define ZERO_BYTES 65536	/* of zeroes in memory */
#define ZERO_IOVS 64		/* times that in one write */

static void raw_start(struct raw *r, struct block_request *req);

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
	io->bounce = io->own = NULL;
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
		io->raw->engine->issue(io);
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
				io->raw->engine->issue(io);
				return;
			}
		}
	}
	finish(io, result);
}

void raw_io_complete(struct raw_io *io, int result)
{
	enum block_op op = io->req->op;

	if (io->req->result)
		finish(io, io->req->result);
	else if (result == -EAGAIN || result == -EINTR)
		io->raw->engine->issue(io);
	else if (op == BLOCK_READ || op == BLOCK_WRITE || io->zeroing)
		result < 0 ? finish(io, result) : moved(io, result);
	else if (op == BLOCK_FLUSH)
		finish(io, result);
	else
		falloc_done(io, result);
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
	io->raw->engine->issue(io);
}

void raw_io_submit(struct block *blk, struct block_request *req)
{
	struct raw *r = to_raw(blk);

	if (r->free)
		raw_start(r, req);
	else
		list_add_tail(&r->waiting, &req->link);
}

/* io_uring, or threads where a container or sysctl forbids it. */
static int engine_open(struct raw *r, struct error *err)
{
	int ret;

	r->engine = &raw_ring;
	ret = r->engine->open(r, err);
	if (!ret || (ret != -ENOSYS && ret != -EPERM))
		return ret;
	log_info(r->log, "disk %s: %s; using threads", r->path, err->msg);
	error_clear(err);
	r->engine = &raw_pool;
	return r->engine->open(r, err);
}

int raw_io_init(struct raw *r, struct error *err)
{
	r->event.fd = -1;
	list_init(&r->waiting);
	for (unsigned int i = 0; i < RAW_DEPTH; i++) {
		r->io[i].next_free = r->free;
		r->free = &r->io[i];
	}
	/* Never written, so the kernel maps its one page of zeroes. */
	r->zeroes = mmap(NULL, ZERO_BYTES, PROT_READ,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->zeroes == MAP_FAILED)
		return error_set(err, ENOMEM, "no memory");
	r->event.events = EPOLLIN;
	r->event.arg = r;
	return engine_open(r, err) ?: loop_add(r->loop, &r->event, err);
}

void raw_io_exit(struct raw *r)
{
	loop_del(r->loop, &r->event);
	if (r->engine)
		r->engine->close(r);
	for (unsigned int i = 0; i < RAW_DEPTH; i++) {
		free(r->io[i].own);
		free(r->io[i].bounce);
	}
	if (r->zeroes != MAP_FAILED)
		munmap(r->zeroes, ZERO_BYTES);
}
