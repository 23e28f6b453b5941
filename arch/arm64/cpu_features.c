/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ID registers compared field by field, with the names of the features (Arm
 * Architecture Reference Manual, D19.2). A field is 4 bits, and by the
 * architecture's rule a greater value includes what the smaller ones mean.
 */
#include <errno.h>
#include <stdio.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/util.h"

#define REG(crm, op2) ((crm) << 3 | (op2))

static const struct {
	uint8_t reg;
	const char *name;
} names[] = {
	{ REG(0, 0), "MIDR_EL1" }, { REG(0, 6), "REVIDR_EL1" },
	{ REG(4, 0), "ID_AA64PFR0_EL1" }, { REG(4, 1), "ID_AA64PFR1_EL1" },
	{ REG(4, 4), "ID_AA64ZFR0_EL1" }, { REG(4, 5), "ID_AA64SMFR0_EL1" },
	{ REG(5, 0), "ID_AA64DFR0_EL1" }, { REG(5, 1), "ID_AA64DFR1_EL1" },
	{ REG(6, 0), "ID_AA64ISAR0_EL1" }, { REG(6, 1), "ID_AA64ISAR1_EL1" },
	{ REG(6, 2), "ID_AA64ISAR2_EL1" }, { REG(7, 0), "ID_AA64MMFR0_EL1" },
	{ REG(7, 1), "ID_AA64MMFR1_EL1" }, { REG(7, 2), "ID_AA64MMFR2_EL1" },
};

static const struct {
	uint8_t reg;
	uint8_t shift;
	bool is_signed;		/* 0xf says "not there" */
	const char *name;
} fields[] = {
	{ REG(4, 0), 0, false, "EL0" }, { REG(4, 0), 4, false, "EL1" },
	{ REG(4, 0), 16, true, "floating point" },
	{ REG(4, 0), 20, true, "Advanced SIMD" },
	{ REG(4, 0), 24, false, "GICv3 CPU interface" },
	{ REG(4, 0), 28, false, "RAS" }, { REG(4, 0), 32, false, "SVE" },
	{ REG(4, 0), 44, false, "AMU" }, { REG(4, 0), 48, false, "DIT" },
	{ REG(4, 0), 56, false, "CSV2" }, { REG(4, 0), 60, false, "CSV3" },
	{ REG(4, 1), 0, false, "BTI" }, { REG(4, 1), 4, false, "SSBS" },
	{ REG(4, 1), 8, false, "MTE" }, { REG(4, 1), 24, false, "SME" },
	{ REG(4, 4), 0, false, "SVE version" },
	{ REG(4, 4), 4, false, "SVE AES" },
	{ REG(4, 4), 16, false, "SVE bit permute" },
	{ REG(4, 4), 20, false, "SVE BF16" },
	{ REG(4, 4), 32, false, "SVE SHA3" },
	{ REG(4, 4), 40, false, "SVE SM4" },
	{ REG(4, 4), 44, false, "SVE I8MM" },
	{ REG(4, 4), 52, false, "SVE F32MM" },
	{ REG(4, 4), 56, false, "SVE F64MM" },
	{ REG(5, 0), 0, false, "debug architecture" },
	{ REG(5, 0), 8, true, "PMU" },
	{ REG(5, 0), 12, false, "breakpoints" },
	{ REG(5, 0), 20, false, "watchpoints" },
	{ REG(6, 0), 4, false, "AES" }, { REG(6, 0), 8, false, "SHA1" },
	{ REG(6, 0), 12, false, "SHA2" }, { REG(6, 0), 16, false, "CRC32" },
	{ REG(6, 0), 20, false, "LSE atomics" },
	{ REG(6, 0), 28, false, "RDM" }, { REG(6, 0), 32, false, "SHA3" },
	{ REG(6, 0), 36, false, "SM3" }, { REG(6, 0), 40, false, "SM4" },
	{ REG(6, 0), 44, false, "dot product" },
	{ REG(6, 0), 48, false, "FHM" }, { REG(6, 0), 52, false, "flag TS" },
	{ REG(6, 0), 56, false, "TLB range" }, { REG(6, 0), 60, false, "RNDR" },
	{ REG(6, 1), 0, false, "DPB" },
	{ REG(6, 1), 4, false, "pointer authentication (QARMA5)" },
	{ REG(6, 1), 8, false, "pointer authentication (own)" },
	{ REG(6, 1), 12, false, "JSCVT" }, { REG(6, 1), 16, false, "FCMA" },
	{ REG(6, 1), 20, false, "LRCPC" },
	{ REG(6, 1), 24, false, "generic authentication (QARMA5)" },
	{ REG(6, 1), 28, false, "generic authentication (own)" },
	{ REG(6, 1), 32, false, "FRINTTS" }, { REG(6, 1), 36, false, "SB" },
	{ REG(6, 1), 40, false, "SPECRES" }, { REG(6, 1), 44, false, "BF16" },
	{ REG(6, 1), 48, false, "DGH" }, { REG(6, 1), 52, false, "I8MM" },
	{ REG(6, 2), 0, false, "WFxT" }, { REG(6, 2), 4, false, "RPRES" },
	{ REG(6, 2), 16, false, "MOPS" },
	{ REG(7, 0), 0, false, "physical addresses" },
	{ REG(7, 0), 4, false, "ASID bits" },
	{ REG(7, 0), 20, false, "16 KiB pages" },
	{ REG(7, 0), 24, true, "64 KiB pages" },
	{ REG(7, 0), 28, true, "4 KiB pages" },
	{ REG(7, 1), 0, false, "hardware access flag" },
	{ REG(7, 1), 4, false, "VMID bits" }, { REG(7, 1), 8, false, "VHE" },
	{ REG(7, 1), 16, false, "LO regions" }, { REG(7, 1), 20, false, "PAN" },
	{ REG(7, 1), 28, false, "XNX" },
	{ REG(7, 2), 0, false, "CnP" }, { REG(7, 2), 4, false, "UAO" },
	{ REG(7, 2), 16, false, "large virtual addresses" },
	{ REG(7, 2), 32, false, "unaligned atomics" },
};

