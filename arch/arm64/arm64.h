/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of arch/arm64/ share. */
#ifndef GODWIT_ARCH_ARM64_H
#define GODWIT_ARCH_ARM64_H

#include <linux/kvm.h>

#include "arch/arch.h"

/* Guest-physical addresses. */
#define ARM64_GICD 0x08000000ull	/* distributor, 64 KiB */
#define ARM64_GICR 0x080a0000ull	/* redistributors, 128 KiB a vCPU */
#define ARM64_GICR_BYTES 0x20000ull
#define ARM64_SERIAL 0x09000000ull
#define ARM64_RTC 0x09010000ull
#define ARM64_GPIO 0x09030000ull
#define ARM64_DEBUG_EXIT 0x09050000ull
#define ARM64_MMIO 0x0a000000ull	/* virtio-mmio */
#define ARM64_RAM 0x40000000ull
/* The device tree and the initrd lie this near to the kernel at most; Linux
 * wants both within what its first page tables map (booting.rst). */
#define ARM64_BOOT_WINDOW 0x20000000ull
#define ARM64_DTB_BYTES 0x200000ull	/* Linux maps no more */

/* A "gsi" of the machine tree is the number of a shared interrupt (SPI). */
#define ARM64_SPIS 64
#define ARM64_SPI_SERIAL 1
#define ARM64_SPI_RTC 2
#define ARM64_SPI_GPIO 7
#define ARM64_SPI_MMIO 16
#define ARM64_FIRST_SPI 32		/* its interrupt ID */

#define ARM64_MAX_REGS 512		/* of up to 64 bits */
#define ARM64_MAX_WIDE 64		/* vector registers */
#define ARM64_WIDE_BYTES 16384
#define ARM64_MAX_ID 96
#define ARM64_VLS_WORDS 8		/* 512 vector lengths */

/* What a guest is promised of its processor: the tree's /cpus. */
struct arm64_identity {
	uint32_t features;	/* bits KVM_ARM_VCPU_*, of KVM_ARM_VCPU_INIT */
	uint32_t counter_hz;	/* CNTFRQ_EL0 */
	uint64_t vls[ARM64_VLS_WORDS];	/* SVE vector lengths, as KVM's */
	uint32_t n;
	uint64_t id[ARM64_MAX_ID];
	uint64_t value[ARM64_MAX_ID];
};

/* Registers of KVM_GET_REG_LIST, number and value side by side. */
struct arm64_regs {
	uint32_t n;
	uint64_t id[ARM64_MAX_REGS];
	uint64_t value[ARM64_MAX_REGS];
	uint32_t nwide;
	uint64_t wide_id[ARM64_MAX_WIDE];
	uint32_t wide_len;
	uint8_t wide[ARM64_WIDE_BYTES];	/* one after the other */
};

/* Distributor: what belongs to shared interrupts. */
struct arm64_gicd {
	uint32_t iidr, ctlr, statusr;
	uint32_t group[ARM64_SPIS / 32];
	uint32_t enable[ARM64_SPIS / 32];
	uint32_t priority[ARM64_SPIS / 4];
	uint32_t config[ARM64_SPIS / 16];
	uint32_t router[ARM64_SPIS * 2];	/* low and high words */
	uint32_t level[ARM64_SPIS / 32];	/* of the input lines */
	uint32_t pending[ARM64_SPIS / 32];	/* latches */
	uint32_t active[ARM64_SPIS / 32];
};

/* Redistributor: a vCPU's private interrupts. */
struct arm64_gicr {
	uint32_t ctlr, statusr, waker;
	uint32_t propbaser[2], pendbaser[2];	/* low and high words */
	uint32_t group[1], enable[1];
	uint32_t priority[8], config[2];
	uint32_t level[1], pending[1], active[1];
};

/* The CPU interface's registers (ICC_*_EL1). */
struct arm64_icc {
	uint64_t sre, ctlr, pmr, bpr0, bpr1, igrpen0, igrpen1;
	uint64_t ap0r[4], ap1r[4];
};

struct arm64_vcpu_state {
	struct arm64_regs regs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct arm64_gicr gicr;
	struct arm64_icc icc;
};

struct arm64_vm_state {
	uint64_t counter;	/* virtual counter, ticks */
	struct arm64_gicd gicd;
};

