/* SPDX-License-Identifier: GPL-2.0-or-later */
/* After a move: five rounds in which devices tell the network where they are,
 * 50 ms apart and 100 ms more each time. */
#include "vmm/vm_internal.h"

#define ROUNDS 5
#define FIRST_MS 50
#define STEP_MS 100

static void on_round(void *arg)
{
	struct vm *vm = arg;
	struct device *dev;
	unsigned int round = vm->announce_round++;
	uint64_t gap = FIRST_MS + STEP_MS * round;

	list_for_each(dev, &vm->devices, link)
		if (dev->class->announce)
			dev->class->announce(dev, round);
	if (vm->announce_round < ROUNDS)
		loop_timer_set(vm->loop, &vm->announce,
			       now_ns() + gap * NSEC_PER_MSEC);
}

static void start(void *arg)
{
	struct vm *vm = arg;

	vm->announce_round = 0;
	on_round(vm);
}

void vm_announce(struct vm *vm)
{
	loop_post(vm->loop, start, vm);
}

void vm_announce_init(struct vm *vm)
{
	loop_timer_init(&vm->announce, on_round, vm);
}
