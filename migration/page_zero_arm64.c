/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zero pages by Advanced SIMD, which every Armv8-A that runs Linux has. */
#include <arm_neon.h>
#include <stddef.h>

#include "migration/page_zero.h"

__attribute__((no_sanitize("thread")))
static bool by_neon(const void *page)
{
	const uint64x2_t *p = page, *end = p + 256;

	for (; p < end; p += 8) {
		uint64x2_t a = p[0] | p[1], b = p[2] | p[3];
		uint64x2_t c = p[4] | p[5], d = p[6] | p[7];

		if (vmaxvq_u32(vreinterpretq_u32_u64((a | b) | (c | d))))
			return false;
	}
	return true;
}

const struct page_zero *page_zero_cpu(unsigned int n)
{
	static const struct page_zero neon = { "neon", by_neon };

	return n ? NULL : &neon;
}