struct arm64_entry {
	uint64_t pc;
	uint64_t x0;		/* the device tree */
};

struct arch_vm {
	const struct log *log;
	const void *tree;
	int kvm_fd;
	int vm_fd;
	int gic_fd;
	unsigned int ncpus;
	struct arm64_identity identity;
	struct arm64_entry entry;
	struct arm64_vm_state state;
	struct arm64_vm_state power_on;	/* what reset puts back */
	struct arch_vcpu **cpu;		/* [ncpus], NULL where not created yet */
};

struct arch_vcpu {
	struct arch_vm *vm;
	struct kvm_run *run;
	int fd;
	unsigned int index;
	struct arm64_vcpu_state state;
	struct arm64_vcpu_state power_on;
};

/* One step of saving and loading a vCPU; rows are carried out in order. */
struct arm64_row {
	const char *name;
	int (*get)(struct arch_vcpu *cpu, struct error *err);
	int (*put)(struct arch_vcpu *cpu, struct error *err);
	const char *reason;	/* why it stands where it stands */
};

extern const struct arm64_row arm64_rows[];
extern const unsigned int arm64_nrows;

/* One register of at most 64 bits; 0 or -errno. */
int arm64_reg_get(int vcpu_fd, uint64_t id, uint64_t *value);
int arm64_reg_set(int vcpu_fd, uint64_t id, uint64_t value);
/* KVM's list of a vCPU's registers, malloc'ed. */
struct kvm_reg_list *arm64_reg_list(int vcpu_fd, struct error *err);
unsigned int arm64_reg_bytes(uint64_t id);
/* Registers that say what the processor is; fixed when the vCPU is made. */
bool arm64_reg_is_identity(uint64_t id);

/* KVM's affinity of vCPU @index, as MPIDR_EL1 holds it. */
uint64_t arm64_mpidr(unsigned int index);

/* identity.c: what this host's guests get, the tree's form, the comparison. */
int arm64_identity_host(int kvm_fd, struct arm64_identity *id,
			struct error *err);
int arm64_identity_to_tree(void *fdt, const struct arm64_identity *id);
int arm64_identity_from_tree(const void *tree, struct arm64_identity *id,
			     struct error *err);
/* KVM_ARM_VCPU_INIT, vector lengths, finalize, ID registers. */
int arm64_vcpu_init(int vm_fd, int vcpu_fd, unsigned int index,
		    const struct arm64_identity *id, struct error *err);
/* One reason a feature that @want has and @have lacks, all of them. */
void arm64_features_compare(const struct arm64_identity *want,
			    const struct arm64_identity *have,
			    struct error *err);
/* Name of an identity register into @buf. */
const char *arm64_id_name(uint64_t id, char *buf, size_t size);

/* gic.c */
int arm64_gic_create(struct arch_vm *vm, struct error *err);
/* When all vCPUs exist. */
int arm64_gic_init(struct arch_vm *vm, struct error *err);
int arm64_gicd_get(struct arch_vm *vm, struct error *err);
int arm64_gicd_put(struct arch_vm *vm, struct error *err);
int arm64_gicr_get(struct arch_vcpu *cpu, struct error *err);
int arm64_gicr_put(struct arch_vcpu *cpu, struct error *err);
int arm64_icc_get(struct arch_vcpu *cpu, struct error *err);
int arm64_icc_put(struct arch_vcpu *cpu, struct error *err);

extern const struct state_table arm64_gicd_table;
extern const struct state_table arm64_gicr_table;
extern const struct state_table arm64_icc_table;

/* An arm64 Image, whatever it came wrapped in. */
struct arm64_image {
	uint8_t *data;		/* malloc'ed */
	uint64_t len;
	uint64_t text_offset;	/* from a 2 MiB boundary */
	uint64_t memory;	/* bytes that it needs from there */
};

/* Read the kernel file; the caller frees image->data. */
int arm64_image_read(int fd, struct arm64_image *image, struct error *err);
/* The same of @len bytes in memory; takes over @data. */
int arm64_image_parse(uint8_t *data, uint64_t len, struct arm64_image *image,
		      struct error *err);

/* The tree that the guest boots from, at most ARM64_DTB_BYTES, malloc'ed. */
int arm64_fdt_make(const void *tree, gpa_t initrd, uint64_t initrd_size,
		   void **out, struct error *err);

#endif
