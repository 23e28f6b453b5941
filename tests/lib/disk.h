/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A loop and a disk for the tests of block backends. */
#ifndef GODWIT_TESTS_DISK_H
#define GODWIT_TESTS_DISK_H

#include "devices/block/block.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"

struct disk {
	struct loop loop;
	struct log log;
	struct block_events events;
	struct block *blk;
	unsigned int lost, found;	/* events so far */
	bool unmap;			/* of the WRITE_ZEROES to come */
	char dir[64];			/* temporary, removed by disk_exit() */
};

/* A request of which the end is awaited later. */
struct disk_io {
	struct block_request req;
	struct iovec iov;
	bool finished;
	int result;
};

/* Was a driver for @uri compiled in? If not, says so as a skipped test. */
bool disk_driver_built(const char *uri);
void disk_init(struct disk *d);
void disk_exit(struct disk *d);		/* closes blk too */
/* "DIR/NAME" of the test's own directory, in a buffer of the caller's. */
const char *disk_path(struct disk *d, const char *name, char buf[128]);
/* An image file there, of @size bytes; its path. */
const char *disk_image(struct disk *d, const char *name, uint64_t size,
		       char buf[128]);
int disk_open(struct disk *d, const struct block_options *opt,
	      struct error *err);

void disk_submit(struct disk *d, struct disk_io *io, enum block_op op,
		 uint64_t offset, void *buf, uint64_t len);
/* As the caller has filled in all of io->req but done(). */
void disk_submit_own(struct disk *d, struct disk_io *io);
int disk_wait(struct disk *d, struct disk_io *io);
/* Both; the request's result. */
int disk_do(struct disk *d, enum block_op op, uint64_t offset, void *buf,
	    uint64_t len);
/* The pieces that may hold data, as '#', and holes, as '.': asked for until all
 * of the disk is known. @buf has room for as many, and a NUL. */
const char *disk_map(struct disk *d, char *buf);
/* Serve the loop until @cond holds; aborts after 20 s. */
void disk_until(struct disk *d, bool (*cond)(void *arg), void *arg);

#endif
