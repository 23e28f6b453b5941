/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Field tables of the vCPU and of the interrupt controllers. */
#include <errno.h>
#include <stddef.h>

#include "arch/x86/x86.h"

/* KVM's scalars are unsigned long long where ours are unsigned long. */
#define F(s, m, ...)							\
	{ .name = #m, .kind = STATE_UINT, .offset = offsetof(s, m),	\
	  .size = sizeof(((s *)0)->m), .count = 1, __VA_ARGS__ }

static const struct state_table regs_table = {
	.name = "kvm_regs",
	.doc = "General registers.",
	.size = sizeof(struct kvm_regs),
	STATE_FIELDS(
		F(struct kvm_regs, rax), F(struct kvm_regs, rbx),
		F(struct kvm_regs, rcx), F(struct kvm_regs, rdx),
		F(struct kvm_regs, rsi), F(struct kvm_regs, rdi),
		F(struct kvm_regs, rsp), F(struct kvm_regs, rbp),
		F(struct kvm_regs, r8), F(struct kvm_regs, r9),
		F(struct kvm_regs, r10), F(struct kvm_regs, r11),
		F(struct kvm_regs, r12), F(struct kvm_regs, r13),
		F(struct kvm_regs, r14), F(struct kvm_regs, r15),
		F(struct kvm_regs, rip), F(struct kvm_regs, rflags)),
};

static const struct state_table segment_table = {
	.name = "kvm_segment",
	.doc = "A segment register with its hidden part.",
	.size = sizeof(struct kvm_segment),
	STATE_FIELDS(
		F(struct kvm_segment, base), F(struct kvm_segment, limit),
		F(struct kvm_segment, selector),
		F(struct kvm_segment, type, .max = 15),
		F(struct kvm_segment, present, .max = 1),
		F(struct kvm_segment, dpl, .max = 3),
		F(struct kvm_segment, db, .max = 1),
		F(struct kvm_segment, s, .max = 1),
		F(struct kvm_segment, l, .max = 1),
		F(struct kvm_segment, g, .max = 1),
		F(struct kvm_segment, avl, .max = 1),
		F(struct kvm_segment, unusable, .max = 1)),
};

static const struct state_table dtable_table = {
	.name = "kvm_dtable",
	.doc = "GDTR or IDTR.",
	.size = sizeof(struct kvm_dtable),
	STATE_FIELDS(F(struct kvm_dtable, base), F(struct kvm_dtable, limit)),
};

#define SEG(m) STATE_SUB(struct kvm_sregs2, m, &segment_table)

static const struct state_table sregs_table = {
	.name = "kvm_sregs2",
	.doc = "Segment, control and APIC base registers; PAE page pointers.",
	.size = sizeof(struct kvm_sregs2),
	STATE_FIELDS(
		SEG(cs), SEG(ds), SEG(es), SEG(fs), SEG(gs), SEG(ss), SEG(tr),
		SEG(ldt),
		STATE_SUB(struct kvm_sregs2, gdt, &dtable_table),
		STATE_SUB(struct kvm_sregs2, idt, &dtable_table),
		F(struct kvm_sregs2, cr0), F(struct kvm_sregs2, cr2),
		F(struct kvm_sregs2, cr3), F(struct kvm_sregs2, cr4),
		F(struct kvm_sregs2, cr8), F(struct kvm_sregs2, efer),
		F(struct kvm_sregs2, apic_base), F(struct kvm_sregs2, flags),
		STATE_UINT_ARRAY(struct kvm_sregs2, pdptrs)),
};

static const struct state_table xcr_table = {
	.name = "kvm_xcr",
	.doc = "An extended control register.",
	.size = sizeof(struct kvm_xcr),
	STATE_FIELDS(F(struct kvm_xcr, xcr), F(struct kvm_xcr, value)),
};

