/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the raw driver: raw.c keeps the image, raw_io.c the requests, and
 * an engine hands them to the kernel: raw_ring.c (with raw_merge.c) or raw_pool.c.
 */
#ifndef GODWIT_BLOCK_RAW_H
#define GODWIT_BLOCK_RAW_H

#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>

#include "devices/block/block.h"
#include "vmm/base/util.h"

#define RAW_DEPTH 128		/* requests in flight; others wait */
#define RAW_SECTOR 512
#define RAW_PAGE 4096

struct raw;

/* A request in flight. */
struct raw_io {
	struct raw *raw;
	struct block_request *req;
	int fd;
	struct iovec *iov;	/* what is left to move */
	int niov;
	struct iovec *own;	/* iov, where it is not the request's */
	void *bounce;
	uint64_t done;		/* bytes moved so far */
	bool zeroing;		/* writing zeroes by hand */
	struct raw_io *next_free;
	struct raw_io *merged;	/* goes to the kernel with this one */
	bool alone;		/* is not to be merged */
	struct list link;	/* of what an engine has to do */
	int result;		/* the pool's */
};

/*
 * An engine carries out what is left of a request (all of it may be moved, or
 * less) and calls raw_io_complete() from the loop, never from issue(). close()
 * returns when the kernel has let go of all buffers; nothing is completed.
 */
struct raw_engine {
	int (*open)(struct raw *r, struct error *err);
	void (*issue)(struct raw_io *io);
	void (*close)(struct raw *r);
};

extern const struct raw_engine raw_ring;
extern const struct raw_engine raw_pool;

struct pool;

struct raw {
	struct block blk;
	struct loop *loop;
	const struct log *log;
	char *path;
	bool direct;
	bool is_device;		/* a block device, no file */
	uint64_t want_size;
	uint32_t granule;	/* of direct I/O: bytes */
	int fd;			/* -1 unless active */
	int buffered_fd;	/* with direct: for what doesn't fit */
	const struct raw_engine *engine;
	struct io_uring ring;	/* raw_ring's */
	struct list todo;	/* raw_ring's: not handed over yet */
	struct loop_timer soon;	/* raw_ring's */
	struct pool *pool;	/* raw_pool's */
	struct loop_fd event;	/* the engine's: something is complete */
	void *zeroes;
	struct list waiting;	/* requests for which no slot was free */
	struct raw_io *free;
	unsigned int busy;	/* requests in flight */
	struct raw_io io[RAW_DEPTH];
};

static inline struct raw *to_raw(struct block *blk)
{
	return container_of(blk, struct raw, blk);
}

static inline int raw_write_flags(const struct block_request *req)
{
	return req->fua ? RWF_DSYNC : 0;
}

static inline int raw_falloc_mode(const struct block_request *req)
{
	if (req->op == BLOCK_WRITE_ZEROES && !req->unmap)
		return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
}

/* exit waits for what the kernel still works on. */
int raw_io_init(struct raw *r, struct error *err);
void raw_io_exit(struct raw *r);
/* The engine is done with @io: bytes moved, 0, or -errno. */
void raw_io_complete(struct raw_io *io, int result);
/* Let those that lie behind @io in the image, and come next in @todo, go with
 * it: they leave the list. The result is for raw_merge_complete(). */
void raw_merge(struct raw_io *io, struct list *todo);
void raw_merge_complete(struct raw_io *io, int result);
/* Give back what merging took, where nothing completes: how many they were. */
unsigned int raw_merge_undo(struct raw_io *io);
void raw_io_submit(struct block *blk, struct block_request *req);

#endif
