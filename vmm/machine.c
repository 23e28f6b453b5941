/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices from the machine tree. A node's first "compatible" string finds its
 * class; no device is known here by name.
 */
#include <errno.h>
#include <libfdt.h>
#include <string.h>

#include "vmm/kvm.h"
#include "vmm/tree.h"
#include "vmm/vm_internal.h"

static struct irq_line *env_irq(struct device_env *env, unsigned int gsi,
				struct error *err)
{
	struct vm *vm = env->owner;

	return kvm_irq_line(vm->kvm, gsi, err);
}

static int env_ioeventfd(struct device_env *env, gpa_t addr, uint32_t value,
			 int fd, bool add)
{
	struct vm *vm = env->owner;

	return kvm_ioeventfd(vm->kvm, addr, value, fd, add);
}

static void env_request(struct device_env *env, enum vm_request what,
			int value)
{
	struct vm *vm = env->owner;

	switch (what) {
	case VM_REQUEST_RESET:
		vm_end(vm, VM_FATE_RESET, 0, "guest-reset");
		break;
	case VM_REQUEST_POWEROFF:
		vm_end(vm, VM_FATE_OFF, 0, "guest-shutdown");
		break;
	case VM_REQUEST_EXIT:
		vm_end(vm, VM_FATE_EXIT, value, "debug-exit");
		break;
	case VM_REQUEST_DISK_LOST:
		vm_note_event(vm, VM_EVENT_DISK_LOST, value, "disk lost");
		break;
	case VM_REQUEST_DISK_FOUND:
		vm_note_event(vm, VM_EVENT_DISK_FOUND, value, "disk found");
		break;
	}
}

static void env_io_error(struct device_env *env, const struct io_error *e)
{
	vm_note_io_error(env->owner, e);
}

static struct chardev *env_chardev(struct device_env *env, const char *name,
				   struct error *err)
{
	struct vm *vm = env->owner;

	if (!vm->cfg.chardev) {
		error_set(err, ENODEV, "no character device %s here", name);
		return NULL;
	}
	return vm->cfg.chardev(vm->cfg.chardev_arg, name, err);
}

static void env_idle(struct device_env *env)
{
	struct vm *vm = env->owner;

	pthread_mutex_lock(&vm->lock);
	pthread_cond_broadcast(&vm->idle);
	pthread_mutex_unlock(&vm->lock);
}

void machine_env_init(struct vm *vm)
{
	vm->env = (struct device_env){
		.log = &vm->log,
		.mem = &vm->mem,
		.loop = vm->loop,
		.pio = &vm->pio,
		.mmio = &vm->mmio,
		.tree = vm->tree,
		.incoming = vm->state == VM_INMIGRATE,
		.owner = vm,
		.irq = env_irq,
		.ioeventfd = env_ioeventfd,
		.request = env_request,
		.io_error = env_io_error,
		.chardev = env_chardev,
		.idle = env_idle,
	};
}

/* Keep the list sorted: state is saved and loaded in an order that no one
 * can change by moving an option. */
static void insert(struct vm *vm, struct device *dev)
{
	struct device *pos;

	list_for_each(pos, &vm->devices, link)
		if (strcmp(pos->name, dev->name) > 0)
			break;
	list_add_tail(&pos->link, &dev->link);
}

static void create_device(struct vm *vm, int node, struct error *err)
{
	const char *name = fdt_get_name(vm->tree, node, NULL);
	const char *compatible = tree_str(vm->tree, node, "compatible", NULL);
	const struct device_class *class;
	struct error e = ERROR_INIT;
	struct device *dev;

	if (!compatible) {
		error_add(err, EINVAL, "%s: no compatible", name);
		return;
	}
	class = device_class_find(compatible);
	if (!class)
		error_add(err, ENODEV, "%s: this godwit has no device \"%s\"",
			  name, compatible);
	else if (class->create(&vm->env, node, &dev, &e) < 0)
		error_add(err, e.code, "%s: %s", name, e.msg);
	else
		insert(vm, dev);
}

int machine_create_devices(struct vm *vm, struct error *err)
{
	static const char *const buses[] = { "/isa", "/platform", "/soc" };
	int node;

	/* go on after a failure: the user gets all reasons at once */
	for (unsigned int i = 0; i < ARRAY_SIZE(buses); i++) {
		int bus = fdt_path_offset(vm->tree, buses[i]);

		if (bus >= 0)
			fdt_for_each_subnode(node, vm->tree, bus)
				create_device(vm, node, err);
	}
	return err->code ? -err->code : 0;
}

void machine_destroy_devices(struct vm *vm)
{
	struct device *dev, *tmp;

	list_for_each_safe(dev, tmp, &vm->devices, link)
		dev->class->destroy(dev);
}
