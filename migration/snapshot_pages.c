/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "migration/crc32c.h"
#include "migration/snapshot_private.h"
#include "vmm/base/byteorder.h"

#define CHUNK SNAPSHOT_CHUNK
#define BLOCK_PAGES (SNAPSHOT_BLOCK >> PAGE_SHIFT)

/*
 * Copy @n words; is any not zero? The guest may write meanwhile: then the page
 * is dirty and comes again.
 */
__attribute__((no_sanitize("thread")))
static bool copy_words(uint64_t *to, const uint64_t *from, size_t n)
{
	uint64_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= to[i] = from[i];
	return any;
}

/* Zeroes: a hole, made where the round before wrote something. */
static int write_hole(struct snapshot_save *s, uint64_t len, uint64_t at,
		      bool was_zero)
{
	if (was_zero || !fallocate(s->fd, FALLOC_FL_PUNCH_HOLE |
				   FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len))
		return 0;
	return snapshot_write_at(s, s->block, len, at);
}

/* One block of region @r, from its page @page on. */
static int write_block(struct snapshot_save *s, unsigned int r, uint64_t page)
{
	const struct memory_region *region = &s->mem->region[r];
	uint64_t offset = page << PAGE_SHIFT;
	uint64_t len = MIN(SNAPSHOT_BLOCK, region->range.size - offset);
	uint64_t at = region->file_at - s->mem->region[0].file_at + offset;
	uint8_t *sum = s->table + 4 * (at / SNAPSHOT_BLOCK);
	bool was_zero = get_be32(sum) == s->zero_crc;
	bool any;

	any = copy_words(s->block, (uint64_t *)(region->host + offset),
			 len / sizeof(uint64_t));
	memset((uint8_t *)s->block + len, 0, SNAPSHOT_BLOCK - len);
	put_be32(sum, crc32c(0, s->block, SNAPSHOT_BLOCK));
	pthread_mutex_lock(&s->progress.lock);
	if (any)
		s->progress.now.normal_pages += len >> PAGE_SHIFT;
	else
		s->progress.now.constant_pages += len >> PAGE_SHIFT;
	s->progress.now.memory_processed += len;
	pthread_mutex_unlock(&s->progress.lock);
	at += SNAPSHOT_MEMORY_AT;
	return any ? snapshot_write_at(s, s->block, len, at) :
		     write_hole(s, len, at, was_zero);
}

/* Protect the chunk's pages again, and only then look at them. */
static int take_chunk(struct snapshot_save *s, unsigned int r, uint64_t first,
		      uint64_t n)
{
	unsigned long *from = s->dirty[r] + first / LONG_BITS;
	uint64_t longs = bits_longs(n);
	int ret = s->ops->dirty_clear(s->cfg.vm, r, first, n, s->dirty[r],
				      &s->err);

	if (ret < 0)
		return ret;
	memcpy(s->chunk, from, longs * sizeof(long));
	memset(from, 0, longs * sizeof(long));
	if (!s->first)
		return 0;
	memory_present(s->mem, r, first, n, s->present);
	for (uint64_t i = 0; i < longs; i++)
		s->chunk[i] &= s->present[i];
	return 0;
}

static int write_chunk(struct snapshot_save *s, unsigned int r, uint64_t first,
		       uint64_t n)
{
	int ret;

	if (bits_next(s->dirty[r] + first / LONG_BITS, 0, n) == n)
		return 0;
	ret = take_chunk(s, r, first, n);
	for (uint64_t i = 0; ret == 0;
	     i = align_down(i, BLOCK_PAGES) + BLOCK_PAGES) {
		if (!s->paused && atomic_load(&s->cancelled))
			return error_set(&s->err, ECANCELED, "cancelled");
		i = bits_next(s->chunk, i, n);
		if (i == n)
			break;
		ret = write_block(s, r, first + align_down(i, BLOCK_PAGES));
	}
	return ret;
}

int snapshot_write_dirty(struct snapshot_save *s)
{
	int ret = 0;

	for (unsigned int r = 0; r < s->mem->nregions; r++)
		for (uint64_t p = 0; ret == 0 && p < memory_pages(s->mem, r);
		     p += CHUNK)
			ret = write_chunk(s, r, p, MIN(memory_pages(s->mem, r) - p,
						       (uint64_t)CHUNK));
	s->first = false;
	return ret;
}

int snapshot_sync_dirty(struct snapshot_save *s)
{
	int ret = 0;

	s->dirty_pages = 0;
	for (unsigned int r = 0; ret == 0 && r < s->mem->nregions; r++) {
		ret = s->ops->dirty_sync(s->cfg.vm, r, s->dirty[r], &s->err);
		s->dirty_pages += bits_count(s->dirty[r], memory_pages(s->mem, r));
	}
	return ret;
}
