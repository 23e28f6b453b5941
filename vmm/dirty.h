/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty tracking: which pages were written since they were last cleared, by
 * vCPUs (KVM's log) or by the VMM itself (memory_mark_dirty).
 *
 * A round of a migration is
 *	dirty_sync()	OR what is dirty into the caller's bitmap
 *	for each chunk:	dirty_clear() (re-protect), then read the pages
 * With KVM's manual protection a page that is written between sync and clear
 * costs one resend; a page written after the clear is found by the next sync.
 * Without it, and with rings (dirty_ring.h), sync re-protects at once and clear
 * does nothing.
 *
 * Threads: one thread at a time (the migration's); vCPUs may run.
 */
#ifndef GODWIT_DIRTY_H
#define GODWIT_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"

struct vm;

/* How KVM tells what vCPUs wrote: local to a host. */
enum dirty_how {
	DIRTY_BITMAP,	/* a bit a page; the default */
	DIRTY_RING,	/* a ring a vCPU, which tells vCPUs apart */
	DIRTY_AUTO,	/* the ring where there are several vCPUs to tell apart,
			 * and KVM has it */
};

/* Entries of a ring, by KVM's bounds; one is 16 bytes. The usual size holds
 * 64 MiB of written pages before a vCPU must stop for it. */
#define DIRTY_RING_LEAST 1024u
#define DIRTY_RING_MOST 65536u
#define DIRTY_RING_USUAL 16384u

struct dirty_config {
	enum dirty_how how;
	uint32_t entries;	/* of a ring, a power of two; 0: as usual */
};

/* Choose, before the VM has memory and vCPUs. Refuses a ring that KVM lacks. */
int dirty_init(struct vm *vm, const struct dirty_config *cfg,
	       struct error *err) __must_check;

/* From now on writes are recorded; every page counts as dirty at first. */
int dirty_start(struct vm *vm, struct error *err) __must_check;
void dirty_stop(struct vm *vm);

/* OR dirty pages of memory region @region into @bitmap (a bit a page). After
 * dirty_start() the first sync sets every bit. */
int dirty_sync(struct vm *vm, unsigned int region, unsigned long *bitmap,
	       struct error *err) __must_check;

/* Re-protect pages [first, first + npages) of @region, both multiples of 64
 * (npages may end at the region's end), about to be sent. @bitmap is the whole
 * region's, as dirty_sync() filled it. */
int dirty_clear(struct vm *vm, unsigned int region, uint64_t first,
		uint64_t npages, const unsigned long *bitmap,
		struct error *err) __must_check;

/* Pages that each vCPU was seen to write first, since dirty_start(), as of the
 * last sync: @pages has an element a vCPU. False without rings: not known. */
bool dirty_by_vcpu(struct vm *vm, uint64_t *pages);

#endif
