/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM's state as a tree: "machine" (interrupt controllers, clocks), "cpu@N",
 * and a node a device.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

static int save_vcpus(struct vm *vm, struct state_writer *w, struct error *err)
{
	for (unsigned int i = 0; i < vm->nvcpus; i++) {
		struct arch_vcpu *cpu = vm->vcpu[i].arch;
		char node[16];
		int ret;

		snprintf(node, sizeof(node), "cpu@%x", i);
		ret = arch_vcpu_get(cpu, err);
		if (ret < 0) {
			error_prefix(err, "%s", node);
			return ret;
		}
		ret = state_save(w, node, &arch_vcpu_table,
				 arch_vcpu_state(cpu), err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int save_devices(struct vm *vm, struct state_writer *w,
			struct error *err)
{
	struct device *dev;
	int ret;

	list_for_each(dev, &vm->devices, link) {
		if (!dev->class->state)
			continue;
		device_lock(dev);
		ret = state_save(w, dev->name, dev->class->state, dev, err);
		device_unlock(dev);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Hand the tree over if all went well so far (@ret is 0), or drop it. */
static int end_tree(struct state_writer *w, int ret, void **fdt, size_t *len,
		    struct error *err)
{
	if (ret == 0)
		return state_writer_finish(w, fdt, len, err);
	state_writer_abort(w);
	return ret;
}

int vm_save(struct vm *vm, void **fdt, size_t *len, struct error *err)
{
	struct state_writer w;
	int ret = state_writer_init(&w, err);

	if (ret < 0)
		return ret;
	vm->saved_at = now_ns();
	ret = arch_vm_get(vm->arch, err);
	if (!ret)
		ret = save_vcpus(vm, &w, err);
	if (!ret)
		ret = state_save(&w, "machine", &arch_vm_table,
				 arch_vm_state(vm->arch), err);
	if (!ret)
		ret = save_devices(vm, &w, err);
	return end_tree(&w, ret, fdt, len, err);
}

static bool known_node(struct vm *vm, const char *name)
{
	struct device *dev;
	unsigned int index;
	char canonical[16];

	if (!strcmp(name, "machine"))
		return true;
	if (sscanf(name, "cpu@%x", &index) == 1 && index < vm->nvcpus) {
		snprintf(canonical, sizeof(canonical), "cpu@%x", index);
		return !strcmp(name, canonical);
	}
	list_for_each(dev, &vm->devices, link)
		if (dev->class->state && !strcmp(dev->name, name))
			return true;
	return false;
}

/* State of something that this machine has not got would be lost. */
static int refuse_unknown(struct vm *vm, const void *fdt, struct error *err)
{
	int node;

	fdt_for_each_subnode(node, fdt, 0) {
		const char *name = fdt_get_name(fdt, node, NULL);

		if (!name || !known_node(vm, name))
			return error_set(err, EINVAL, "state of \"%s\", which this machine has not got",
					 name ? name : "?");
	}
	return 0;
}

static int load_vcpus(struct vm *vm, const void *fdt, struct error *err)
{
	int ret;

	for (unsigned int i = 0; i < vm->nvcpus; i++) {
		struct arch_vcpu *cpu = vm->vcpu[i].arch;
		char node[16];

		snprintf(node, sizeof(node), "cpu@%x", i);
		ret = state_load(fdt, node, &arch_vcpu_table,
				 arch_vcpu_state(cpu), err);
		if (ret < 0)
			return ret;
		ret = arch_vcpu_put(cpu, err);
		if (ret < 0) {
			error_prefix(err, "%s", node);
			return ret;
		}
	}
	return 0;
}

struct part {
	const char *node;
	const struct state_table *table;
	void *obj;
};

static int rehearse_save(struct part *part, unsigned int n, void **fdt,
			 size_t *len, struct error *err)
{
	struct state_writer w;
	int ret = state_writer_init(&w, err);

	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < n && ret == 0; i++)
		ret = state_save(&w, part[i].node, part[i].table, part[i].obj,
				 err);
	return end_tree(&w, ret, fdt, len, err);
}

/* Errors are no news here: zeroes are no good state of everything. */
void vm_rehearse(struct vm *vm)
{
	struct part part[] = {
		{ "cpu@0", &arch_vcpu_table, calloc(1, arch_vcpu_table.size) },
		{ "machine", &arch_vm_table, calloc(1, arch_vm_table.size) },
	};
	struct error ignored = ERROR_INIT;
	void *fdt = NULL;
	size_t len;

	if (part[0].obj && part[1].obj &&
	    rehearse_save(part, ARRAY_SIZE(part), &fdt, &len, &ignored) == 0 &&
	    state_check(fdt, len, &ignored) == 0 &&
	    refuse_unknown(vm, fdt, &ignored) == 0)
		for (unsigned int i = 0; i < ARRAY_SIZE(part); i++)
			(void)!state_load(fdt, part[i].node, part[i].table,
					  part[i].obj, &ignored);
	free(fdt);
	for (unsigned int i = 0; i < ARRAY_SIZE(part); i++)
		free(part[i].obj);
}

static int load_devices(struct vm *vm, const void *fdt, struct error *err)
{
	struct device *dev;
	int ret;

	list_for_each(dev, &vm->devices, link) {
		if (!dev->class->state)
			continue;
		device_lock(dev);
		ret = state_load(fdt, dev->name, dev->class->state, dev, err);
		device_unlock(dev);
		if (ret < 0)
			return ret;
	}
	return 0;
}

uint64_t vm_saved_at(struct vm *vm)
{
	return vm->saved_at;
}

int vm_load(struct vm *vm, const void *fdt, size_t len, uint64_t age_ns,
	    struct error *err)
{
	int ret = state_check(fdt, len, err);

	if (!ret)
		ret = refuse_unknown(vm, fdt, err);
	if (!ret)
		ret = state_load(fdt, "machine", &arch_vm_table,
				 arch_vm_state(vm->arch), err);
	if (!ret)
		ret = arch_vm_put(vm->arch, err);
	if (!ret)
		ret = load_vcpus(vm, fdt, err);
	if (!ret)
		ret = load_devices(vm, fdt, err);
	vm->loaded_at = now_ns() - age_ns;
	/* whoever runs in this memory from now on makes it another one */
	memory_turn_watch(&vm->mem);
	return ret;
}
