/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One vCPU: creation, power-on state, exits that are not MMIO. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arm64/arm64.h"
#include "arch/common.h"
#include "vmm/base/util.h"

#define CORE(m) (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
		 KVM_REG_ARM_CORE_REG(m))
#define ESR_EL1 ARM64_SYS_REG(3, 0, 5, 2, 0)
#define FAR_EL1 ARM64_SYS_REG(3, 0, 6, 0, 0)
#define SCTLR_EL1 ARM64_SYS_REG(3, 0, 1, 0, 0)

int arch_vcpu_get(struct arch_vcpu *cpu, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < arm64_nrows && !ret; i++)
		ret = arm64_rows[i].get(cpu, err);
	return ret;
}

int arch_vcpu_put(struct arch_vcpu *cpu, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < arm64_nrows && !ret; i++)
		ret = arm64_rows[i].put(cpu, err);
	return ret;
}

/* The GIC is ready when the last vCPU is there; only then can its registers
 * be read, and lines be tied to it. */
static int complete(struct arch_vm *vm, struct error *err)
{
	int ret = arm64_gic_init(vm, err);

	if (!ret)
		ret = arch_vm_get(vm, err);
	vm->power_on = vm->state;
	for (unsigned int i = 0; i < vm->ncpus && !ret; i++) {
		struct arch_vcpu *cpu = vm->cpu[i];

		ret = arch_vcpu_get(cpu, err);
		cpu->power_on = cpu->state;
	}
	return ret;
}

int arch_vcpu_create(struct arch_vcpu **out, struct arch_vm *vm, int vcpu_fd,
		     struct kvm_run *run, unsigned int index,
		     struct error *err)
{
	struct arch_vcpu *cpu = calloc(1, sizeof(*cpu));
	int ret;

	if (!cpu)
		return error_set(err, ENOMEM, "no memory for a vCPU");
	*cpu = (struct arch_vcpu){
		.vm = vm, .fd = vcpu_fd, .run = run, .index = index
	};
	*out = cpu;
	vm->cpu[index] = cpu;
	ret = arm64_vcpu_init(vm->vm_fd, vcpu_fd, index, &vm->identity, err);
	if (!ret && index == vm->ncpus - 1)
		ret = complete(vm, err);
	return ret;
}

void arch_vcpu_destroy(struct arch_vcpu *cpu)
{
	free(cpu);
}

void *arch_vcpu_state(struct arch_vcpu *cpu)
{
	return &cpu->state;
}

/* Linux's boot protocol (booting.rst): x0 is the tree, x1 to x3 are zero,
 * which they are at power-on, as MMU and interrupts are off. */
int arch_vcpu_reset(struct arch_vcpu *cpu, struct error *err)
{
	const struct arm64_entry *entry = &cpu->vm->entry;
	int ret;

	cpu->state = cpu->power_on;
	ret = arch_vcpu_put(cpu, err);
	if (ret || cpu->index)
		return ret;
	if (arm64_reg_set(cpu->fd, CORE(regs.pc), entry->pc) < 0 ||
	    arm64_reg_set(cpu->fd, CORE(regs.regs[0]), entry->x0) < 0)
		return error_set(err, EIO, "can't set the entry point");
	return 0;
}

/* No paravirtual clock that would have to be told. */
void arch_vcpu_resume(struct arch_vcpu *cpu)
{
}

enum arch_exit arch_vcpu_exit(struct arch_vcpu *cpu, struct error *err)
{
	const struct kvm_run *run = cpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_INTERNAL_ERROR:
		error_set(err, EIO, "KVM internal error %u",
			  run->internal.suberror);
		return ARCH_EXIT_ERROR;
	default:
		return arch_exit_common(run, err);
	}
}

void arch_vcpu_describe(struct arch_vcpu *cpu, struct memory *mem, char *buf,
			size_t size)
{
	static const struct {
		const char *name;
		uint64_t id;
	} regs[] = {
		{ "pc", CORE(regs.pc) }, { "lr", CORE(regs.regs[30]) },
		{ "sp_el1", CORE(sp_el1) }, { "pstate", CORE(regs.pstate) },
		{ "esr_el1", ESR_EL1 }, { "far_el1", FAR_EL1 },
		{ "sctlr_el1", SCTLR_EL1 }, { "x0", CORE(regs.regs[0]) },
	};
	size_t n = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(regs) && n < size; i++) {
		uint64_t value;

		if (arm64_reg_get(cpu->fd, regs[i].id, &value) == 0)
			n += (size_t)snprintf(buf + n, size - n, "%s%s %#llx",
					      n ? " " : "", regs[i].name,
					      (unsigned long long)value);
	}
}
