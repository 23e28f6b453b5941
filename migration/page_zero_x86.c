/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zero pages by AVX2 and AVX-512: 256 and 512 bytes a test. */
#include <immintrin.h>
#include <stddef.h>

#include "migration/page_zero.h"

__attribute__((target("avx2"), no_sanitize("thread")))
static bool by_avx2(const void *page)
{
	const __m256i *p = page, *end = p + 128;

	for (; p < end; p += 8) {
		__m256i a = p[0] | p[1], b = p[2] | p[3];
		__m256i c = p[4] | p[5], d = p[6] | p[7];
		__m256i any = (a | b) | (c | d);

		if (!_mm256_testz_si256(any, any))
			return false;
	}
	return true;
}

__attribute__((target("avx512f"), no_sanitize("thread")))
static bool by_avx512(const void *page)
{
	const __m512i *p = page, *end = p + 64;

	for (; p < end; p += 8) {
		__m512i a = p[0] | p[1], b = p[2] | p[3];
		__m512i c = p[4] | p[5], d = p[6] | p[7];
		__m512i any = (a | b) | (c | d);

		if (_mm512_test_epi64_mask(any, any))
			return false;
	}
	return true;
}

const struct page_zero *page_zero_cpu(unsigned int n)
{
	static const struct page_zero avx512 = { "avx512", by_avx512 };
	static const struct page_zero avx2 = { "avx2", by_avx2 };
	const struct page_zero *have[2];
	unsigned int count = 0;

	if (__builtin_cpu_supports("avx512f"))
		have[count++] = &avx512;
	if (__builtin_cpu_supports("avx2"))
		have[count++] = &avx2;
	return n < count ? have[n] : NULL;
}
