/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an NBD disk has holes: block status of the context "base:allocation",
 * which each connection asks for. A server without it, or one that fails to
 * answer, makes all of the disk count as data.
 */
#include <string.h>

#include "devices/block/nbd.h"

#define MAX_MAP GIB		/* of one command; servers answer less */

bool nbd_map_known(const struct nbd_io *io)
{
	return io->disk->nbd.can_meta_context(io->conn->h,
				LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
}

/* @entry: pairs of length and flags, from @at on. A hole of which the server
 * does not say that it reads as zeroes is data. */
static int on_extents(void *arg, const char *context, uint64_t at,
		      uint32_t *entry, size_t n, int *error)
{
	struct nbd_io *io = arg;
	struct block_request *req = io->req;
	uint64_t end = req->offset + req->len;

	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) ||
	    at != req->offset + io->mapped)
		return 0;
	for (size_t i = 0; i + 1 < n && at < end; i += 2) {
		uint64_t len = MIN(entry[i], end - at);

		if (!(entry[i + 1] & LIBNBD_STATE_ZERO))
			block_map_mark(req, at, len);
		at += len;
	}
	io->mapped = at - req->offset;
	return 0;
}

int64_t nbd_map_issue(struct nbd_io *io, nbd_completion_callback cb)
{
	nbd_extent_callback extents = {
		.callback = on_extents, .user_data = io
	};
	struct block_request *req = io->req;

	io->mapped = 0;
	return io->disk->nbd.aio_block_status(io->conn->h,
			MIN(req->len, MAX_MAP), req->offset, extents, cb, 0);
}

int nbd_map_end(struct nbd_io *io, int result)
{
	struct block_request *req = io->req;

	if (result == BLOCK_LOST)
		return result;
	if (io->mapped)
		block_map_end(req, io->mapped);
	else
		block_map_mark(req, req->offset, req->len);
	return 0;
}
