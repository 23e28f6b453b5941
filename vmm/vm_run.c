/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM runs, stops, is reset: its devices and vCPUs together. */
#include "vmm/vm.h"

#include <errno.h>

#include "arch/arch.h"
#include "vmm/base/util.h"
#include "vmm/vcpu.h"
#include "vmm/vm_internal.h"

/* A call of every device, in the loop's thread. */
struct device_call {
	struct vm *vm;
	int (*fn)(struct vm *vm, struct error *err);
	struct error *err;
	int ret;
};

static void call_devices(void *arg)
{
	struct device_call *c = arg;

	c->ret = c->fn(c->vm, c->err);
}

static int in_loop(struct vm *vm, int (*fn)(struct vm *vm, struct error *err),
		   struct error *err)
{
	struct device_call c = { .vm = vm, .fn = fn, .err = err };

	loop_call(vm->loop, call_devices, &c);
	return c.ret;
}

static void deactivate_until(struct vm *vm, const struct device *end,
			     struct error *err)
{
	struct device *dev;
	struct error e = ERROR_INIT;

	list_for_each(dev, &vm->devices, link) {
		if (dev == end)
			return;
		if (dev->class->deactivate &&
		    dev->class->deactivate(dev, &e) < 0)
			error_add(err, e.code, "%s: %s", dev->name, e.msg);
	}
}

static int activate(struct vm *vm, struct error *err)
{
	struct device *dev;
	struct error ignored = ERROR_INIT;

	if (vm->active)
		return 0;
	list_for_each(dev, &vm->devices, link)
		if (dev->class->activate && dev->class->activate(dev, err) < 0) {
			error_prefix(err, "%s", dev->name);
			deactivate_until(vm, dev, &ignored);
			return -err->code;
		}
	vm->active = true;
	return 0;
}

int vm_activate(struct vm *vm, struct error *err)
{
	return in_loop(vm, activate, err);
}

static int deactivate(struct vm *vm, struct error *err)
{
	if (!vm->active)
		return 0;
	deactivate_until(vm, NULL, err);
	vm->active = false;
	return err->code ? -err->code : 0;
}

int vm_deactivate(struct vm *vm, struct error *err)
{
	return in_loop(vm, deactivate, err);
}

static int start_devices(struct vm *vm, struct error *err)
{
	struct device *dev;

	list_for_each(dev, &vm->devices, link)
		if (dev->class->start && dev->class->start(dev, err) < 0) {
			error_prefix(err, "%s", dev->name);
			return -err->code;
		}
	return 0;
}

static int stop_devices(struct vm *vm, struct error *err)
{
	struct device *dev;

	list_for_each(dev, &vm->devices, link)
		if (dev->class->stop)
			dev->class->stop(dev);
	return 0;
}

static int run(struct vm *vm, struct error *err)
{
	uint64_t since = vm->loaded_at;
	int ret = memory_turn_claim(&vm->mem, err);

	if (ret < 0)
		return ret;
	ret = start_devices(vm, err);
	vm->loaded_at = 0;
	vm->runs++;
	if (!ret && since)
		ret = arch_clock_start(vm->arch, now_ns() - since, err);
	if (ret < 0) {
		memory_turn_return(&vm->mem);
		return ret;
	}
	vm_set_state(vm, VM_RUNNING);
	vcpus_resume(vm);
	return 0;
}

/* In the loop's turn, in which no disk can ask for a stop half-way. */
int vm_run(struct vm *vm, struct error *err)
{
	return in_loop(vm, run, err);
}

void vm_pause(struct vm *vm, enum vm_state state)
{
	vcpus_pause(vm);
	vm_set_state(vm, state);
}

struct vm_disk *vm_disk(struct vm *vm, unsigned int index)
{
	struct device *dev;

	list_for_each(dev, &vm->devices, link)
		if (dev->class->disk && !index--)
			return dev->class->disk(dev);
	return NULL;
}

static struct device *busy_device(struct vm *vm)
{
	struct device *dev;

	list_for_each(dev, &vm->devices, link)
		if (atomic_load(&dev->inflight))
			return dev;
	return NULL;
}

int vm_quiesce(struct vm *vm, uint64_t deadline, struct error *err)
{
	struct device *dev;
	int ret = in_loop(vm, stop_devices, err);

	pthread_mutex_lock(&vm->lock);
	while ((dev = busy_device(vm)) && ret != ETIMEDOUT)
		ret = cond_wait_until(&vm->idle, &vm->lock, deadline);
	if (dev)
		error_set(err, ETIMEDOUT, "%s still has %u requests under way",
			  dev->name, atomic_load(&dev->inflight));
	else if (vm->fate_pending)
		error_set(err, ESHUTDOWN, "the guest is shutting down or rebooting");
	pthread_mutex_unlock(&vm->lock);
	return err->code ? -err->code : 0;
}

static int finish_reset(struct vm *vm, struct error *err)
{
	struct device *dev;
	int ret;

	list_for_each(dev, &vm->devices, link)
		if (dev->class->reset)
			dev->class->reset(dev);
	ret = arch_vm_reset(vm->arch, err);
	if (!ret)
		ret = vm_boot(vm, err);
	if (ret < 0)
		return ret;
	vm_note_event(vm, VM_EVENT_RESET, 0, "");
	return vm_run(vm, err);
}

/* A disk read that is under way must not land in the new boot image. */
static void on_reset(void *arg)
{
	struct vm *vm = arg;
	struct error err = ERROR_INIT;

	if (busy_device(vm)) {
		loop_timer_set(vm->loop, &vm->reset, now_ns() + NSEC_PER_MSEC);
	} else if (finish_reset(vm, &err) < 0) {
		error_prefix(&err, "can't reboot");
		log_error(&vm->log, "%s", err.msg);
		vm_end(vm, VM_FATE_ERROR, 0, err.msg);
	}
}

void vm_reset_init(struct vm *vm)
{
	loop_timer_init(&vm->reset, on_reset, vm);
}

void vm_reset(struct vm *vm)
{
	struct error ignored = ERROR_INIT;

	vcpus_pause(vm);
	stop_devices(vm, &ignored);
	on_reset(vm);
}

void vm_power_button(struct vm *vm)
{
	struct device *dev;

	list_for_each(dev, &vm->devices, link)
		if (dev->class->power_button)
			dev->class->power_button(dev);
	vm_note_event(vm, VM_EVENT_POWERDOWN, 0, "");
}
