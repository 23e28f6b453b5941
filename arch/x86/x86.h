/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of arch/x86/ share. */
#ifndef GODWIT_ARCH_X86_H
#define GODWIT_ARCH_X86_H

#include <linux/kvm.h>

#include "arch/arch.h"

/* Guest-physical addresses below 1 MiB that booting uses. */
#define X86_GDT 0x500ull
#define X86_START_INFO 0x6000ull	/* PVH's hvm_start_info, modules, map */
#define X86_ZERO_PAGE 0x7000ull		/* Linux's boot_params */
#define X86_PAGE_TABLES 0x9000ull	/* 6 pages: identity map of 4 GiB */
#define X86_CMDLINE 0x20000ull
#define X86_CMDLINE_MAX 0x10000ull
#define X86_EBDA 0x9fc00ull		/* end of usable low memory */
#define X86_ACPI 0xe0000ull		/* RSDP and tables */
#define X86_ACPI_END 0x100000ull
#define X86_HIGH 0x100000ull		/* kernels load from here */

#define X86_HOLE_START 0xc0000000ull	/* devices, up to 4 GiB */
#define X86_HOLE_END 0x100000000ull
#define X86_IOAPIC 0xfec00000ull
#define X86_LAPIC 0xfee00000ull
#define X86_TSS_ADDR 0xfffbd000ull	/* three pages for KVM on Intel */
#define X86_IDENTITY_MAP 0xfffbc000ull	/* one page, likewise */

#define X86_MAX_CPUID 256
#define X86_MAX_MSRS 512
#define X86_XSAVE_MAX 16384

enum x86_entry_mode { X86_ENTRY_PROTECTED = 1, X86_ENTRY_LONG };

/* Where and how the boot CPU starts. */
struct x86_entry {
	enum x86_entry_mode mode;
	uint64_t rip;
	uint64_t rbx;		/* PVH: start_info */
	uint64_t rsi;		/* Linux: boot_params */
};

struct x86_msrs {
	uint32_t n;
	uint32_t index[X86_MAX_MSRS];
	uint64_t value[X86_MAX_MSRS];
};

/* KVM's structs, named member by member in the tables of state.c. */
struct x86_vcpu_state {
	struct kvm_mp_state mp_state;
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	uint32_t xsave_len;
	uint8_t xsave[X86_XSAVE_MAX];
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	uint8_t lapic[KVM_APIC_REG_SIZE];	/* the APIC's register page */
	uint32_t tsc_khz;
	struct x86_msrs msrs;
	struct kvm_vcpu_events events;
};

struct x86_vm_state {
	uint64_t clock;			/* kvmclock, ns */
	struct kvm_pit_state2 pit;
	struct kvm_pic_state pic[2];	/* master, slave */
	struct kvm_ioapic_state ioapic;
};

struct arch_vm {
	const struct log *log;
	const void *tree;
	int kvm_fd;
	int vm_fd;
	unsigned int ncpus;
	struct x86_entry entry;
	struct x86_vm_state state;
	struct x86_vm_state power_on;	/* what reset puts back */
	struct x86_msrs msrs;		/* those that this KVM can save; indexes */
	struct arch_vcpu **cpu;		/* [ncpus], NULL where not created yet */
};

struct arch_vcpu {
	struct arch_vm *vm;
	struct kvm_run *run;
	int fd;
	unsigned int index;
	bool has_run;
	struct x86_vcpu_state state;
	struct x86_vcpu_state power_on;
};

/* One step of saving and loading a vCPU; rows are carried out in order. */
struct x86_row {
	const char *name;	/* the ioctl's stem */
	int (*get)(struct arch_vcpu *cpu, struct error *err);
	int (*put)(struct arch_vcpu *cpu, struct error *err);
	const char *reason;	/* why it stands where it stands */
};

extern const struct x86_row x86_rows[];
extern const unsigned int x86_nrows;

/* Which MSRs this KVM can read back and write, from a fresh vCPU. */
int x86_msrs_probe(struct arch_vcpu *cpu, struct x86_msrs *out,
		   struct error *err);
/* Write MSRs; one that this KVM refuses is an error unless it is zero. */
int x86_msrs_put(struct arch_vcpu *cpu, const struct x86_msrs *msrs,
		 struct error *err);
/* Set one MSR; 0 or -errno. */
int x86_msr_set(int fd, uint32_t index, uint64_t value);

/* CPUID (cpuid.c, cpu_models.c). */
struct x86_cpuid {
	struct kvm_cpuid2 head;		/* nent entries follow in entry[] */
	struct kvm_cpuid_entry2 entry[X86_MAX_CPUID];
};

/* What guests of this host may have at most. */
int x86_cpuid_host(int kvm_fd, struct x86_cpuid *cpuid, struct error *err);
struct kvm_cpuid_entry2 *x86_cpuid_find(struct x86_cpuid *cpuid,
					uint32_t function, uint32_t index);
/* Cut @cpuid, the host's, down to a named model. */
int x86_cpu_model_apply(const char *model, struct x86_cpuid *cpuid,
			struct error *err);
/* Cut it down to these features (arch_cpu_features). */
int x86_cpu_set_apply(const struct nameset *set, struct x86_cpuid *cpuid,
		      struct error *err);
/* The name of a feature bit, made up where it has none. */
void x86_feature_label(uint32_t function, uint32_t index, unsigned int reg,
		       unsigned int bit, char buf[NAMESET_NAME]);
/* All feature words: leaf, index, and which registers (bit 0 eax ... 3 edx). */
struct x86_feature_word {
	uint32_t function, index;
	uint8_t regs;
};
extern const struct x86_feature_word x86_feature_words[];
extern const unsigned int x86_nfeature_words;
/* @reg 0..3 = eax..edx. */
uint32_t *x86_cpuid_reg(struct kvm_cpuid_entry2 *e, unsigned int reg);
/* From the tree's /cpus, for vCPU @index of @ncpus. */
int x86_cpuid_from_tree(const void *tree, unsigned int index,
			unsigned int ncpus, struct x86_cpuid *cpuid,
			struct error *err);
/* Name of a feature bit, or NULL. @reg 0..3 = eax..edx. */
const char *x86_feature_name(uint32_t function, uint32_t index,
			     unsigned int reg, unsigned int bit);

/* Boot protocols: -ENOEXEC if the image is not theirs, without an error. */
int x86_linux_load(struct arch_vm *vm, struct memory *mem,
		   const struct arch_boot *boot, struct error *err);
int x86_pvh_load(struct arch_vm *vm, struct memory *mem,
		 const struct arch_boot *boot, struct error *err);
/* Load the initrd as high as @limit (exclusive) allows. */
int x86_initrd_load(struct memory *mem, int fd, uint64_t limit, gpa_t *base,
		    uint64_t *size, struct error *err);
/* pread exactly into guest memory. */
int x86_load_file(struct memory *mem, int fd, uint64_t offset, gpa_t gpa,
		  uint64_t len, const char *what, struct error *err);

/* The guest's memory map, in E820 types (ACPI 6, 15.1). */
struct x86_e820 {
	uint64_t base;
	uint64_t size;
	uint32_t type;		/* 1 usable, 2 reserved, 3 ACPI reclaimable */
};
#define X86_E820_MAX 8
unsigned int x86_e820(const struct memory *mem, struct x86_e820 *map);

/* ACPI tables derived from the tree, at X86_ACPI. */
int x86_acpi_load(struct memory *mem, const void *tree, struct error *err);

#endif
