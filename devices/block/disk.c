/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/block/disk.h"

#include <errno.h>
#include <stdlib.h>

struct copy_request {
	struct block_request req;
	struct iovec iov;
	struct vm_disk_io *io;
};

static void done(struct block_request *req, int result)
{
	struct copy_request *r = container_of(req, struct copy_request, req);
	struct vm_disk_io *io = r->io;

	if (io->op == VM_DISK_MAP)
		io->len = req->len;
	free(r);
	io->done(io, result);
}

void block_disk_submit(struct block *blk, struct vm_disk_io *io)
{
	static const enum block_op op[] = {
		[VM_DISK_READ] = BLOCK_READ,
		[VM_DISK_WRITE] = BLOCK_WRITE,
		[VM_DISK_WRITE_ZEROES] = BLOCK_WRITE_ZEROES,
		[VM_DISK_FLUSH] = BLOCK_FLUSH,
		[VM_DISK_MAP] = BLOCK_MAP,
	};
	struct copy_request *r = calloc(1, sizeof(*r));

	if (!r) {
		io->done(io, -ENOMEM);
		return;
	}
	r->io = io;
	r->iov = (struct iovec){ .iov_base = io->buf, .iov_len = io->len };
	r->req = (struct block_request){
		.op = op[io->op], .unmap = true, .offset = io->offset,
		.len = io->len, .iov = &r->iov, .niov = 1, .done = done,
	};
	block_submit(blk, &r->req);
}