static const struct state_table xcrs_table = {
	.name = "kvm_xcrs",
	.doc = "Extended control registers.",
	.size = sizeof(struct kvm_xcrs),
	STATE_FIELDS(F(struct kvm_xcrs, nr_xcrs, .max = KVM_MAX_XCRS),
		     F(struct kvm_xcrs, flags),
		     STATE_SUB_ARRAY(struct kvm_xcrs, xcrs, &xcr_table)),
};

static const struct state_table debugregs_table = {
	.name = "kvm_debugregs",
	.doc = "Debug registers.",
	.size = sizeof(struct kvm_debugregs),
	STATE_FIELDS(STATE_UINT_ARRAY(struct kvm_debugregs, db),
		     F(struct kvm_debugregs, dr6), F(struct kvm_debugregs, dr7),
		     F(struct kvm_debugregs, flags)),
};

static const struct state_table msrs_table = {
	.name = "msrs",
	.doc = "Model-specific registers, number and value side by side.",
	.size = sizeof(struct x86_msrs),
	STATE_FIELDS(
		STATE_UINT_ARRAY_LEN(struct x86_msrs, index, n),
		STATE_UINT_ARRAY_LEN(struct x86_msrs, value, n)),
};

#define E(m, ...) F(struct kvm_vcpu_events, m, __VA_ARGS__)
#define EV(name_, m, ...)						\
	{ .name = name_, .kind = STATE_UINT, .count = 1,		\
	  .offset = offsetof(struct kvm_vcpu_events, m),		\
	  .size = sizeof(((struct kvm_vcpu_events *)0)->m), __VA_ARGS__ }

static const struct state_table events_table = {
	.name = "kvm_vcpu_events",
	.doc = "Exceptions, interrupts, NMIs and SMIs under way.",
	.size = sizeof(struct kvm_vcpu_events),
	STATE_FIELDS(
		EV("exception_injected", exception.injected),
		EV("exception_nr", exception.nr),
		EV("exception_has_error_code", exception.has_error_code),
		EV("exception_pending", exception.pending),
		EV("exception_error_code", exception.error_code),
		EV("interrupt_injected", interrupt.injected),
		EV("interrupt_nr", interrupt.nr),
		EV("interrupt_soft", interrupt.soft),
		EV("interrupt_shadow", interrupt.shadow),
		EV("nmi_injected", nmi.injected),
		EV("nmi_pending", nmi.pending),
		EV("nmi_masked", nmi.masked),
		E(sipi_vector), E(flags),
		EV("smi_smm", smi.smm), EV("smi_pending", smi.pending),
		EV("smi_smm_inside_nmi", smi.smm_inside_nmi),
		EV("smi_latched_init", smi.latched_init),
		EV("triple_fault_pending", triple_fault.pending),
		E(exception_has_payload), E(exception_payload)),
};

static const struct state_table mp_state_table = {
	.name = "kvm_mp_state",
	.doc = "Running, halted, waiting for a start-up interrupt.",
	.size = sizeof(struct kvm_mp_state),
	STATE_FIELDS(F(struct kvm_mp_state, mp_state, .max = 10)),
};

/* KVM_SET_XSAVE reads as much as this host's area has, whatever came. */
static int vcpu_validate(const void *obj, struct error *err)
{
	const struct x86_vcpu_state *s = obj;

	if (s->xsave_len < 4096)
		return error_set(err, EINVAL, "xsave has %u bytes, at least 4096 expected",
				 s->xsave_len);
	return 0;
}

