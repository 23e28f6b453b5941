/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio 1.2, sections 4.2.2 (registers), 3.1.1 (initialisation), 2.7. */
#include "virtio_mmio.h"

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY 1

enum {			/* register / 4 */
	MAGIC = 0, VERSION = 1, DEVICE = 2, FEATURES = 4, FEATURES_SEL = 5,
	DRIVER = 8, DRIVER_SEL = 9, QUEUE_SEL = 12, QUEUE_MAX = 13,
	QUEUE_NUM = 14, QUEUE_READY = 17, NOTIFY = 20, CAUSE = 24,
	ACK = 25, STATUS = 28,
	DESC = 32, AVAIL = 36, USED = 40,
};

enum { ACKNOWLEDGE = 1, HAS_DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };

static void set_address(volatile uint32_t *at, const volatile void *table)
{
	at[0] = (uint64_t)table;
	at[1] = (uint64_t)table >> 32;
}

static const char *negotiate(struct vqueue *queue, uint32_t want)
{
	volatile uint32_t *regs = queue->registers;

	regs[STATUS] = 0;
	regs[STATUS] = ACKNOWLEDGE;
	regs[STATUS] = ACKNOWLEDGE | HAS_DRIVER;
	regs[FEATURES_SEL] = 1;
	if (!(regs[FEATURES] & 1))
		return "VERSION_1 not offered";
	regs[FEATURES_SEL] = 0;
	queue->features = regs[FEATURES] & want;
	regs[DRIVER_SEL] = 0;
	regs[DRIVER] = queue->features;
	regs[DRIVER_SEL] = 1;
	regs[DRIVER] = 1;
	regs[STATUS] = ACKNOWLEDGE | HAS_DRIVER | FEATURES_OK;
	return regs[STATUS] & FEATURES_OK ? 0 : "features refused";
}

const char *vqueue_init(struct vqueue *queue, uint64_t base, uint32_t device,
			uint32_t want)
{
	volatile uint32_t *regs = (volatile uint32_t *)base;
	const char *wrong;

	queue->registers = regs;
	if (regs[MAGIC] != 0x74726976 || regs[VERSION] != 2)
		return "no virtio-mmio version 2";
	if (regs[DEVICE] != device)
		return "another device";
	wrong = negotiate(queue, want);
	if (wrong)
		return wrong;
	regs[QUEUE_SEL] = 0;
	if (regs[QUEUE_MAX] < QUEUE_SIZE)
		return "queue too small";
	regs[QUEUE_NUM] = QUEUE_SIZE;
	set_address(regs + DESC, queue->desc);
	set_address(regs + AVAIL, &queue->avail);
	set_address(regs + USED, &queue->used);
	queue->avail.flags = AVAIL_NO_INTERRUPT;
	queue->avail.used_event = -1;
	regs[QUEUE_READY] = 1;
	regs[STATUS] = ACKNOWLEDGE | HAS_DRIVER | FEATURES_OK | DRIVER_OK;
	return 0;
}

static void barrier(void)
{
	__asm__ volatile("mfence" : : : "memory");
}

void vqueue_add(struct vqueue *queue, uint16_t head)
{
	queue->avail.ring[queue->added++ % QUEUE_SIZE] = head;
}

static int must_notify(const struct vqueue *queue, uint16_t before)
{
	uint16_t event = queue->used.avail_event;

	if (!(queue->features & FEATURE_EVENT_IDX))
		return !(queue->used.flags & USED_NO_NOTIFY);
	/* 2.7.10: did the index pass the one that the device waits for? */
	return (uint16_t)(queue->added - event - 1) <
	       (uint16_t)(queue->added - before);
}

int vqueue_publish(struct vqueue *queue)
{
	uint16_t before = queue->avail.index;

	if (before == queue->added)
		return 0;
	__asm__ volatile("" : : : "memory");
	queue->avail.index = queue->added;
	barrier();
	if (!must_notify(queue, before))
		return 0;
	queue->registers[NOTIFY] = 0;
	return 1;
}

int vqueue_take(struct vqueue *queue)
{
	int head;

	if (queue->used.index == queue->taken)
		return -1;
	__asm__ volatile("" : : : "memory");
	head = (int)queue->used.ring[queue->taken++ % QUEUE_SIZE].id;
	/* the event that was passed just now comes back after 65535 more */
	queue->avail.used_event = queue->taken - 1;
	queue->avail.flags = AVAIL_NO_INTERRUPT;
	return head;
}

int vqueue_arm(struct vqueue *queue)
{
	queue->avail.used_event = queue->taken;
	queue->avail.flags = 0;
	barrier();
	return queue->used.index == queue->taken;
}

void vqueue_acknowledge(struct vqueue *queue)
{
	queue->registers[ACK] = queue->registers[CAUSE];
}

void vqueue_run(struct vqueue *queue)
{
	vqueue_add(queue, 0);
	vqueue_publish(queue);
	while (vqueue_take(queue) < 0)
		gap_stamp();
}
