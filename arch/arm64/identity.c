/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's processor is: KVM's optional features, SVE vector lengths and
 * the ID registers. Asked of a vCPU made for that, kept in the machine tree,
 * and given to every vCPU made from it.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"
#include "vmm/tree.h"

#define ID_REG(op1, crm, op2) ARM64_SYS_REG(3, op1, 0, crm, op2)
#define MPIDR ID_REG(0, 0, 5)
#define CTR ID_REG(3, 0, 1)

/* (3, 0, 0, 0..7, *) and (3, 1, 0, 0, *), and the cache type. */
bool arm64_reg_is_identity(uint64_t id)
{
	const uint64_t low = KVM_REG_ARM64_SYSREG_CRM_MASK |
			     KVM_REG_ARM64_SYSREG_OP2_MASK;

	if (id == MPIDR)
		return false;
	return (id & ~low) == ID_REG(0, 0, 0) ||
	       (id & ~low) == ID_REG(1, 0, 0) || id == CTR;
}

/* Readable by processes too (Linux sets CNTKCTL_EL1 so). */
static uint32_t counter_hz(void)
{
	uint64_t hz;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
	return (uint32_t)hz;
}

static bool has_cap(int vm_fd, int cap)
{
	return ioctl(vm_fd, KVM_CHECK_EXTENSION, cap) > 0;
}

/* All that KVM offers, but for the PMU: its counters stop while a VM moves. */
static uint32_t host_features(int vm_fd)
{
	uint32_t f = 1u << KVM_ARM_VCPU_PSCI_0_2;

	if (has_cap(vm_fd, KVM_CAP_ARM_SVE))
		f |= 1u << KVM_ARM_VCPU_SVE;
	if (has_cap(vm_fd, KVM_CAP_ARM_PTRAUTH_ADDRESS) &&
	    has_cap(vm_fd, KVM_CAP_ARM_PTRAUTH_GENERIC))
		f |= 1u << KVM_ARM_VCPU_PTRAUTH_ADDRESS |
		     1u << KVM_ARM_VCPU_PTRAUTH_GENERIC;
	return f;
}

static int set_vls(int vcpu_fd, const uint64_t *vls, struct error *err)
{
	struct kvm_one_reg reg = {
		.id = KVM_REG_ARM64_SVE_VLS, .addr = (uintptr_t)vls
	};
	int feature = KVM_ARM_VCPU_SVE;

	/* never after finalize, which all other SVE registers need first */
	if (vls[0] && ioctl(vcpu_fd, KVM_SET_ONE_REG, &reg) < 0)
		return error_set(err, ENOTSUP, "this host's processor lacks SVE vector lengths that the guest was promised: %s",
				 strerror(errno));
	if (ioctl(vcpu_fd, KVM_ARM_VCPU_FINALIZE, &feature) < 0)
		return error_set(err, errno, "KVM_ARM_VCPU_FINALIZE: %s",
				 strerror(errno));
	return 0;
}

/* Older KVMs take only the value that they have; then nothing is to be done. */
static int set_id_registers(int vcpu_fd, const struct arm64_identity *id,
			    struct error *err)
{
	char name[32];

	for (uint32_t i = 0; i < id->n; i++) {
		uint64_t have;

		if (arm64_reg_get(vcpu_fd, id->id[i], &have) < 0 ||
		    have == id->value[i])
			continue;
		if (arm64_reg_set(vcpu_fd, id->id[i], id->value[i]) < 0)
			error_add(err, ENOTSUP, "%s: the guest was promised %#llx, this host has %#llx and its KVM can't show another",
				  arm64_id_name(id->id[i], name, sizeof(name)),
				  (unsigned long long)id->value[i],
				  (unsigned long long)have);
	}
	return err->code ? -err->code : 0;
}

