/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver's side of a virtio-mmio device, for tests: as little as needed,
 * and able to do all that a driver must not. */
#ifndef GODWIT_TESTS_VIRTIO_GUEST_H
#define GODWIT_TESTS_VIRTIO_GUEST_H

#include "tests/lib/fake_env.h"

#define GUEST_MEM (4 * MIB)
#define GUEST_MMIO 0xd0000000ull
#define GUEST_GSI 5
#define GUEST_QUEUE_SIZE 16
#define GUEST_DATA 0x100000ull	/* free for buffers */

struct guest_queue {
	gpa_t desc, avail, used;
	uint16_t size;
	uint16_t next_desc;
	uint16_t avail_idx;
	uint16_t seen;		/* used entries taken */
};

struct guest {
	struct fake_env env;
	struct device *dev;
	struct guest_queue q[4];
	unsigned int nqueues;
	unsigned long dirty[GUEST_MEM / PAGE_BYTES / 64];
};

struct guest_buf {
	gpa_t addr;
	uint32_t len;
	uint16_t flags;		/* VRING_DESC_F_ */
};

/* A machine with the device, neither activated nor started. */
struct guest *guest_create(const char *compatible,
			   void (*props)(void *fdt, void *arg), void *arg);
void guest_destroy(struct guest *g);
/* Activate and start it. */
void guest_start(struct guest *g);
/* As a driver: reset, accept @features and VERSION_1, set up @nqueues. */
void guest_driver(struct guest *g, uint64_t features, unsigned int nqueues);
/* create, start and driver in one. */
struct guest *guest_boot(const char *compatible,
			 void (*props)(void *fdt, void *arg), void *arg,
			 uint64_t features, unsigned int nqueues);

uint32_t guest_reg(struct guest *g, uint32_t offset);
void guest_set(struct guest *g, uint32_t offset, uint32_t value);
uint64_t guest_offered(struct guest *g);

/* Descriptor @i of queue @q, raw. */
void guest_desc(struct guest *g, unsigned int q, uint16_t i, gpa_t addr,
		uint32_t len, uint16_t flags, uint16_t next);
/* A chain of descriptors made available: its head. Doesn't notify. */
uint16_t guest_add(struct guest *g, unsigned int q,
		   const struct guest_buf *buf, unsigned int n);
/* Make a head available that needs no chain behind it. */
void guest_offer(struct guest *g, unsigned int q, uint16_t head);
void guest_notify(struct guest *g, unsigned int q);
/* Serve the loop until nothing is ready. */
void guest_settle(struct guest *g);
/* The next used entry, if there is one. */
bool guest_used(struct guest *g, unsigned int q, uint32_t *id, uint32_t *len);
/* Notify, settle, and expect one used entry: its length. */
uint32_t guest_do(struct guest *g, unsigned int q);

void guest_put(struct guest *g, gpa_t addr, const void *buf, size_t len);
void guest_get(struct guest *g, gpa_t addr, void *buf, size_t len);
uint16_t guest_get16(struct guest *g, gpa_t addr);
void guest_put16(struct guest *g, gpa_t addr, uint16_t v);

bool guest_needs_reset(struct guest *g);
unsigned int guest_pulses(struct guest *g);
/* Record the device's writes from now on; was the page of @addr written? */
void guest_track(struct guest *g);
bool guest_dirty(struct guest *g, gpa_t addr);

/* The device's state as a tree. */
void *guest_save(struct guest *g, size_t *len);
int guest_load(struct guest *g, const void *fdt, struct error *err);

#endif
