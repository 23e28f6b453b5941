/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk as a migration sees it: bytes to read and write, which of them may be
 * other than zero, and which the guest has written since it was asked last.
 *
 * The device embeds a struct vm_disk and tells it of each write of the guest.
 * While tracking is on, a write that landed is marked *before* the guest is
 * told: so whoever takes the marks and then reads has the write, or finds its
 * mark the next time. What is under way can be waited for (vm_quiesce) or
 * asked about (vm_disk_unsettled).
 *
 * Holding: the guest is told of a write only when what was taken after it has
 * been released. A migration that copies what it takes, and then releases,
 * thereby makes a mirror: the guest's write is over when both sides have it.
 *
 * Threads: any but a vCPU's, unless a comment says otherwise.
 */
#ifndef GODWIT_DISK_H
#define GODWIT_DISK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/util.h"
#include "vmm/loop.h"

struct vm_disk;

enum vm_disk_op {
	VM_DISK_READ = 1,
	VM_DISK_WRITE,
	VM_DISK_WRITE_ZEROES,
	VM_DISK_FLUSH,
	VM_DISK_MAP,
};

/* A bit of what MAP answers. */
#define VM_DISK_PIECE (64 * KIB)

/* The submitter's; untouched by it until done() is called. */
struct vm_disk_io {
	enum vm_disk_op op;
	uint64_t offset, len;	/* bytes within the disk, of 512 */
	/* READ, WRITE. MAP: a bit for each VM_DISK_PIECE from @offset on, all 0
	 * before; set where bytes may be other than zero. An answer for less
	 * than was asked makes @len smaller: whole pieces, at least one. */
	void *buf;
	/* 0 or -errno; exactly once, in the loop's thread */
	void (*done)(struct vm_disk_io *io, int result);
	struct vm_disk *disk;	/* set by submit */
};

/* The device's side; all in the loop's thread. */
struct vm_disk_ops {
	void (*submit)(struct vm_disk *d, struct vm_disk_io *io);
	/* Take the disk for this host alone, before the VM runs: see
	 * device.h. Activating the VM later finds it done. */
	int (*activate)(struct vm_disk *d, struct error *err);
	/* Make the disk, which is active, @size bytes large; never smaller. */
	int (*resize)(struct vm_disk *d, uint64_t size, struct error *err);
};

/* A write of the guest, from its submission to its end. */
struct vm_disk_write {
	struct list link;
	uint64_t offset, len;
	void (*done)(struct vm_disk_write *w);	/* held no more; loop's thread */
};

/* Embedded in its device. */
struct vm_disk {
	const struct vm_disk_ops *ops;
	struct loop *loop;
	const char *id;			/* outlives the disk */
	uint64_t size;			/* bytes; known when active */
	bool readonly;
	bool overwrite;			/* an arriving VM may, if it holds data */
	pthread_mutex_t lock;		/* the rest */
	struct list writing;		/* under way */
	struct list held, taken, released;	/* see vm_disk_take() */
	unsigned long *dirty;		/* NULL: nobody tracks */
	unsigned int shift;		/* of the size of a block */
	uint64_t first, end;		/* dirty blocks lie in between */
	bool holding;
	void (*wrote)(void *arg);
	void *arg;
};

void vm_disk_init(struct vm_disk *d, const struct vm_disk_ops *ops,
		  struct loop *loop, const char *id);
void vm_disk_exit(struct vm_disk *d);
/* It is larger or smaller now. A copy that is under way keeps to the size that
 * it began with, and the other side will refuse a disk of that size. */
void vm_disk_resized(struct vm_disk *d, uint64_t size);

/* -- for the device. A write begins before it is submitted, and has ended when
 * it has landed or failed, but the guest does not know it yet. */
void vm_disk_write_begin(struct vm_disk *d, struct vm_disk_write *w);
void vm_disk_write_end(struct vm_disk *d, struct vm_disk_write *w);
/* After the end: must the guest wait? Then w->done() is called later. */
bool vm_disk_write_held(struct vm_disk *d, struct vm_disk_write *w);

/* -- for people. The guest is told of the new size. Not while it is copied. */
int vm_disk_resize(struct vm_disk *d, uint64_t size, struct error *err)
	__must_check;

/* -- for a migration */
void vm_disk_submit(struct vm_disk *d, struct vm_disk_io *io);
int vm_disk_activate(struct vm_disk *d, struct error *err) __must_check;

/*
 * Mark writes from now on, and call wrote() (any thread, must not block) when
 * there is something to take. One user at a time.
 */
int vm_disk_track(struct vm_disk *d, void (*wrote)(void *arg), void *arg,
		  struct error *err) __must_check;
/* Releases all. On return nothing calls wrote() any more. Not in wrote(). */
void vm_disk_untrack(struct vm_disk *d);
uint64_t vm_disk_blocks(const struct vm_disk *d);	/* while tracked */
/*
 * Move the marks into @bitmap (added to what is there), and remember who is
 * held until now; was there anything? What is added lies in *first to *end.
 */
bool vm_disk_take(struct vm_disk *d, unsigned long *bitmap, uint64_t *first,
		  uint64_t *end);
/* Tell the guest of the writes that were held before the last take. */
void vm_disk_release(struct vm_disk *d);
/* Off releases all. */
void vm_disk_hold(struct vm_disk *d, bool on);
/* Is a write to these bytes under way, or marked and not taken? */
bool vm_disk_unsettled(struct vm_disk *d, uint64_t offset, uint64_t len);

#endif
