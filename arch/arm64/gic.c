/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's GICv3 (Documentation/virt/kvm/devices/arm-vgic-v3.rst). Its registers
 * are read and written while every vCPU stands still; no ITS, since no device
 * here sends messages.
 *
 * Banks of registers are tables in the order in which they are restored. A
 * register of which KVM only sets bits is cleared first, by its twin.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/util.h"

#define PRIVATE 0x10000		/* the redistributor's second frame */
#define DIST(m) offsetof(struct arm64_gicd, m), \
	sizeof(((struct arm64_gicd *)0)->m) / 4
#define REDIST(m) offsetof(struct arm64_gicr, m), \
	sizeof(((struct arm64_gicr *)0)->m) / 4

struct bank {
	uint32_t reg;		/* offset in the frame */
	uint32_t member;	/* offset in our struct, of uint32_t's */
	uint32_t words;
	uint32_t clear;		/* twin that clears bits, or 0 */
};

/* of the distributor, where shared interrupts begin at ID 32 */
static const struct bank dist_banks[] = {
	/* first: it says what the other registers mean */
	{ 0x0008, DIST(iidr), 0 },
	{ 0x0000, DIST(ctlr), 0 },
	{ 0x0010, DIST(statusr), 0 },
	{ 0x0084, DIST(group), 0 },
	{ 0x6100, DIST(router), 0 },
	{ 0x0420, DIST(priority), 0 },
	/* before levels and latches: edge or level decides what they do */
	{ 0x0c08, DIST(config), 0 },
	{ 0x0104, DIST(enable), 0x0184 },
};

static const struct bank dist_latches[] = {
	{ 0x0204, DIST(pending), 0 },
	{ 0x0304, DIST(active), 0x0384 },
};

static const struct bank redist_banks[] = {
	{ 0x0014, REDIST(waker), 0 },
	/* tables before the bit in CTLR that turns them on */
	{ 0x0070, REDIST(propbaser), 0 },
	{ 0x0078, REDIST(pendbaser), 0 },
	{ 0x0000, REDIST(ctlr), 0 },
	{ 0x0010, REDIST(statusr), 0 },
	{ PRIVATE + 0x0080, REDIST(group), 0 },
	{ PRIVATE + 0x0400, REDIST(priority), 0 },
	{ PRIVATE + 0x0c00, REDIST(config), 0 },
	{ PRIVATE + 0x0100, REDIST(enable), PRIVATE + 0x0180 },
};

static const struct bank redist_latches[] = {
	{ PRIVATE + 0x0200, REDIST(pending), 0 },
	{ PRIVATE + 0x0300, REDIST(active), PRIVATE + 0x0380 },
};

/* What an access is aimed at: the VM's device, a group, a vCPU's affinity. */
struct target {
	int fd;
	uint32_t group;
	uint64_t affinity;
};

static int attr_op(const struct target *t, uint64_t attr, void *value,
		   bool set, struct error *err)
{
	struct kvm_device_attr a = {
		.group = t->group,
		.attr = t->affinity << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT | attr,
		.addr = (uintptr_t)value,
	};

	if (ioctl(t->fd, set ? KVM_SET_DEVICE_ATTR : KVM_GET_DEVICE_ATTR,
		  &a) < 0)
		return error_set(err, errno, "GIC: %s group %u, register %#llx: %s",
				 set ? "set" : "get", t->group,
				 (unsigned long long)attr, strerror(errno));
	return 0;
}

static int banks_op(const struct target *t, const struct bank *bank,
		    unsigned int n, char *object, bool set, struct error *err)
{
	uint32_t all = UINT32_MAX;
	int ret = 0;

	for (const struct bank *b = bank; b < bank + n; b++) {
		uint32_t *word = (uint32_t *)(void *)(object + b->member);

		for (uint32_t i = 0; i < b->words && !ret; i++) {
			if (set && b->clear)
				ret = attr_op(t, b->clear + 4 * i, &all, true,
					      err);
			if (!ret)
				ret = attr_op(t, b->reg + 4 * i, &word[i], set,
					      err);
		}
	}
	return ret;
}

/* The levels of the input lines, 32 a word, from interrupt ID @first on. */
static int levels_op(struct target t, uint32_t first, uint32_t *word,
		     unsigned int n, bool set, struct error *err)
{
	uint64_t info = (uint64_t)VGIC_LEVEL_INFO_LINE_LEVEL <<
			KVM_DEV_ARM_VGIC_LINE_LEVEL_INFO_SHIFT;
	int ret = 0;

	t.group = KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO;
	for (unsigned int i = 0; i < n && !ret; i++)
		ret = attr_op(&t, info | (first + 32 * i), &word[i], set, err);
	return ret;
}

static int gicd_op(struct arch_vm *vm, bool set, struct error *err)
{
	struct arm64_gicd *d = &vm->state.gicd;
	struct target t = { vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, 0 };
	int ret = banks_op(&t, dist_banks, ARRAY_SIZE(dist_banks), (char *)d,
			   set, err);

	if (!ret)
		ret = levels_op(t, ARM64_FIRST_SPI, d->level,
				ARRAY_SIZE(d->level), set, err);
	if (!ret)
		ret = banks_op(&t, dist_latches, ARRAY_SIZE(dist_latches),
			       (char *)d, set, err);
	return ret;
}

