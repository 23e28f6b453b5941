/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A block backend: bytes of a disk image, asynchronously.
 *
 * Drivers register in the linker section "block_drivers" by the scheme of
 * their URI: "file:PATH" or a plain path (raw), "nbd://HOST[:PORT]/EXPORT",
 * "nbd+unix:///EXPORT?socket=PATH". Options follow as ",key=value" in the
 * --disk option and reach the driver as struct block_options.
 *
 * Ownership between hosts: block_open() takes nothing that only one host may
 * have; block_activate() does (image lock, NBD connection), and
 * block_deactivate() flushes and gives it up. Requests are accepted only while
 * active.
 *
 * Threads: everything in the loop's thread.
 */
#ifndef GODWIT_BLOCK_H
#define GODWIT_BLOCK_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"

enum block_op {
	BLOCK_READ = 1,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD,
	BLOCK_WRITE_ZEROES,
	BLOCK_MAP,	/* iov[0] is the bitmap of a VM_DISK_MAP (vmm/disk.h) */
};

/* A result: the disk's server was lost, and did not come back in time. */
#define BLOCK_LOST (-ENOTCONN)

/* Owned by the submitter; untouched by it until done() is called. */
struct block_request {
	enum block_op op;
	bool unmap;			/* WRITE_ZEROES may punch a hole */
	bool fua;			/* WRITE, if can_fua: done() when it is
					 * durable, as if it were flushed */
	uint64_t offset;		/* bytes; within the disk's size */
	/* bytes; sum of iov for READ, WRITE; of MAP the driver answers fewer */
	uint64_t len;
	struct iovec *iov;		/* READ, WRITE, MAP */
	int niov;
	/* 0 or -errno; exactly once, from the loop, never from submit() */
	void (*done)(struct block_request *req, int result);
	struct list link;		/* the driver's */
	void *driver_data;		/* the driver's */
	int result;			/* the driver's */
};

struct block_options {
	const char *uri;
	bool readonly;
	bool direct;			/* bypass the host's page cache */
	uint32_t reconnect_s;		/* a lost server: requests wait this
					 * long, then fail; 0 = wait for ever */
	bool incoming;			/* it was another process's before */
	uint64_t size;			/* expected bytes, 0 = take what is there;
					 * known on a migration's destination */
};

/* A disk that lost its server keeps its requests for reconnect_s and says so
 * here; it goes on looking for the server after that, too. */
struct block_events {
	void (*lost)(void *arg, const char *why);	/* waiting, retrying */
	void (*found)(void *arg);			/* back, replayed */
	/* block.size changed while active; may be NULL */
	void (*resized)(void *arg);
	void *arg;
};

struct block;

struct block_driver {
	const char *scheme;	/* "file", "nbd", "nbd+unix" */
	const char *doc;
	/* what keeps other hosts from writing while this one may; NULL: nothing */
	const char *fence;
	int (*open)(struct block **out, const struct block_options *opt,
		    const struct block_events *events, struct loop *loop,
		    const struct log *log, struct error *err);
	int (*activate)(struct block *blk, struct error *err);
	int (*deactivate)(struct block *blk, struct error *err);
	void (*submit)(struct block *blk, struct block_request *req);
	/* May be NULL. For a disk that knows at once, instead of MAP: may the
	 * bytes from @offset (within the active disk) on be other than zero?
	 * *len says for how many that is the answer: it comes with what is
	 * left, and may be made smaller. */
	bool (*has_data)(struct block *blk, uint64_t offset, uint64_t *len);
	/* May be NULL. Make the active disk @size bytes, more than it has, or
	 * notice that it has as many already; sets blk->size. */
	int (*resize)(struct block *blk, uint64_t size, struct error *err);
	void (*close)(struct block *blk);
};

/* Drivers embed this first. Known after open (size may be 0 until activate
 * if the driver can't ask before, and then equals options.size). */
struct block {
	const struct block_driver *driver;
	struct loop *loop;		/* set by block_open */
	uint64_t size;			/* bytes */
	uint32_t block_size;		/* preferred request alignment, >= 512 */
	bool readonly;
	bool can_flush;
	bool can_fua;			/* cheaper than a flush after it */
	bool can_discard;
	bool can_write_zeroes;
	bool can_map;			/* its submit takes BLOCK_MAP */
	bool active;			/* kept by block_*(); a driver whose
					 * deactivate failed half-way clears it,
					 * and is activated again */
};

#define BLOCK_DRIVER(drv)						\
	static const struct block_driver *const CONCAT(drv, _entry)	\
	__attribute__((used, section("block_drivers"))) = &(drv)

/* Is there a driver for it? Opens nothing. */
int block_uri_check(const char *uri, struct error *err) __must_check;
/* Its driver's fence, and the driver's scheme (empty if there is none). */
const char *block_fence(const char *uri);
void block_kind(const char *uri, char kind[32]);
/* Opens by the URI's scheme; the error lists the schemes there are. */
int block_open(struct block **out, const struct block_options *opt,
	       const struct block_events *events, struct loop *loop,
	       const struct log *log, struct error *err) __must_check;
void block_close(struct block *blk);
int block_activate(struct block *blk, struct error *err) __must_check;
int block_deactivate(struct block *blk, struct error *err) __must_check;
/* Make it @size bytes; it only grows. Its user learns blk->size by itself. */
int block_resize(struct block *blk, uint64_t size, struct error *err)
	__must_check;
/* Checks range and op against the disk; a bad request completes with -EINVAL
 * or -EROFS (from the loop). */
void block_submit(struct block *blk, struct block_request *req);

/* map.c: BLOCK_MAP, for drivers */

/* These bytes (within the request) may be other than zero. */
void block_map_mark(struct block_request *req, uint64_t offset, uint64_t len);
/* The first @len bytes are answered, more than those that were asked for or
 * none at all: make a whole answer of it. */
void block_map_end(struct block_request *req, uint64_t len);
/* The answer of a driver that can't take MAP, by has_data(): whole or in part. */
void block_map_ask(struct block *blk, struct block_request *req);

#endif
