/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BLOCK_MAP: which pieces of a disk may be other than zero. What isn't known
 * counts as data, so that whoever asks reads it.
 */
#include "devices/block/block.h"
#include "vmm/disk.h"

#define STEPS 256		/* of has_data() in one turn of the loop */
#define LONG_BITS (8 * sizeof(long))

void block_map_mark(struct block_request *req, uint64_t offset, uint64_t len)
{
	unsigned long *map = req->iov[0].iov_base;
	uint64_t first = (offset - req->offset) / VM_DISK_PIECE;
	uint64_t end = (offset + len - 1 - req->offset) / VM_DISK_PIECE + 1;

	for (uint64_t at = first; len && at < end; at++)
		map[at / LONG_BITS] |= 1ul << (at % LONG_BITS);
}

void block_map_end(struct block_request *req, uint64_t len)
{
	if (len >= req->len)
		return;
	len = align_down(len, VM_DISK_PIECE);
	if (!len) {
		len = MIN(VM_DISK_PIECE, req->len);
		block_map_mark(req, req->offset, len);
	}
	req->len = len;
}

void block_map_ask(struct block *blk, struct block_request *req)
{
	bool (*has_data)(struct block *b, uint64_t offset, uint64_t *len) =
		blk->driver->has_data;
	uint64_t at = req->offset, end = at + req->len;

	for (unsigned int i = 0; i < STEPS && at < end; i++) {
		uint64_t len = end - at;

		if (!has_data || has_data(blk, at, &len))
			block_map_mark(req, at, len);
		at += len;
	}
	block_map_end(req, at - req->offset);
}