/* CRm and op2 of an (3, 0, 0, CRm, op2) register, or -1. */
static int reg_of(uint64_t id)
{
	if ((id & KVM_REG_ARM64_SYSREG_OP1_MASK) ||
	    !arm64_reg_is_identity(id))
		return -1;
	return (int)(id & (KVM_REG_ARM64_SYSREG_CRM_MASK |
			   KVM_REG_ARM64_SYSREG_OP2_MASK));
}

const char *arm64_id_name(uint64_t id, char *buf, size_t size)
{
	int reg = reg_of(id);

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].reg == reg)
			return names[i].name;
	snprintf(buf, size, "ID register (3, %u, 0, %u, %u)",
		 (unsigned int)(id >> 11 & 7), (unsigned int)(id >> 3 & 15),
		 (unsigned int)(id & 7));
	return buf;
}

static int level(uint64_t value, unsigned int shift, bool is_signed)
{
	int v = (int)(value >> shift & 0xf);

	return is_signed && v >= 8 ? v - 16 : v;
}

static void compare_field(uint64_t id, unsigned int shift, uint64_t want,
			  uint64_t have, struct error *err)
{
	const char *name = "a feature";
	bool is_signed = false;
	char buf[48];
	int w, h;

	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].reg == reg_of(id) && fields[i].shift == shift) {
			name = fields[i].name;
			is_signed = fields[i].is_signed;
		}
	w = level(want, shift, is_signed);
	h = level(have, shift, is_signed);
	if (h < w)
		error_add(err, ENOTSUP, "this host's processor lacks %s (%s bits %u:%u: %d, the guest was promised %d)",
			  name, arm64_id_name(id, buf, sizeof(buf)), shift + 3,
			  shift, h, w);
}

/* Feature registers have CRm 1 to 7; the others name the processor. */
static void compare_register(uint64_t id, uint64_t want, uint64_t have,
			     struct error *err)
{
	char buf[48];

	if (want == have)
		return;
	for (unsigned int shift = 0; reg_of(id) >= REG(1, 0) && shift < 64;
	     shift += 4)
		compare_field(id, shift, want, have, err);
	if (reg_of(id) < REG(1, 0))
		error_add(err, ENOTSUP, "another processor: %s is %#llx here, the guest was promised %#llx",
			  arm64_id_name(id, buf, sizeof(buf)),
			  (unsigned long long)have, (unsigned long long)want);
}

static void compare_vls(const struct arm64_identity *want,
			const struct arm64_identity *have, struct error *err)
{
	for (unsigned int i = 0; i < 64 * ARM64_VLS_WORDS; i++) {
		uint64_t bit = 1ull << i % 64;

		if (want->vls[i / 64] & ~have->vls[i / 64] & bit)
			error_add(err, ENOTSUP, "this host's processor lacks SVE vectors of %u bits",
				  (i + 1) * 128);
	}
}

static void compare_init(const struct arm64_identity *want,
			 const struct arm64_identity *have, struct error *err)
{
	static const char *const feature[] = {
		[KVM_ARM_VCPU_EL1_32BIT] = "32-bit guests",
		[KVM_ARM_VCPU_PSCI_0_2] = "PSCI",
		[KVM_ARM_VCPU_PMU_V3] = "a PMU for guests",
		[KVM_ARM_VCPU_SVE] = "SVE",
		[KVM_ARM_VCPU_PTRAUTH_ADDRESS] = "pointer authentication",
		[KVM_ARM_VCPU_PTRAUTH_GENERIC] = "generic authentication",
	};
	uint32_t missing = want->features & ~have->features;

	for (unsigned int i = 0; i < 32; i++)
		if (missing & 1u << i)
			error_add(err, ENOTSUP, "this host's KVM lacks %s",
				  i < ARRAY_SIZE(feature) && feature[i] ?
				  feature[i] : "a feature of the guest");
}

void arm64_features_compare(const struct arm64_identity *want,
			    const struct arm64_identity *have,
			    struct error *err)
{
	/* KVM can't scale the counter, and guests know its frequency */
	if (want->counter_hz != have->counter_hz)
		error_add(err, ENOTSUP, "the guest's counter runs at %u Hz, this host's at %u Hz",
			  want->counter_hz, have->counter_hz);
	compare_init(want, have, err);
	compare_vls(want, have, err);
	for (uint32_t i = 0; i < want->n; i++) {
		uint64_t value = 0;

		for (uint32_t k = 0; k < have->n; k++)
			if (have->id[k] == want->id[i])
				value = have->value[k];
		compare_register(want->id[i], want->value[i], value, err);
	}
}