int arm64_vcpu_init(int vm_fd, int vcpu_fd, unsigned int index,
		    const struct arm64_identity *id, struct error *err)
{
	struct kvm_vcpu_init init = { 0 };
	int ret = 0;

	if (ioctl(vm_fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
		return error_set(err, errno, "KVM_ARM_PREFERRED_TARGET: %s",
				 strerror(errno));
	init.features[0] = id->features;
	if (index)	/* PSCI CPU_ON starts them */
		init.features[0] |= 1u << KVM_ARM_VCPU_POWER_OFF;
	if (ioctl(vcpu_fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return error_set(err, errno, "KVM_ARM_VCPU_INIT with features %#x: %s",
				 init.features[0], strerror(errno));
	if (id->features & 1u << KVM_ARM_VCPU_SVE)
		ret = set_vls(vcpu_fd, id->vls, err);
	return ret ? ret : set_id_registers(vcpu_fd, id, err);
}

static int read_identity(int vcpu_fd, struct arm64_identity *id,
			 struct error *err)
{
	struct kvm_one_reg vls = {
		.id = KVM_REG_ARM64_SVE_VLS, .addr = (uintptr_t)id->vls
	};
	struct kvm_reg_list *list = arm64_reg_list(vcpu_fd, err);

	if (!list)
		return -err->code;
	for (uint64_t i = 0; i < list->n && id->n < ARM64_MAX_ID; i++) {
		uint64_t *value = &id->value[id->n];

		if (arm64_reg_is_identity(list->reg[i]) &&
		    arm64_reg_get(vcpu_fd, list->reg[i], value) == 0)
			id->id[id->n++] = list->reg[i];
	}
	free(list);
	if (id->features & 1u << KVM_ARM_VCPU_SVE &&
	    ioctl(vcpu_fd, KVM_GET_ONE_REG, &vls) < 0)
		return error_set(err, errno, "SVE vector lengths: %s",
				 strerror(errno));
	return 0;
}

int arm64_identity_host(int kvm_fd, struct arm64_identity *id,
			struct error *err)
{
	int vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	int vcpu_fd = vm_fd < 0 ? -1 : ioctl(vm_fd, KVM_CREATE_VCPU, 0);
	int ret;

	memset(id, 0, sizeof(*id));
	if (vcpu_fd < 0) {
		ret = error_set(err, errno, "can't make a vCPU to ask: %s",
				strerror(errno));
		goto out;
	}
	id->features = host_features(vm_fd);
	id->counter_hz = counter_hz();
	ret = arm64_vcpu_init(vm_fd, vcpu_fd, 0, id, err);
	if (!ret)
		ret = read_identity(vcpu_fd, id, err);
out:
	fd_close(&vcpu_fd);
	fd_close(&vm_fd);
	return ret;
}

static int put_cells(void *fdt, const char *prop, const uint64_t *a,
		     const uint64_t *b, uint32_t n)
{
	void *p;
	int ret = fdt_property_placeholder(fdt, prop, (int)(n * (b ? 16 : 8)),
					   &p);
	uint8_t *cell = p;

	for (uint32_t i = 0; i < n && !ret; i++) {
		put_be64(cell, a[i]);
		cell += 8;
		if (!b)
			continue;
		put_be64(cell, b[i]);
		cell += 8;
	}
	return ret;
}

int arm64_identity_to_tree(void *fdt, const struct arm64_identity *id)
{
	int ret = fdt_property_u32(fdt, "godwit,features", id->features);

	if (!ret)
		ret = fdt_property_u32(fdt, "godwit,counter-frequency",
				       id->counter_hz);
	if (!ret && id->features & 1u << KVM_ARM_VCPU_SVE)
		ret = put_cells(fdt, "godwit,sve-vectors", id->vls, NULL,
				ARM64_VLS_WORDS);
	if (!ret)
		ret = put_cells(fdt, "godwit,id-registers", id->id, id->value,
				id->n);
	return ret;
}

int arm64_identity_from_tree(const void *tree, struct arm64_identity *id,
			     struct error *err)
{
	int cpus = fdt_path_offset(tree, "/cpus"), len = 0, vls_len = 0;
	const uint8_t *p = fdt_getprop(tree, cpus, "godwit,id-registers", &len);
	const uint8_t *vls = fdt_getprop(tree, cpus, "godwit,sve-vectors",
					 &vls_len);

	memset(id, 0, sizeof(*id));
	id->features = tree_u32(tree, cpus, "godwit,features", 0);
	id->counter_hz = tree_u32(tree, cpus, "godwit,counter-frequency", 0);
	if (!p || len % 16 || len / 16 > ARM64_MAX_ID)
		return error_set(err, EINVAL, "machine tree: godwit,id-registers has %d bytes, limit %d",
				 len, ARM64_MAX_ID * 16);
	for (; id->n < (uint32_t)len / 16; id->n++) {
		id->id[id->n] = get_be64(p + id->n * 16);
		id->value[id->n] = get_be64(p + id->n * 16 + 8);
		if (!arm64_reg_is_identity(id->id[id->n]))
			return error_set(err, EINVAL, "machine tree: %#llx is no ID register",
					 (unsigned long long)id->id[id->n]);
	}
	if (!(id->features & 1u << KVM_ARM_VCPU_SVE))
		return 0;
	if (!vls || vls_len != 8 * ARM64_VLS_WORDS)
		return error_set(err, EINVAL, "machine tree: SVE without godwit,sve-vectors");
	for (unsigned int i = 0; i < ARM64_VLS_WORDS; i++)
		id->vls[i] = get_be64(vls + 8 * i);
	return 0;
}
