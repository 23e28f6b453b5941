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

static inline bool bit_is_set(const unsigned long *map, uint64_t bit)
{
	return map[bit / LONG_BITS] >> (bit % LONG_BITS) & 1;
}

static inline void bit_set(unsigned long *map, uint64_t bit)
{
	map[bit / LONG_BITS] |= 1ul << (bit % LONG_BITS);
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

#endif