const struct state_table arch_vcpu_table = {
	.name = "x86_vcpu",
	.doc = "One vCPU; rows are restored in the order of arch/x86/vcpu_rows.c.",
	.size = sizeof(struct x86_vcpu_state),
	STATE_VISIBLE(struct x86_vcpu_state, mp_state, events),
	STATE_FIELDS(
		STATE_SUB(struct x86_vcpu_state, mp_state, &mp_state_table),
		STATE_SUB(struct x86_vcpu_state, regs, &regs_table),
		STATE_SUB(struct x86_vcpu_state, sregs, &sregs_table),
		STATE_RAW_LEN(struct x86_vcpu_state, xsave, xsave_len,
			      .doc = "XSAVE area, Intel SDM 1, 13.4"),
		STATE_SUB(struct x86_vcpu_state, xcrs, &xcrs_table),
		STATE_SUB(struct x86_vcpu_state, debugregs, &debugregs_table),
		STATE_RAW(struct x86_vcpu_state, lapic,
			  .doc = "local APIC register page, SDM 3A, 11.4.1"),
		STATE_U32(struct x86_vcpu_state, tsc_khz,
			  .doc = "TSC frequency"),
		STATE_SUB(struct x86_vcpu_state, msrs, &msrs_table),
		STATE_SUB(struct x86_vcpu_state, events, &events_table)),
	.validate = vcpu_validate,
};

#define PIT(m) F(struct kvm_pit_channel_state, m)

static const struct state_table pit_channel_table = {
	.name = "kvm_pit_channel",
	.doc = "One counter of the 8254. KVM starts the count anew on arrival.",
	.size = sizeof(struct kvm_pit_channel_state),
	STATE_FIELDS(PIT(count), PIT(latched_count), PIT(count_latched),
		     PIT(status_latched), PIT(status), PIT(read_state),
		     PIT(write_state), PIT(write_latch), PIT(rw_mode),
		     PIT(mode), PIT(bcd), PIT(gate)),
};

static const struct state_table pit_table = {
	.name = "kvm_pit",
	.doc = "8254 interval timer.",
	.size = sizeof(struct kvm_pit_state2),
	STATE_FIELDS(STATE_SUB_ARRAY(struct kvm_pit_state2, channels,
				     &pit_channel_table),
		     F(struct kvm_pit_state2, flags)),
};

#define PIC(m) F(struct kvm_pic_state, m)

static const struct state_table pic_table = {
	.name = "kvm_pic",
	.doc = "8259A interrupt controller.",
	.size = sizeof(struct kvm_pic_state),
	STATE_FIELDS(PIC(last_irr), PIC(irr), PIC(imr), PIC(isr),
		     PIC(priority_add), PIC(irq_base), PIC(read_reg_select),
		     PIC(poll), PIC(special_mask), PIC(init_state),
		     PIC(auto_eoi), PIC(rotate_on_auto_eoi),
		     PIC(special_fully_nested_mode), PIC(init4), PIC(elcr),
		     PIC(elcr_mask)),
};

static const struct state_table redirect_table = {
	.name = "ioapic_redirect",
	.doc = "A redirection table entry.",
	.size = sizeof(((struct kvm_ioapic_state *)0)->redirtbl[0]),
	STATE_FIELDS({ .name = "bits", .kind = STATE_UINT, .size = 8,
		       .count = 1, .offset = 0 }),
};

static const struct state_table ioapic_table = {
	.name = "kvm_ioapic",
	.doc = "I/O APIC.",
	.size = sizeof(struct kvm_ioapic_state),
	STATE_FIELDS(F(struct kvm_ioapic_state, base_address),
		     F(struct kvm_ioapic_state, ioregsel),
		     F(struct kvm_ioapic_state, id),
		     F(struct kvm_ioapic_state, irr),
		     STATE_SUB_ARRAY(struct kvm_ioapic_state, redirtbl,
				     &redirect_table)),
};

const struct state_table arch_vm_table = {
	.name = "x86_vm",
	.doc = "Interrupt controllers, timer, paravirtual clock.",
	.size = sizeof(struct x86_vm_state),
	STATE_VISIBLE(struct x86_vm_state, clock, ioapic),
	STATE_FIELDS(
		STATE_U64(struct x86_vm_state, clock, .doc = "kvmclock, ns"),
		STATE_SUB(struct x86_vm_state, pit, &pit_table),
		STATE_SUB_ARRAY(struct x86_vm_state, pic, &pic_table,
				.doc = "master, slave"),
		STATE_SUB(struct x86_vm_state, ioapic, &ioapic_table)),
};
