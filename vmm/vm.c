/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "vmm/base/fd.h"
#include "vmm/kvm.h"
#include "vmm/tree.h"
#include "vmm/vcpu.h"
#include "vmm/vm_internal.h"

static const char *const state_names[] = {
	[VM_PRELAUNCH] = "prelaunch",
	[VM_INMIGRATE] = "inmigrate",
	[VM_RUNNING] = "running",
	[VM_PAUSED] = "paused",
	[VM_IO_ERROR] = "io-error",
	[VM_FINISH_MIGRATE] = "finish-migrate",
	[VM_POSTMIGRATE] = "postmigrate",
	[VM_SHUTDOWN] = "shutdown",
	[VM_INTERNAL_ERROR] = "internal-error",
};

const char *vm_state_name(enum vm_state state)
{
	return state_names[state];
}

enum vm_state vm_get_state(struct vm *vm)
{
	enum vm_state state;

	pthread_mutex_lock(&vm->lock);
	state = vm->state;
	pthread_mutex_unlock(&vm->lock);
	return state;
}

void vm_set_state(struct vm *vm, enum vm_state state)
{
	enum vm_state old;

	pthread_mutex_lock(&vm->lock);
	old = vm->state;
	vm->state = state;
	pthread_mutex_unlock(&vm->lock);
	if (old == VM_FINISH_MIGRATE)	/* notes may have waited for that */
		fd_event_signal(vm->note_fd.fd);
	if (old == VM_RUNNING && state != VM_RUNNING)
		vm_note_event(vm, VM_EVENT_STOP, 0, vm_state_name(state));
	if (old != VM_RUNNING && state == VM_RUNNING)
		vm_note_event(vm, VM_EVENT_RESUME, 0, "");
}

static int create_memory(struct vm *vm, struct error *err)
{
	struct memory_range range[MEMORY_MAX_REGIONS];
	int node = fdt_path_offset(vm->tree, "/memory");
	const char *backing = tree_str(vm->tree, node, "godwit,backing", "anon");
	unsigned int n = 0;
	int ret, len = 0;

	if (node < 0 || !fdt_getprop(vm->tree, node, "reg", &len))
		return error_set(err, EINVAL, "machine tree: no /memory with reg");
	while (n < MEMORY_MAX_REGIONS && (n + 1) * 16 <= (unsigned int)len) {
		ret = tree_reg(vm->tree, node, n, &range[n].base,
			       &range[n].size, err);
		if (ret < 0)
			return ret;
		n++;
	}
	if (vm->cfg.memory && vm->cfg.memory->shared &&
	    strcmp(backing, "memfd"))
		ret = error_set(err, EINVAL, "shared memory came, but the machine's is %s",
				backing);
	else if (vm->cfg.memory && vm->cfg.memory->shared)
		ret = memory_init_shared(&vm->mem, range, n,
					 vm->cfg.memory->fd, err);
	else if (vm->cfg.memory)
		ret = memory_init_file(&vm->mem, range, n, vm->cfg.memory->fd,
				       vm->cfg.memory->offset, err);
	else
		ret = memory_init(&vm->mem, range, n, strcmp(backing, "memfd") ?
				  MEMORY_ANON : MEMORY_MEMFD, err);
	return ret < 0 ? ret : kvm_map_memory(vm->kvm, &vm->mem, err);
}

static int count_cpus(struct vm *vm, struct error *err)
{
	vm->nvcpus = tree_cpus(vm->tree);
	if (!vm->nvcpus || vm->nvcpus > MIN(arch_board.max_vcpus, VM_MAX_VCPUS))
		return error_set(err, EINVAL, "machine tree: %u vCPUs (accepted: 1 to %u)",
				 vm->nvcpus,
				 MIN(arch_board.max_vcpus, VM_MAX_VCPUS));
	return 0;
}

static int copy_tree(struct vm *vm, const void *tree, struct error *err)
{
	size_t len = fdt_totalsize(tree);
	const char *model;
	int ret = tree_check(tree, len, err);

	if (ret < 0)
		return ret;
	model = tree_str(tree, 0, "model", "?");
	if (strcmp(model, arch_board.name))
		return error_set(err, ENOTSUP, "this machine is %s, this host runs %s guests: a VM can't move between architectures",
				 model, arch_board.name);
	vm->tree = malloc(len);
	if (!vm->tree)
		return error_set(err, ENOMEM, "no memory for the machine tree");
	memcpy(vm->tree, tree, len);
	vm->name = tree_str(vm->tree, 0, "godwit,name", "vm");
	snprintf(vm->log.name, sizeof(vm->log.name), "%s", vm->name);
	return count_cpus(vm, err);
}

