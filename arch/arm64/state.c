/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Field tables of the vCPU and of the interrupt controller. */
#include <errno.h>
#include <stddef.h>

#include "arch/arm64/arm64.h"

/* KVM's scalars are unsigned long long where ours are unsigned long. */
#define F(s, m, ...)							\
	{ .name = #m, .kind = STATE_UINT, .offset = offsetof(s, m),	\
	  .size = sizeof(((s *)0)->m), .count = 1, __VA_ARGS__ }

static int regs_validate(const void *obj, struct error *err)
{
	const struct arm64_regs *r = obj;
	uint64_t len = 0;

	for (uint32_t i = 0; i < r->n; i++)
		if (arm64_reg_bytes(r->id[i]) > 8)
			return error_set(err, EINVAL, "register %#llx has more than 64 bits",
					 (unsigned long long)r->id[i]);
	for (uint32_t i = 0; i < r->nwide; i++)
		len += arm64_reg_bytes(r->wide_id[i]);
	if (len != r->wide_len)
		return error_set(err, EINVAL, "vector registers have %u bytes, expected %llu",
				 r->wide_len, (unsigned long long)len);
	return 0;
}

static const struct state_table regs_table = {
	.name = "registers",
	.doc = "Registers by KVM's number, number and value side by side.",
	.size = sizeof(struct arm64_regs),
	STATE_FIELDS(
		STATE_UINT_ARRAY_LEN(struct arm64_regs, id, n),
		STATE_UINT_ARRAY_LEN(struct arm64_regs, value, n),
		STATE_UINT_ARRAY_LEN(struct arm64_regs, wide_id, nwide,
				     .doc = "vector registers"),
		STATE_RAW_LEN(struct arm64_regs, wide, wide_len,
			      .doc = "their values, one after the other")),
	.validate = regs_validate,
};

#define EV(name_, m, ...)						\
	{ .name = name_, .kind = STATE_UINT, .count = 1,		\
	  .offset = offsetof(struct kvm_vcpu_events, m),		\
	  .size = sizeof(((struct kvm_vcpu_events *)0)->m), __VA_ARGS__ }

static const struct state_table events_table = {
	.name = "kvm_vcpu_events",
	.doc = "Exceptions under way.",
	.size = sizeof(struct kvm_vcpu_events),
	STATE_FIELDS(
		EV("serror_pending", exception.serror_pending, .max = 1),
		EV("serror_has_esr", exception.serror_has_esr, .max = 1),
		EV("ext_dabt_pending", exception.ext_dabt_pending, .max = 1),
		EV("serror_esr", exception.serror_esr)),
};

static const struct state_table mp_state_table = {
	.name = "kvm_mp_state",
	.doc = "Running, stopped (PSCI), suspended.",
	.size = sizeof(struct kvm_mp_state),
	STATE_FIELDS(F(struct kvm_mp_state, mp_state, .max = 10)),
};

#define D32(m, ...) STATE_U32(struct arm64_gicd, m, __VA_ARGS__)
#define DARRAY(m, ...) STATE_UINT_ARRAY(struct arm64_gicd, m, __VA_ARGS__)

const struct state_table arm64_gicd_table = {
	.name = "gicd",
	.doc = "GICv3 distributor: shared interrupts, from ID 32 on.",
	.size = sizeof(struct arm64_gicd),
	STATE_VISIBLE(struct arm64_gicd, iidr, active),
	STATE_FIELDS(
		D32(iidr), D32(ctlr), D32(statusr), DARRAY(group),
		DARRAY(enable), DARRAY(priority), DARRAY(config),
		DARRAY(router, .doc = "low and high words"),
		DARRAY(level, .doc = "of the input lines"),
		DARRAY(pending, .doc = "latches"), DARRAY(active)),
};

#define R32(m, ...) STATE_U32(struct arm64_gicr, m, __VA_ARGS__)
#define RARRAY(m, ...) STATE_UINT_ARRAY(struct arm64_gicr, m, __VA_ARGS__)

const struct state_table arm64_gicr_table = {
	.name = "gicr",
	.doc = "GICv3 redistributor: a vCPU's private interrupts.",
	.size = sizeof(struct arm64_gicr),
	STATE_VISIBLE(struct arm64_gicr, ctlr, active),
	STATE_FIELDS(
		R32(ctlr), R32(statusr), R32(waker), RARRAY(propbaser),
		RARRAY(pendbaser), RARRAY(group), RARRAY(enable),
		RARRAY(priority), RARRAY(config),
		RARRAY(level, .doc = "of the input lines"),
		RARRAY(pending, .doc = "latches"), RARRAY(active)),
};

#define C64(m) STATE_U64(struct arm64_icc, m)
#define CARRAY(m) STATE_UINT_ARRAY(struct arm64_icc, m)

const struct state_table arm64_icc_table = {
	.name = "icc",
	.doc = "GICv3 CPU interface, ICC_*_EL1.",
	.size = sizeof(struct arm64_icc),
	STATE_VISIBLE(struct arm64_icc, sre, ap1r),
	STATE_FIELDS(C64(sre), C64(ctlr), C64(pmr), C64(bpr0), C64(bpr1),
		     C64(igrpen0), C64(igrpen1), CARRAY(ap0r), CARRAY(ap1r)),
};

const struct state_table arch_vcpu_table = {
	.name = "arm64_vcpu",
	.doc = "One vCPU; rows are restored in the order of arch/arm64/vcpu_rows.c.",
	.size = sizeof(struct arm64_vcpu_state),
	STATE_VISIBLE(struct arm64_vcpu_state, regs, icc),
	STATE_FIELDS(
		STATE_SUB(struct arm64_vcpu_state, regs, &regs_table),
		STATE_SUB(struct arm64_vcpu_state, events, &events_table),
		STATE_SUB(struct arm64_vcpu_state, mp_state, &mp_state_table),
		STATE_SUB(struct arm64_vcpu_state, gicr, &arm64_gicr_table),
		STATE_SUB(struct arm64_vcpu_state, icc, &arm64_icc_table)),
};

const struct state_table arch_vm_table = {
	.name = "arm64_vm",
	.doc = "Counter and interrupt distributor.",
	.size = sizeof(struct arm64_vm_state),
	STATE_VISIBLE(struct arm64_vm_state, counter, gicd),
	STATE_FIELDS(
		STATE_U64(struct arm64_vm_state, counter,
			  .doc = "virtual counter, ticks"),
		STATE_SUB(struct arm64_vm_state, gicd, &arm64_gicd_table)),
};