static int ctrl(int gic_fd, uint64_t what, const char *name, struct error *err)
{
	struct kvm_device_attr a = {
		.group = KVM_DEV_ARM_VGIC_GRP_CTRL, .attr = what
	};

	if (ioctl(gic_fd, KVM_SET_DEVICE_ATTR, &a) < 0)
		return error_set(err, errno, "GIC: %s: %s", name,
				 strerror(errno));
	return 0;
}

/* Pending tables are guest memory: the caller sends what this dirties. */
int arm64_gicd_get(struct arch_vm *vm, struct error *err)
{
	int ret = ctrl(vm->gic_fd, KVM_DEV_ARM_VGIC_SAVE_PENDING_TABLES,
		       "SAVE_PENDING_TABLES", err);

	return ret ? ret : gicd_op(vm, false, err);
}

int arm64_gicd_put(struct arch_vm *vm, struct error *err)
{
	return gicd_op(vm, true, err);
}

static int gicr_op(struct arch_vcpu *cpu, bool set, struct error *err)
{
	struct arm64_gicr *r = &cpu->state.gicr;
	struct target t = { cpu->vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_REDIST_REGS,
			    arm64_mpidr(cpu->index) };
	int ret = banks_op(&t, redist_banks, ARRAY_SIZE(redist_banks),
			   (char *)r, set, err);

	if (!ret)
		ret = levels_op(t, 0, r->level, 1, set, err);
	if (!ret)
		ret = banks_op(&t, redist_latches, ARRAY_SIZE(redist_latches),
			       (char *)r, set, err);
	return ret;
}

int arm64_gicr_get(struct arch_vcpu *cpu, struct error *err)
{
	return gicr_op(cpu, false, err);
}

int arm64_gicr_put(struct arch_vcpu *cpu, struct error *err)
{
	return gicr_op(cpu, true, err);
}

#define ICC(crm, op2) \
	(ARM64_SYS_REG(3, 0, 12, crm, op2) & KVM_DEV_ARM_VGIC_SYSREG_INSTR_MASK)
#define ICC_PMR (ARM64_SYS_REG(3, 0, 4, 6, 0) & \
		 KVM_DEV_ARM_VGIC_SYSREG_INSTR_MASK)

/* Priority bits (of CTLR) decide how many active-priority words there are. */
static unsigned int active_words(const struct arm64_icc *icc)
{
	unsigned int bits = (unsigned int)(icc->ctlr >> 8 & 7) + 1;

	return bits >= 7 ? 4 : bits == 6 ? 2 : 1;
}

static int icc_op(struct arch_vcpu *cpu, bool set, struct error *err)
{
	struct arm64_icc *icc = &cpu->state.icc;
	struct target t = { cpu->vm->gic_fd, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS,
			    arm64_mpidr(cpu->index) };
	const struct {
		uint64_t reg;
		uint64_t *value;
	} regs[] = {
		{ ICC(12, 5), &icc->sre },	/* system registers on, first */
		{ ICC(12, 4), &icc->ctlr },	/* one or two binary points */
		{ ICC_PMR, &icc->pmr },
		{ ICC(8, 3), &icc->bpr0 },
		{ ICC(12, 3), &icc->bpr1 },
		{ ICC(12, 6), &icc->igrpen0 },
		{ ICC(12, 7), &icc->igrpen1 },
	};
	int ret = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(regs) && !ret; i++)
		ret = attr_op(&t, regs[i].reg, regs[i].value, set, err);
	for (unsigned int i = 0; i < active_words(icc) && !ret; i++)
		ret = attr_op(&t, ICC(8, 4 + i), &icc->ap0r[i], set, err);
	for (unsigned int i = 0; i < active_words(icc) && !ret; i++)
		ret = attr_op(&t, ICC(9, i), &icc->ap1r[i], set, err);
	return ret;
}

int arm64_icc_get(struct arch_vcpu *cpu, struct error *err)
{
	return icc_op(cpu, false, err);
}

int arm64_icc_put(struct arch_vcpu *cpu, struct error *err)
{
	return icc_op(cpu, true, err);
}

int arm64_gic_create(struct arch_vm *vm, struct error *err)
{
	struct kvm_create_device dev = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	uint64_t dist = ARM64_GICD;
	/* count, base, flags, index: arm-vgic-v3.rst */
	uint64_t redist = (uint64_t)vm->ncpus << 52 | ARM64_GICR;
	uint32_t irqs = ARM64_FIRST_SPI + ARM64_SPIS;
	struct target t = { .group = KVM_DEV_ARM_VGIC_GRP_ADDR };
	int ret;

	if (ioctl(vm->vm_fd, KVM_CREATE_DEVICE, &dev) < 0)
		return error_set(err, errno, "this host's KVM has no GICv3: %s",
				 strerror(errno));
	t.fd = vm->gic_fd = (int)dev.fd;
	ret = attr_op(&t, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist, true, err);
	if (!ret)
		ret = attr_op(&t, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION, &redist,
			      true, err);
	t.group = KVM_DEV_ARM_VGIC_GRP_NR_IRQS;
	return ret ? ret : attr_op(&t, 0, &irqs, true, err);
}

int arm64_gic_init(struct arch_vm *vm, struct error *err)
{
	return ctrl(vm->gic_fd, KVM_DEV_ARM_VGIC_CTRL_INIT, "CTRL_INIT", err);
}
