/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM-wide part: interrupt controllers, PIT, kvmclock. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/x86.h"
#include "vmm/base/util.h"
#include "vmm/tree.h"

#define MSR_TSC 0x10
#define MSR_TSC_DEADLINE 0x6e0

static int create_irqchip(struct arch_vm *vm, struct error *err)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity = X86_IDENTITY_MAP;

	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, X86_TSS_ADDR) < 0)
		return error_set(err, errno, "KVM_SET_TSS_ADDR: %s",
				 strerror(errno));
	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		log_debug(vm->log, "KVM_SET_IDENTITY_MAP_ADDR: %s",
			  strerror(errno));
	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return error_set(err, errno, "KVM_CREATE_IRQCHIP: %s",
				 strerror(errno));
	if (ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return error_set(err, errno, "KVM_CREATE_PIT2: %s",
				 strerror(errno));
	return 0;
}

int arch_vm_create(struct arch_vm **out, int kvm_fd, int vm_fd,
		   const void *tree, const struct log *log, struct error *err)
{
	struct arch_vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return error_set(err, ENOMEM, "no memory for a VM");
	*vm = (struct arch_vm){
		.log = log, .tree = tree, .kvm_fd = kvm_fd, .vm_fd = vm_fd,
		.ncpus = tree_cpus(tree),
	};
	vm->cpu = calloc(vm->ncpus, sizeof(struct arch_vcpu *));
	ret = vm->cpu ? create_irqchip(vm, err) :
			error_set(err, ENOMEM, "no memory for a VM");
	if (!ret)
		ret = arch_vm_get(vm, err);
	if (ret) {
		arch_vm_destroy(vm);
		return ret;
	}
	vm->power_on = vm->state;
	*out = vm;
	return 0;
}

void arch_vm_destroy(struct arch_vm *vm)
{
	if (!vm)
		return;
	free(vm->cpu);
	free(vm);
}

void *arch_vm_state(struct arch_vm *vm)
{
	return &vm->state;
}

static int get_chip(struct arch_vm *vm, uint32_t id, void *out, size_t size,
		    struct error *err)
{
	struct kvm_irqchip chip = { .chip_id = id };

	if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &chip) < 0)
		return error_set(err, errno, "KVM_GET_IRQCHIP %u: %s", id,
				 strerror(errno));
	memcpy(out, &chip.chip, size);
	return 0;
}

static int set_chip(struct arch_vm *vm, uint32_t id, const void *in,
		    size_t size, struct error *err)
{
	struct kvm_irqchip chip = { .chip_id = id };

	memcpy(&chip.chip, in, size);
	if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &chip) < 0)
		return error_set(err, errno, "KVM_SET_IRQCHIP %u: %s", id,
				 strerror(errno));
	return 0;
}

int arch_vm_get(struct arch_vm *vm, struct error *err)
{
	struct kvm_clock_data clock = { 0 };
	struct x86_vm_state *s = &vm->state;
	int ret;

	if (ioctl(vm->vm_fd, KVM_GET_CLOCK, &clock) < 0)
		return error_set(err, errno, "KVM_GET_CLOCK: %s",
				 strerror(errno));
	s->clock = clock.clock;
	if (ioctl(vm->vm_fd, KVM_GET_PIT2, &s->pit) < 0)
		return error_set(err, errno, "KVM_GET_PIT2: %s",
				 strerror(errno));
	ret = get_chip(vm, KVM_IRQCHIP_PIC_MASTER, &s->pic[0],
		       sizeof(s->pic[0]), err);
	if (!ret)
		ret = get_chip(vm, KVM_IRQCHIP_PIC_SLAVE, &s->pic[1],
			       sizeof(s->pic[1]), err);
	if (!ret)
		ret = get_chip(vm, KVM_IRQCHIP_IOAPIC, &s->ioapic,
			       sizeof(s->ioapic), err);
	return ret;
}

int arch_vm_put(struct arch_vm *vm, struct error *err)
{
	struct x86_vm_state *s = &vm->state;
	int ret;

	if (ioctl(vm->vm_fd, KVM_SET_PIT2, &s->pit) < 0)
		return error_set(err, errno, "KVM_SET_PIT2: %s",
				 strerror(errno));
	ret = set_chip(vm, KVM_IRQCHIP_PIC_MASTER, &s->pic[0],
		       sizeof(s->pic[0]), err);
	if (!ret)
		ret = set_chip(vm, KVM_IRQCHIP_PIC_SLAVE, &s->pic[1],
			       sizeof(s->pic[1]), err);
	if (!ret)
		ret = set_chip(vm, KVM_IRQCHIP_IOAPIC, &s->ioapic,
			       sizeof(s->ioapic), err);
	return ret;
}

uint32_t arch_irq_line(unsigned int gsi)
{
	return gsi;
}

int arch_vm_reset(struct arch_vm *vm, struct error *err)
{
	vm->state = vm->power_on;
	return arch_vm_put(vm, err);
}

static uint64_t *saved_msr(struct arch_vcpu *cpu, uint32_t index)
{
	struct x86_msrs *m = &cpu->state.msrs;

	for (uint32_t i = 0; i < m->n; i++)
		if (m->index[i] == index)
			return &m->value[i];
	return NULL;
}

/* ns * kHz / 10^6 without overflow: days of nanoseconds fit in 128 bits */
static uint64_t tsc_ticks(uint64_t ns, uint32_t khz)
{
	return (uint64_t)((unsigned __int128)ns * khz / 1000000);
}

/*
 * The TSC goes on by the pause, so that it agrees with kvmclock; the deadline
 * timer is armed after it, because arming compares with it.
 */
static void start_tsc(struct arch_vcpu *cpu, uint64_t elapsed_ns)
{
	const uint64_t *tsc = saved_msr(cpu, MSR_TSC);
	const uint64_t *deadline = saved_msr(cpu, MSR_TSC_DEADLINE);
	uint64_t now;

	if (tsc) {
		now = *tsc + tsc_ticks(elapsed_ns, cpu->state.tsc_khz);
		if (x86_msr_set(cpu->fd, MSR_TSC, now) < 0)
			log_warn(cpu->vm->log, "vCPU %u: this KVM can't set the TSC; the guest sees this host's",
				 cpu->index);
	}
	if (deadline && *deadline)
		x86_msr_set(cpu->fd, MSR_TSC_DEADLINE, *deadline);
}

int arch_clock_start(struct arch_vm *vm, uint64_t elapsed_ns,
		     struct error *err)
{
	struct kvm_clock_data clock = {
		.clock = vm->state.clock + elapsed_ns,
	};

	for (unsigned int i = 0; i < vm->ncpus; i++)
		start_tsc(vm->cpu[i], elapsed_ns);
	if (ioctl(vm->vm_fd, KVM_SET_CLOCK, &clock) < 0)
		return error_set(err, errno, "KVM_SET_CLOCK: %s",
				 strerror(errno));
	return 0;
}
