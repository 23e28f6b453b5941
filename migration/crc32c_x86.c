/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C by SSE 4.2, which computes just this polynomial. */
#include <nmmintrin.h>
#include <string.h>

#include "migration/crc32c.h"

__attribute__((target("sse4.2")))
static size_t by_words(uint32_t *crc, const uint8_t *buf, size_t len)
{
	uint64_t sum = *crc, word;
	size_t done;

	for (done = 0; done + sizeof(word) <= len; done += sizeof(word)) {
		memcpy(&word, buf + done, sizeof(word));
		sum = _mm_crc32_u64(sum, word);
	}
	*crc = (uint32_t)sum;
	return done;
}

size_t crc32c_cpu(uint32_t *crc, const uint8_t *buf, size_t len)
{
	return __builtin_cpu_supports("sse4.2") ? by_words(crc, buf, len) : 0;
}
