/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPU state in KVM's order. Saving and loading walk the same rows downwards;
 * each row says why it stands where it stands. Registers are those that
 * KVM_GET_REG_LIST names, put back class by class.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/util.h"

static int failed(const char *name, struct error *err)
{
	return error_set(err, errno, "%s: %s", name, strerror(errno));
}

unsigned int arm64_reg_bytes(uint64_t id)
{
	return 1u << (id >> KVM_REG_SIZE_SHIFT & 15);
}

int arm64_reg_get(int vcpu_fd, uint64_t id, uint64_t *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)value };

	*value = 0;
	return ioctl(vcpu_fd, KVM_GET_ONE_REG, &reg) < 0 ? -errno : 0;
}

int arm64_reg_set(int vcpu_fd, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(vcpu_fd, KVM_SET_ONE_REG, &reg) < 0 ? -errno : 0;
}

struct kvm_reg_list *arm64_reg_list(int vcpu_fd, struct error *err)
{
	struct kvm_reg_list probe = { 0 }, *list;

	/* E2BIG tells how many there are */
	if (ioctl(vcpu_fd, KVM_GET_REG_LIST, &probe) < 0 && errno != E2BIG) {
		failed("KVM_GET_REG_LIST", err);
		return NULL;
	}
	list = calloc(1, sizeof(*list) + probe.n * sizeof(list->reg[0]));
	if (!list) {
		error_set(err, ENOMEM, "no memory for a list of registers");
		return NULL;
	}
	list->n = probe.n;
	if (ioctl(vcpu_fd, KVM_GET_REG_LIST, list) < 0) {
		failed("KVM_GET_REG_LIST", err);
		free(list);
		return NULL;
	}
	return list;
}

enum reg_class {
	REG_IDENTITY = 1,	/* of the tree, or of the cache hierarchy */
	REG_FIRMWARE,		/* KVM's PSCI and SMCCC */
	REG_COUNTER,		/* set by arch_clock_start() */
	REG_TIMER,
	REG_OTHER,
};

static enum reg_class class_of(uint64_t id)
{
	uint64_t coproc = id & KVM_REG_ARM_COPROC_MASK;

	if (id == KVM_REG_ARM_TIMER_CNT || id == KVM_REG_ARM_PTIMER_CNT)
		return REG_COUNTER;
	if (id == KVM_REG_ARM_TIMER_CTL || id == KVM_REG_ARM_TIMER_CVAL ||
	    id == KVM_REG_ARM_PTIMER_CTL || id == KVM_REG_ARM_PTIMER_CVAL)
		return REG_TIMER;
	if (coproc == KVM_REG_ARM_FW || coproc == KVM_REG_ARM_FW_FEAT_BMAP)
		return REG_FIRMWARE;
	if (arm64_reg_is_identity(id) || coproc == KVM_REG_ARM_DEMUX ||
	    id == KVM_REG_ARM64_SVE_VLS)
		return REG_IDENTITY;
	return REG_OTHER;
}

static int get_wide(struct arch_vcpu *cpu, uint64_t id, struct error *err)
{
	struct arm64_regs *r = &cpu->state.regs;
	unsigned int len = arm64_reg_bytes(id);
	struct kvm_one_reg reg = {
		.id = id, .addr = (uintptr_t)(r->wide + r->wide_len)
	};

	if (r->nwide == ARM64_MAX_WIDE ||
	    r->wide_len + len > sizeof(r->wide))
		return error_set(err, E2BIG, "more than %d vector registers",
				 ARM64_MAX_WIDE);
	if (ioctl(cpu->fd, KVM_GET_ONE_REG, &reg) < 0)
		return failed("KVM_GET_ONE_REG", err);
	r->wide_id[r->nwide++] = id;
	r->wide_len += len;
	return 0;
}

static int get_reg(struct arch_vcpu *cpu, uint64_t id, struct error *err)
{
	struct arm64_regs *r = &cpu->state.regs;
	int ret;

	if (class_of(id) == REG_IDENTITY)
		return 0;
	if (arm64_reg_bytes(id) > 8)
		return get_wide(cpu, id, err);
	if (r->n == ARM64_MAX_REGS)
		return error_set(err, E2BIG, "more than %d registers",
				 ARM64_MAX_REGS);
	ret = arm64_reg_get(cpu->fd, id, &r->value[r->n]);
	if (ret)
		return error_set(err, -ret, "register %#llx: %s",
				 (unsigned long long)id, strerror(-ret));
	r->id[r->n++] = id;
	return 0;
}

