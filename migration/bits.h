/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bitmaps of pages: words as KVM lays them out, lowest bit first. */
#ifndef GODWIT_MIGRATION_BITS_H
#define GODWIT_MIGRATION_BITS_H

#include <stdbool.h>
#include <stdint.h>

#define LONG_BITS (8 * sizeof(long))

static inline uint64_t bits_longs(uint64_t nbits)
{
	return (nbits + LONG_BITS - 1) / LONG_BITS;
}

static inline uint64_t bits_count(const unsigned long *map, uint64_t nbits)
{
	uint64_t longs = bits_longs(nbits);
	uint64_t n = 0;

	for (uint64_t i = 0; i < longs; i++)
		n += (uint64_t)__builtin_popcountl(map[i]);
	return n;
}

/* First set bit at or after @from, or @nbits. */
static inline uint64_t bits_next(const unsigned long *map, uint64_t from,
				 uint64_t nbits)
{
	uint64_t i = from / LONG_BITS;
	unsigned long word;

	if (from >= nbits)
		return nbits;
	word = map[i] & (~0ul << (from % LONG_BITS));
	while (!word) {
		if (++i * LONG_BITS >= nbits)
			return nbits;
		word = map[i];
	}
	i = i * LONG_BITS + (uint64_t)__builtin_ctzl(word);
	return i < nbits ? i : nbits;
}

/*
 * Is a page of 4096 bytes zero? Most that are not show it in their first
 * words; the rest is read 128 bytes at a time, which compilers vectorise.
 * The guest may write meanwhile: then the page is dirty and is sent again.
 */
__attribute__((no_sanitize("thread")))
static inline bool page_is_zero(const void *page)
{
	const uint64_t *p = page;

	if (p[0] | p[1] | p[2] | p[3])
		return false;
	for (unsigned int i = 0; i < 512; i += 16) {
		uint64_t any = 0;

		for (unsigned int j = 0; j < 16; j++)
			any |= p[i + j];
		if (any)
			return false;
	}
	return true;
}

#endif
