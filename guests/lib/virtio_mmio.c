/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio 1.2, sections 4.2.2 (registers), 3.1.1 (initialisation), 2.7. */
#include "virtio_mmio.h"

enum {			/* register / 4 */
	MAGIC = 0, VERSION = 1, DEVICE = 2, FEATURES = 4, FEATURES_SEL = 5,
	DRIVER = 8, DRIVER_SEL = 9, QUEUE_SEL = 12, QUEUE_MAX = 13,
	QUEUE_NUM = 14, QUEUE_READY = 17, NOTIFY = 20, STATUS = 28,
	DESC = 32, AVAIL = 36, USED = 40,
};

enum { ACKNOWLEDGE = 1, HAS_DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };

static void set_address(volatile uint32_t *at, const volatile void *table)
{
	at[0] = (uint64_t)table;
	at[1] = (uint64_t)table >> 32;
}

static const char *negotiate(volatile uint32_t *regs)
{
	regs[STATUS] = 0;
	regs[STATUS] = ACKNOWLEDGE;
	regs[STATUS] = ACKNOWLEDGE | HAS_DRIVER;
	regs[FEATURES_SEL] = 1;
	if (!(regs[FEATURES] & 1))
		return "VERSION_1 not offered";
	regs[DRIVER_SEL] = 0;
	regs[DRIVER] = 0;
	regs[DRIVER_SEL] = 1;
	regs[DRIVER] = 1;
	regs[STATUS] = ACKNOWLEDGE | HAS_DRIVER | FEATURES_OK;
	return regs[STATUS] & FEATURES_OK ? 0 : "features refused";
}

const char *vqueue_init(struct vqueue *queue, uint64_t base, uint32_t device)
{
	volatile uint32_t *regs = (volatile uint32_t *)base;
	const char *wrong;

	queue->registers = regs;
	if (regs[MAGIC] != 0x74726976 || regs[VERSION] != 2)
		return "no virtio-mmio version 2";
	if (regs[DEVICE] != device)
		return "another device";
	wrong = negotiate(regs);
	if (wrong)
		return wrong;
	regs[QUEUE_SEL] = 0;
	if (regs[QUEUE_MAX] < QUEUE_SIZE)
		return "queue too small";
	regs[QUEUE_NUM] = QUEUE_SIZE;
	set_address(regs + DESC, queue->desc);
	set_address(regs + AVAIL, &queue->avail);
	set_address(regs + USED, &queue->used);
	queue->avail.flags = 1;		/* NO_INTERRUPT: we poll */
	regs[QUEUE_READY] = 1;
	regs[STATUS] = ACKNOWLEDGE | HAS_DRIVER | FEATURES_OK | DRIVER_OK;
	return 0;
}

void vqueue_run(struct vqueue *queue)
{
	uint16_t index = queue->avail.index;

	queue->avail.ring[index % QUEUE_SIZE] = 0;
	__asm__ volatile("" : : : "memory");
	queue->avail.index = index + 1;
	__asm__ volatile("mfence" : : : "memory");
	queue->registers[NOTIFY] = 0;
	while (queue->used.index != (uint16_t)(index + 1))
		gap_stamp();
	__asm__ volatile("" : : : "memory");
}