static int regs_get(struct arch_vcpu *cpu, struct error *err)
{
	struct kvm_reg_list *list = arm64_reg_list(cpu->fd, err);
	struct arm64_regs *r = &cpu->state.regs;
	int ret = 0;

	if (!list)
		return -err->code;
	r->n = r->nwide = r->wide_len = 0;
	for (uint64_t i = 0; i < list->n && !ret; i++)
		ret = get_reg(cpu, list->reg[i], err);
	free(list);
	return ret;
}

static int put_class(struct arch_vcpu *cpu, enum reg_class class,
		     struct error *err)
{
	const struct arm64_regs *r = &cpu->state.regs;

	for (uint32_t i = 0; i < r->n; i++) {
		int ret;

		if (class_of(r->id[i]) != class)
			continue;
		ret = arm64_reg_set(cpu->fd, r->id[i], r->value[i]);
		/* a register that this KVM lacks and the guest never used */
		if (ret == -ENOENT && !r->value[i])
			continue;
		if (ret)
			return error_set(err, ENOTSUP, "this host's KVM refuses register %#llx = %#llx: %s",
					 (unsigned long long)r->id[i],
					 (unsigned long long)r->value[i],
					 strerror(-ret));
	}
	return 0;
}

static int put_wide(struct arch_vcpu *cpu, struct error *err)
{
	const struct arm64_regs *r = &cpu->state.regs;
	const uint8_t *p = r->wide;

	for (uint32_t i = 0; i < r->nwide; i++) {
		struct kvm_one_reg reg = {
			.id = r->wide_id[i], .addr = (uintptr_t)p
		};

		if (ioctl(cpu->fd, KVM_SET_ONE_REG, &reg) < 0)
			return error_set(err, ENOTSUP, "this host's KVM refuses vector register %#llx: %s",
					 (unsigned long long)r->wide_id[i],
					 strerror(errno));
		p += arm64_reg_bytes(r->wide_id[i]);
	}
	return 0;
}

static int none(struct arch_vcpu *cpu, struct error *err)
{
	return 0;
}

static int firmware_put(struct arch_vcpu *cpu, struct error *err)
{
	return put_class(cpu, REG_FIRMWARE, err);
}

static int regs_put(struct arch_vcpu *cpu, struct error *err)
{
	return put_class(cpu, REG_OTHER, err);
}

static int timer_put(struct arch_vcpu *cpu, struct error *err)
{
	return put_class(cpu, REG_TIMER, err);
}

#define SIMPLE_ROW(fn, GET, SET, member)				\
static int fn##_get(struct arch_vcpu *cpu, struct error *err)		\
{									\
	return ioctl(cpu->fd, GET, &cpu->state.member) < 0 ?		\
	       failed(#GET, err) : 0;					\
}									\
									\
static int fn##_put(struct arch_vcpu *cpu, struct error *err)		\
{									\
	return ioctl(cpu->fd, SET, &cpu->state.member) < 0 ?		\
	       failed(#SET, err) : 0;					\
}

SIMPLE_ROW(mp_state, KVM_GET_MP_STATE, KVM_SET_MP_STATE, mp_state)
SIMPLE_ROW(events, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events)

const struct arm64_row arm64_rows[] = {
	{ "firmware", regs_get, firmware_put,
	  "first: versions of PSCI and SMCCC are fixed once a vCPU runs" },
	{ "registers", none, regs_put,
	  "general, system and those of the PMU, in KVM's order" },
	{ "vectors", none, put_wide,
	  "after the vector lengths, which creation set: they give the width" },
	{ "timers", none, timer_put,
	  "before the counters, which arch_clock_start() sets: none fires" },
	{ "events", events_get, events_put,
	  "after all registers: nothing may drop them any more" },
	{ "gicr", arm64_gicr_get, arm64_gicr_put,
	  "in the order of the vCPUs, after the distributor of the VM" },
	{ "icc", arm64_icc_get, arm64_icc_put,
	  "after its redistributor: active priorities belong to interrupts" },
	{ "mp_state", mp_state_get, mp_state_put,
	  "last: what is stopped stays so, and loses no register by it" },
};

const unsigned int arm64_nrows = ARRAY_SIZE(arm64_rows);
