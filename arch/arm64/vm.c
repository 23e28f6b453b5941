/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM-wide part: interrupt controller and counter. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"
#include "vmm/tree.h"

int arch_vm_create(struct arch_vm **out, int kvm_fd, int vm_fd,
		   const void *tree, const struct log *log, struct error *err)
{
	struct arch_vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return error_set(err, ENOMEM, "no memory for a VM");
	*vm = (struct arch_vm){
		.log = log, .tree = tree, .kvm_fd = kvm_fd, .vm_fd = vm_fd,
		.gic_fd = -1, .ncpus = tree_cpus(tree),
	};
	vm->cpu = calloc(vm->ncpus, sizeof(struct arch_vcpu *));
	ret = vm->cpu ? arm64_identity_from_tree(tree, &vm->identity, err) :
			error_set(err, ENOMEM, "no memory for a VM");
	if (!ret)
		ret = arm64_gic_create(vm, err);
	if (ret) {
		arch_vm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

void arch_vm_destroy(struct arch_vm *vm)
{
	if (!vm)
		return;
	fd_close(&vm->gic_fd);
	free(vm->cpu);
	free(vm);
}

void *arch_vm_state(struct arch_vm *vm)
{
	return &vm->state;
}

int arch_vm_get(struct arch_vm *vm, struct error *err)
{
	/* one counter for all vCPUs: KVM keeps one offset a VM */
	if (arm64_reg_get(vm->cpu[0]->fd, KVM_REG_ARM_TIMER_CNT,
			  &vm->state.counter) < 0)
		return error_set(err, EIO, "can't read the virtual counter");
	return arm64_gicd_get(vm, err);
}

int arch_vm_put(struct arch_vm *vm, struct error *err)
{
	return arm64_gicd_put(vm, err);
}

int arch_vm_reset(struct arch_vm *vm, struct error *err)
{
	vm->state = vm->power_on;
	return arch_vm_put(vm, err);
}

/*
 * The counters go on by the pause. Guests take the virtual one; the physical
 * one is there where KVM can give it an offset too (Linux 6.4), and then both
 * travel together.
 */
int arch_clock_start(struct arch_vm *vm, uint64_t elapsed_ns,
		     struct error *err)
{
	const struct arm64_regs *r = &vm->cpu[0]->state.regs;
	uint64_t ticks = (uint64_t)((unsigned __int128)elapsed_ns *
				    vm->identity.counter_hz / NSEC_PER_SEC);
	uint64_t counter = vm->state.counter + ticks;

	for (uint32_t i = 0; i < r->n; i++)
		if (r->id[i] == KVM_REG_ARM_PTIMER_CNT)
			arm64_reg_set(vm->cpu[0]->fd, r->id[i],
				      r->value[i] + ticks);
	if (arm64_reg_set(vm->cpu[0]->fd, KVM_REG_ARM_TIMER_CNT, counter) < 0)
		return error_set(err, EIO, "can't set the virtual counter: %s",
				 strerror(errno));
	return 0;
}
