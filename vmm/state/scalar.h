/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scalars of 1, 2, 4, 8 bytes between host order and the tree's big-endian. */
#ifndef GODWIT_STATE_SCALAR_H
#define GODWIT_STATE_SCALAR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/byteorder.h"

static inline uint64_t state_get_host(const void *p, uint32_t size)
{
	uint16_t h;
	uint32_t w;
	uint64_t d;

	switch (size) {
	case 1:
		return *(const uint8_t *)p;
	case 2:
		memcpy(&h, p, 2);
		return h;
	case 4:
		memcpy(&w, p, 4);
		return w;
	default:
		memcpy(&d, p, 8);
		return d;
	}
}

static inline void state_put_host(void *p, uint32_t size, uint64_t v)
{
	uint8_t b = (uint8_t)v;
	uint16_t h = (uint16_t)v;
	uint32_t w = (uint32_t)v;

	switch (size) {
	case 1:
		memcpy(p, &b, 1);
		break;
	case 2:
		memcpy(p, &h, 2);
		break;
	case 4:
		memcpy(p, &w, 4);
		break;
	default:
		memcpy(p, &v, 8);
	}
}

static inline void state_put_be(uint8_t *p, uint32_t size, uint64_t v)
{
	for (uint32_t i = 0; i < size; i++)
		p[i] = (uint8_t)(v >> (8 * (size - 1 - i)));
}

static inline uint64_t state_get_be(const uint8_t *p, uint32_t size)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < size; i++)
		v = v << 8 | p[i];
	return v;
}

/* Name of the @i-th subnode of a struct field. */
static inline void state_node_name(char name[64], const char *field,
				   uint32_t i, bool array)
{
	if (array)
		snprintf(name, 64, "%s@%x", field, i);
	else
		snprintf(name, 64, "%s", field);
}

#endif
