/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Byte order at memory that may be unaligned. The stream and the flattened
 * device tree are big-endian; virtio and ACPI are little-endian.
 */
#ifndef GODWIT_BASE_BYTEORDER_H
#define GODWIT_BASE_BYTEORDER_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define DEFINE_ORDER(bits, order)					\
static inline uint##bits##_t get_##order##bits(const void *p)		\
{									\
	uint##bits##_t v;						\
									\
	memcpy(&v, p, sizeof(v));					\
	return order##bits##toh(v);					\
}									\
									\
static inline void put_##order##bits(void *p, uint##bits##_t v)		\
{									\
	v = hto##order##bits(v);					\
	memcpy(p, &v, sizeof(v));					\
}

DEFINE_ORDER(16, le)
DEFINE_ORDER(32, le)
DEFINE_ORDER(64, le)
DEFINE_ORDER(16, be)
DEFINE_ORDER(32, be)
DEFINE_ORDER(64, be)

#undef DEFINE_ORDER

#endif
