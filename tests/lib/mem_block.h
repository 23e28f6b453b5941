/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk in memory for tests, "mem:BYTES". It completes requests from the
 * loop, at once or when told, and counts what it was asked. "mem:BYTES,bare"
 * reads and writes, and can nothing else; "mem:BYTES,fua" can FUA, too.
 */
#ifndef GODWIT_TESTS_MEM_BLOCK_H
#define GODWIT_TESTS_MEM_BLOCK_H

#include "devices/block/block.h"

struct mem_block {
	struct block blk;
	uint8_t *data;
	struct block_events events;
	struct list queue;		/* submitted, not yet completed */
	bool hold;			/* complete nothing */
	int fail;			/* -errno for each request, 0 = none */
	unsigned int fuas;		/* of the writes */
	unsigned int count[BLOCK_MAP + 1];
	bool unmapped;			/* of the last WRITE_ZEROES */
	struct loop_fd wake;
	int wake_fd;
};

/* The disk opened last. */
struct mem_block *mem_block_last(void);
/* Complete what is held. */
void mem_block_release(struct mem_block *m);

#endif
