/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One vCPU: creation, power-on state, exits that are not I/O. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/common.h"
#include "arch/x86/x86.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"

#define CR0_PE 1ull
#define CR0_ET (1ull << 4)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

/* Read everything once: what reset puts back. */
static int remember_power_on(struct arch_vcpu *cpu, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < x86_nrows && !ret; i++)
		ret = x86_rows[i].get(cpu, err);
	cpu->power_on = cpu->state;
	return ret;
}

int arch_vcpu_create(struct arch_vcpu **out, struct arch_vm *vm, int vcpu_fd,
		     struct kvm_run *run, unsigned int index,
		     struct error *err)
{
	struct arch_vcpu *cpu = calloc(1, sizeof(*cpu));
	struct x86_cpuid cpuid;
	int ret;

	if (!cpu)
		return error_set(err, ENOMEM, "no memory for a vCPU");
	*cpu = (struct arch_vcpu){
		.vm = vm, .fd = vcpu_fd, .run = run, .index = index
	};
	*out = cpu;
	vm->cpu[index] = cpu;
	ret = x86_cpuid_from_tree(vm->tree, index, vm->ncpus, &cpuid, err);
	if (ret)
		return ret;
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, &cpuid) < 0)
		return error_set(err, errno, "KVM_SET_CPUID2 with %u leaves: %s",
				 cpuid.head.nent, strerror(errno));
	/* after CPUID: KVM hides MSRs that the guest's CPU hasn't got */
	if (index == 0)
		ret = x86_msrs_probe(cpu, &vm->msrs, err);
	return ret ? ret : remember_power_on(cpu, err);
}

void arch_vcpu_destroy(struct arch_vcpu *cpu)
{
	free(cpu);
}

void *arch_vcpu_state(struct arch_vcpu *cpu)
{
	return &cpu->state;
}

int arch_vcpu_get(struct arch_vcpu *cpu, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < x86_nrows && !ret; i++)
		ret = x86_rows[i].get(cpu, err);
	return ret;
}

int arch_vcpu_put(struct arch_vcpu *cpu, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < x86_nrows && !ret; i++)
		ret = x86_rows[i].put(cpu, err);
	return ret;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code64)
{
	return (struct kvm_segment){
		.base = 0, .limit = 0xffffffff, .selector = selector,
		.type = type, .present = 1, .s = 1, .g = 1,
		.l = code64, .db = !code64,
	};
}

/* Protected mode, flat segments, no paging (PVH start: CR0.PE alone). */
static void enter_protected(struct kvm_sregs2 *s, bool code64)
{
	s->cs = flat(0x10, 0xb, code64);
	s->ds = s->es = s->ss = s->fs = s->gs = flat(0x18, 0x3, false);
	s->tr = (struct kvm_segment){
		.limit = 0x67, .type = 0xb, .present = 1, .selector = 0x20
	};
	s->ldt = (struct kvm_segment){ .unusable = 1 };
	s->gdt.base = X86_GDT;
	s->gdt.limit = 5 * 8 - 1;
	s->idt.limit = 0;
	s->cr0 = CR0_PE | CR0_ET;
}

/* Linux's 64-bit entry: identity-mapped, interrupts off (boot protocol). */
static void enter_long(struct kvm_sregs2 *s)
{
	enter_protected(s, true);
	s->cr3 = X86_PAGE_TABLES;
	s->cr4 |= CR4_PAE;
	s->cr0 |= CR0_PG;
	s->efer |= EFER_LME | EFER_LMA;
}

int arch_vcpu_reset(struct arch_vcpu *cpu, struct error *err)
{
	const struct x86_entry *entry = &cpu->vm->entry;
	struct x86_vcpu_state *s = &cpu->state;

	cpu->state = cpu->power_on;
	if (cpu->index == 0) {
		if (entry->mode == X86_ENTRY_LONG)
			enter_long(&s->sregs);
		else
			enter_protected(&s->sregs, false);
		memset(&s->regs, 0, sizeof(s->regs));
		s->regs.rip = entry->rip;
		s->regs.rbx = entry->rbx;
		s->regs.rsi = entry->rsi;
		s->regs.rflags = 2;
	}
	return arch_vcpu_put(cpu, err);
}

void arch_vcpu_resume(struct arch_vcpu *cpu)
{
	/* spares the guest a soft-lockup warning; EINVAL if it has no clock */
	(void)ioctl(cpu->fd, KVM_KVMCLOCK_CTRL, 0);
}

static enum arch_exit internal_error(struct arch_vcpu *cpu, struct error *err)
{
	const struct kvm_run *run = cpu->run;
	char data[200] = "";
	size_t n = 0;

	for (uint32_t i = 0; i < MIN(run->internal.ndata, 8u); i++)
		n += (size_t)snprintf(data + n, sizeof(data) - n, " %#llx",
				      run->internal.data[i]);
	error_set(err, EIO, "KVM can't emulate an instruction: internal error %u, data%s",
		  run->internal.suberror, data);
	return ARCH_EXIT_ERROR;
}

enum arch_exit arch_vcpu_exit(struct arch_vcpu *cpu, struct error *err)
{
	const struct kvm_run *run = cpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:		/* triple fault */
		return ARCH_EXIT_RESET;
	case KVM_EXIT_INTERNAL_ERROR:
		return internal_error(cpu, err);
	case KVM_EXIT_HLT:		/* only without an irqchip */
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return ARCH_EXIT_CONTINUE;
	default:
		return arch_exit_common(run, err);
	}
}

/* The bytes at the instruction pointer, through the guest's page tables. */
static size_t code_bytes(struct arch_vcpu *cpu, struct memory *mem,
			 uint64_t linear, char *buf, size_t size)
{
	struct kvm_translation t = { .linear_address = linear };
	const uint8_t *p;
	size_t n = 0;

	if (ioctl(cpu->fd, KVM_TRANSLATE, &t) < 0 || !t.valid)
		return (size_t)snprintf(buf, size, " (not mapped)");
	p = memory_ptr(mem, t.physical_address, 1);
	for (unsigned int i = 0; i < 16; i++) {
		if (!p || !memory_ptr(mem, t.physical_address + i, 1))
			break;
		n += (size_t)snprintf(buf + n, size - n, " %02x", p[i]);
	}
	return n;
}

void arch_vcpu_describe(struct arch_vcpu *cpu, struct memory *mem, char *buf,
			size_t size)
{
	struct kvm_regs r;
	struct kvm_sregs s;
	size_t n;

	if (ioctl(cpu->fd, KVM_GET_REGS, &r) < 0 ||
	    ioctl(cpu->fd, KVM_GET_SREGS, &s) < 0) {
		snprintf(buf, size, "registers can't be read: %s",
			 strerror(errno));
		return;
	}
	n = (size_t)snprintf(buf, size,
			     "rip %#llx rsp %#llx rflags %#llx cr0 %#llx cr2 %#llx cr3 %#llx cr4 %#llx efer %#llx cs %#x rax %#llx code",
			     r.rip, r.rsp, r.rflags, s.cr0, s.cr2, s.cr3, s.cr4,
			     s.efer, s.cs.selector, r.rax);
	if (n < size)
		code_bytes(cpu, mem, s.cs.base + r.rip, buf + n, size - n);
}
