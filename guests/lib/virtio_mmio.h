/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One polled split queue of a virtio-mmio device, version 2 (virtio 1.2). */
#ifndef GUESTS_LIB_VIRTIO_MMIO_H
#define GUESTS_LIB_VIRTIO_MMIO_H

#include "guest.h"

#define QUEUE_SIZE 8

struct vdesc {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct vavail {
	uint16_t flags, index, ring[QUEUE_SIZE];
};

struct vused {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[QUEUE_SIZE];
};

struct vqueue {
	volatile uint32_t *registers;
	struct vdesc desc[QUEUE_SIZE] __attribute__((aligned(16)));
	volatile struct vavail avail __attribute__((aligned(16)));
	volatile struct vused used __attribute__((aligned(16)));
};

/* Negotiates VERSION_1 and nothing else; 0, or the step that failed. */
const char *vqueue_init(struct vqueue *queue, uint64_t base, uint32_t device);
/* Descriptors 0..n-1 are a chain: hand it over, wait until it came back. */
void vqueue_run(struct vqueue *queue);

#endif
