/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the raw driver: raw.c keeps the image, raw_io.c the requests. */
#ifndef GODWIT_BLOCK_RAW_H
#define GODWIT_BLOCK_RAW_H

#include <liburing.h>

#include "devices/block/block.h"
#include "vmm/base/util.h"

#define RAW_DEPTH 128		/* requests in the ring; others wait */
#define RAW_SECTOR 512
#define RAW_PAGE 4096

struct raw;

/* A request in the ring. */
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
};

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
	struct io_uring ring;
	bool have_ring;
	struct loop_fd event;	/* eventfd of the ring's completions */
	struct loop_timer retry;
	void *zeroes;
	struct list waiting;	/* requests for which no slot was free */
	struct raw_io *free;
	unsigned int busy;
	struct raw_io io[RAW_DEPTH];
};

static inline struct raw *to_raw(struct block *blk)
{
	return container_of(blk, struct raw, blk);
}

/* The ring and its event; exit waits for what the kernel still works on. */
int raw_io_init(struct raw *r, struct error *err);
void raw_io_exit(struct raw *r);
void raw_io_submit(struct block *blk, struct block_request *req);

#endif