static int build(struct vm *vm, struct error *err)
{
	int ret = copy_tree(vm, vm->cfg.tree, err);

	if (!ret)
		ret = kvm_vm_create(&vm->kvm, err);
	if (!ret)
		ret = dirty_init(vm, &vm->cfg.dirty, err);
	/* one that was made here was made of what this KVM gives */
	if (!ret && vm->cfg.incoming)
		ret = arch_tree_check(vm->tree, vm->kvm->dev_fd, err);
	/*
	 * Memory first: putting a timer or an interrupt controller on KVM's
	 * bus leaves an RCU grace period behind (seen on Linux 6.18), for which
	 * the next memory slot would wait, 5 ms of a restore.
	 */
	if (!ret)
		ret = create_memory(vm, err);
	if (!ret)
		ret = arch_vm_create(&vm->arch, vm->kvm->dev_fd,
				     vm->kvm->vm_fd, vm->tree, &vm->log, err);
	if (!ret)
		ret = vcpus_create(vm, err);
	if (ret)
		return ret;
	machine_env_init(vm);
	return machine_create_devices(vm, err);
}

int vm_create(struct vm **out, const struct vm_config *cfg, struct error *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return error_set(err, ENOMEM, "no memory for a VM");
	vm->cfg = *cfg;
	vm->log = cfg->log;
	vm->loop = cfg->loop;
	vm->mem.fd = -1;
	vm->note_fd.fd = -1;
	vm->state = cfg->incoming ? VM_INMIGRATE : VM_PRELAUNCH;
	list_init(&vm->devices);
	list_init(&vm->notes);
	vm_announce_init(vm);
	vm_reset_init(vm);
	bus_init(&vm->pio);
	bus_init(&vm->mmio);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->vcpus_lock, NULL);
	pthread_cond_init(&vm->vcpus_go, NULL);
	pthread_cond_init(&vm->vcpus_parked, NULL);
	pthread_cond_init(&vm->idle, NULL);
	ret = vm_notes_init(vm, err);
	if (!ret)
		ret = build(vm, err);
	if (ret < 0) {
		vm_destroy(vm);
		return ret;
	}
	vm->cfg.tree = vm->tree;
	vm->cfg.memory = NULL;
	*out = vm;
	return 0;
}

/* From here on the loop does nothing for this VM by itself. */
static void detach(void *arg)
{
	struct vm *vm = arg;

	loop_timer_cancel(&vm->announce);
	loop_timer_cancel(&vm->reset);
	vm_notes_stop(vm);
}

static void destroy_devices(void *arg)
{
	machine_destroy_devices(arg);
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	/* a guest that resets itself is reset by the loop until it is told */
	loop_call(vm->loop, detach, vm);
	vcpus_destroy(vm);
	loop_call(vm->loop, destroy_devices, vm);
	vm_notes_exit(vm);
	arch_vm_destroy(vm->arch);
	kvm_vm_destroy(vm->kvm);
	memory_exit(&vm->mem);
	pthread_cond_destroy(&vm->idle);
	pthread_cond_destroy(&vm->vcpus_parked);
	pthread_cond_destroy(&vm->vcpus_go);
	pthread_mutex_destroy(&vm->vcpus_lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm->tree);
	free(vm);
}

static int open_image(const char *what, const char *path, struct error *err)
{
	int fd;

	if (!path)
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		error_set(err, errno, "can't open %s %s: %s", what, path,
			  strerror(errno));
	return fd;
}

static int load_images(struct vm *vm, struct error *err)
{
	int chosen = fdt_path_offset(vm->tree, "/chosen"), ret = -EINVAL;
	struct arch_boot boot = {
		.kernel_fd = -1,
		.initrd_fd = -1,
		.cmdline = tree_str(vm->tree, chosen, "bootargs", ""),
	};

	boot.kernel_fd = open_image("kernel", tree_str(vm->tree, chosen,
						       "godwit,kernel", NULL),
				    err);
	if (!err->code)
		boot.initrd_fd = open_image("initrd",
					    tree_str(vm->tree, chosen,
						     "godwit,initrd", NULL),
					    err);
	if (!err->code && boot.kernel_fd < 0)
		error_set(err, ENOENT, "no kernel to boot: give one with --kernel");
	if (!err->code)
		ret = arch_boot_load(vm->arch, &vm->mem, &boot, err);
	fd_close(&boot.kernel_fd);
	fd_close(&boot.initrd_fd);
	return err->code ? -err->code : ret;
}

int vm_boot(struct vm *vm, struct error *err)
{
	int ret = load_images(vm, err);

	for (unsigned int i = 0; i < vm->nvcpus && !ret; i++)
		ret = arch_vcpu_reset(vm->vcpu[i].arch, err);
	return ret;
}
