/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A fuzzer's bytes as numbers, for as long as there are any. */
#ifndef GODWIT_TESTS_FUZZ_INPUT_H
#define GODWIT_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct input {
	const uint8_t *p;
	size_t left;
};

/* The next @bytes of them, big-endian; zeroes after the end. */
static inline uint64_t take(struct input *in, unsigned int bytes)
{
	uint64_t v = 0;

	while (bytes--) {
		v = v << 8 | (in->left ? *in->p : 0);
		if (in->left) {
			in->p++;
			in->left--;
		}
	}
	return v;
}

#endif
