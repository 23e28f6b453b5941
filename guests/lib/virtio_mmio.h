/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One split queue of a virtio-mmio device, version 2 (virtio 1.2). It may be
 * run by one call a request, or kept full: add, publish, take.
 */
#ifndef GUESTS_LIB_VIRTIO_MMIO_H
#define GUESTS_LIB_VIRTIO_MMIO_H

#include "guest.h"

#define QUEUE_SIZE 64

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

/* features, of which vqueue_init() takes those that are offered */
#define FEATURE_BLK_FLUSH (1u << 9)
#define FEATURE_INDIRECT (1u << 28)
#define FEATURE_EVENT_IDX (1u << 29)

struct vdesc {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct vavail {
	uint16_t flags, index, ring[QUEUE_SIZE], used_event;
};

struct vused {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[QUEUE_SIZE];
	uint16_t avail_event;
};

struct vqueue {
	volatile uint32_t *registers;
	uint32_t features;	/* bits 0 to 31, as negotiated */
	uint16_t added;		/* of these, those up to avail.index are out */
	uint16_t taken;
	struct vdesc desc[QUEUE_SIZE] __attribute__((aligned(16)));
	volatile struct vavail avail __attribute__((aligned(16)));
	volatile struct vused used __attribute__((aligned(16)));
};

/*
 * Negotiates VERSION_1 and what there is of @want; 0, or the step that failed.
 * No interrupts come unless vqueue_arm() asks for them.
 */
const char *vqueue_init(struct vqueue *queue, uint64_t base, uint32_t device,
			uint32_t want);
/* The chain that begins with descriptor @head goes out with the next publish. */
void vqueue_add(struct vqueue *queue, uint16_t head);
/* 1 if the device had to be notified. */
int vqueue_publish(struct vqueue *queue);
/* The head of a chain that came back, or -1. */
int vqueue_take(struct vqueue *queue);
/* Interrupt when the next chain comes back. False: one is there already. */
int vqueue_arm(struct vqueue *queue);
/* What an interrupt handler does: read and acknowledge the cause. */
void vqueue_acknowledge(struct vqueue *queue);
/* Descriptors 0..n-1 are a chain: hand it over, wait until it came back. */
void vqueue_run(struct vqueue *queue);

#endif
