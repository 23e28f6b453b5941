/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory: ranges of guest-physical addresses behind host memory, and
 * the only doors to them.
 *
 * An address that came from a guest is a gpa_t and never a pointer; the
 * accessors check it. Every write that the VMM itself makes to guest memory
 * goes through memory_write() or is announced by memory_mark_dirty(), which
 * mark a bitmap of their own while a migration tracks dirty pages (KVM knows
 * only what vCPUs write).
 *
 * Threads: the layout is fixed after memory_init(). Reads, writes and marks
 * may come from any thread.
 */
#ifndef GODWIT_MEMORY_H
#define GODWIT_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/error.h"

typedef uint64_t gpa_t;

#define PAGE_SHIFT 12
#define PAGE_BYTES ((uint64_t)1 << PAGE_SHIFT)
#define MEMORY_MAX_REGIONS 4

struct memory_range {
	gpa_t base;		/* page-aligned */
	uint64_t size;		/* bytes, page-aligned */
};

enum memory_backing {
	MEMORY_ANON = 1,	/* anonymous, huge pages advised: the default */
	MEMORY_MEMFD,		/* memfd, MAP_SHARED: may change hands */
	MEMORY_FILE,		/* a file's bytes, MAP_PRIVATE: see below */
};

/* In a file each region begins at a multiple of this. */
#define MEMORY_FILE_ALIGN (2ull << 20)

struct memory_region {
	struct memory_range range;
	uint8_t *host;			/* mapped for the life of the VM */
	uint64_t file_at;		/* where in fd, if there is one */
	atomic_ulong *own_dirty;	/* VMM's writes, a bit a page */
};

struct memory {
	struct memory_region region[MEMORY_MAX_REGIONS];
	unsigned int nregions;
	uint64_t size;			/* bytes, all regions */
	enum memory_backing backing;
	int fd;				/* memfd or file, else -1 */
	struct memory_turn *turn;	/* behind a memfd's regions, else NULL */
	uint64_t my_turn;		/* see memory_turn_watch() */
	int pagemap;			/* held open, else -1 */
	atomic_bool track_own;		/* own writes are being recorded */
};

/* How many pages @region has. */
static inline uint64_t memory_pages(const struct memory *mem,
				    unsigned int region)
{
	return mem->region[region].range.size >> PAGE_SHIFT;
}

/* Map the ranges (ascending, disjoint). Undone by memory_exit(). */
int memory_init(struct memory *mem, const struct memory_range *range,
		unsigned int nranges, enum memory_backing backing,
		struct error *err) __must_check;
/*
 * The same, with memory that holds what @fd (kept as a duplicate) holds from
 * @offset on: pages come in when they are touched, and the file is never
 * written. Region after region, each from a multiple of MEMORY_FILE_ALIGN.
 */
int memory_init_file(struct memory *mem, const struct memory_range *range,
		     unsigned int nranges, int fd, uint64_t offset,
		     struct error *err) __must_check;
/*
 * The same, in the memory of another process: @fd (kept as a duplicate) is the
 * memfd of its MEMORY_MEMFD. Anybody may have made it: it is refused unless it
 * is of just the size that is needed, for good, so that no access can fail.
 * Nothing is written to it.
 */
int memory_init_shared(struct memory *mem, const struct memory_range *range,
		       unsigned int nranges, int fd, struct error *err)
	__must_check;
/* Size of the memfd. */
uint64_t memory_shared_size(const struct memory *mem);
/*
 * Of the processes that have such a memory one at a time may run a guest in it.
 * Each turn has a number, which stands behind the regions. claim begins a new
 * one; -EBUSY if another process did since the last watch or claim, for then
 * the memory has moved on. watch says that it is known what the memory holds.
 * With other backings both do nothing.
 */
void memory_turn_watch(struct memory *mem);
int memory_turn_claim(struct memory *mem, struct error *err) __must_check;
/* The turn that was just claimed, in which no guest has run, never was. */
void memory_turn_return(struct memory *mem);
/* Bytes that the regions take in such a file. */
uint64_t memory_file_size(const struct memory *mem);
void memory_exit(struct memory *mem);

/*
 * Host address of [gpa, gpa + len), or NULL unless it lies within one region.
 * The pointer is valid for the life of the memory. Who writes through it
 * calls memory_mark_dirty() after the bytes are there.
 */
void *memory_ptr(const struct memory *mem, gpa_t gpa, uint64_t len);

/* The region that holds all of [gpa, gpa + len), and how far into it that begins;
 * false: none does, and nothing is written. */
bool memory_locate(const struct memory *mem, gpa_t gpa, uint64_t len,
		   unsigned int *region, uint64_t *offset);

/* Checked copies; -EFAULT if any byte lies outside, and then none is moved. */
int memory_read(const struct memory *mem, gpa_t gpa, void *buf, size_t len);
int memory_write(struct memory *mem, gpa_t gpa, const void *buf, size_t len);

/* Say that the VMM wrote [gpa, gpa + len). Outside of memory: ignored. */
void memory_mark_dirty(struct memory *mem, gpa_t gpa, uint64_t len);

/*
 * Pages of @region (first, first + npages) that hold anything: a set bit in
 * @present means that the page may be non-zero; a clear one that it was never
 * touched and reads as zero. Reads /proc/self/pagemap and SEEK_DATA; if what is
 * needed can't be had, every bit is set.
 */
void memory_present(const struct memory *mem, unsigned int region,
		    uint64_t first, uint64_t npages, unsigned long *present);

/* Open /proc/self/pagemap now, for a process that won't find it or may not open
 * it later. Undone by memory_exit(). */
void memory_hold_pagemap(struct memory *mem);

/* Start or stop recording the VMM's own writes; starting clears the record. */
void memory_track_own(struct memory *mem, bool on);
/* OR the recorded pages of @region into @bitmap and forget them. */
void memory_take_own(struct memory *mem, unsigned int region,
		     unsigned long *bitmap);

#endif
