/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtqueue in 1 MiB of memory, and the driver's hands on it. */
#ifndef GODWIT_TESTS_VIRTQ_RIG_H
#define GODWIT_TESTS_VIRTQ_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/queue.h"
#include "vmm/base/byteorder.h"

#define SIZE 8
#define MEM (1 * MIB)
#define DESC 0x1000
#define AVAIL 0x2000
#define USED 0x3000
#define DATA 0x8000

struct rig {
	struct memory mem;
	struct virtq q;
	struct virtq_chain c;
};

static inline uint8_t *at(struct rig *r, gpa_t addr, uint64_t len)
{
	uint8_t *p = memory_ptr(&r->mem, addr, len);

	assert_non_null(p);
	return p;
}

static inline int setup(void **state)
{
	struct memory_range ram = { .base = 0, .size = MEM };
	struct rig *r = calloc(1, sizeof(*r));
	struct error err = ERROR_INIT;

	assert_int_equal(memory_init(&r->mem, &ram, 1, MEMORY_ANON, &err), 0);
	virtq_init(&r->q, &r->mem, 16);
	r->q.size = SIZE;
	r->q.desc = DESC;
	r->q.driver = AVAIL;
	r->q.device = USED;
	assert_int_equal(virtq_enable(&r->q), 0);
	r->q.indirect = true;
	*state = r;
	return 0;
}

static inline int teardown(void **state)
{
	struct rig *r = *state;

	memory_exit(&r->mem);
	free(r);
	return 0;
}

static inline void desc(struct rig *r, gpa_t table, unsigned int i, gpa_t addr,
		 uint32_t len, uint16_t flags, uint16_t next)
{
	uint8_t *p = at(r, table + 16 * i, 16);

	put_le64(p, addr);
	put_le32(p + 8, len);
	put_le16(p + 12, flags);
	put_le16(p + 14, next);
}

static inline void offer(struct rig *r, uint16_t head)
{
	uint8_t *p = at(r, AVAIL, 6 + 2 * SIZE);
	uint16_t idx = get_le16(p + 2);

	put_le16(p + 4 + 2 * (idx % SIZE), head);
	put_le16(p + 2, idx + 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
