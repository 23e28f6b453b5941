/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Named CPU models: the features that a guest is promised, whatever the host.
 * The x86-64-v2/v3/v4 levels are those of the x86-64 psABI; kvm64 is the
 * baseline (v1 with what a hypervisor always gives).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/x86.h"
#include "vmm/base/util.h"

enum { EAX, EBX, ECX, EDX };

struct feature {
	uint32_t function, index;
	uint8_t reg, bit;
	uint8_t level;		/* first model that has it; 0: only "host" */
	const char *name;
};

/* level: 1 kvm64, 2 x86-64-v2, 3 x86-64-v3, 4 x86-64-v4 */
static const struct feature features[] = {
	{ 1, 0, EDX, 0, 1, "fpu" },	{ 1, 0, EDX, 1, 1, "vme" },
	{ 1, 0, EDX, 2, 1, "de" },	{ 1, 0, EDX, 3, 1, "pse" },
	{ 1, 0, EDX, 4, 1, "tsc" },	{ 1, 0, EDX, 5, 1, "msr" },
	{ 1, 0, EDX, 6, 1, "pae" },	{ 1, 0, EDX, 7, 1, "mce" },
	{ 1, 0, EDX, 8, 1, "cx8" },	{ 1, 0, EDX, 9, 1, "apic" },
	{ 1, 0, EDX, 11, 1, "sep" },	{ 1, 0, EDX, 12, 1, "mtrr" },
	{ 1, 0, EDX, 13, 1, "pge" },	{ 1, 0, EDX, 14, 1, "mca" },
	{ 1, 0, EDX, 15, 1, "cmov" },	{ 1, 0, EDX, 16, 1, "pat" },
	{ 1, 0, EDX, 17, 1, "pse36" },	{ 1, 0, EDX, 19, 1, "clflush" },
	{ 1, 0, EDX, 23, 1, "mmx" },	{ 1, 0, EDX, 24, 1, "fxsr" },
	{ 1, 0, EDX, 25, 1, "sse" },	{ 1, 0, EDX, 26, 1, "sse2" },
	{ 1, 0, EDX, 28, 0, "ht" },
	{ 1, 0, ECX, 0, 1, "sse3" },	{ 1, 0, ECX, 1, 0, "pclmulqdq" },
	{ 1, 0, ECX, 5, 0, "vmx" },	{ 0x80000001, 0, ECX, 2, 0, "svm" },
	{ 1, 0, ECX, 9, 2, "ssse3" },	{ 1, 0, ECX, 12, 3, "fma" },
	{ 1, 0, ECX, 13, 1, "cx16" },	{ 1, 0, ECX, 17, 0, "pcid" },
	{ 1, 0, ECX, 19, 2, "sse4_1" },	{ 1, 0, ECX, 20, 2, "sse4_2" },
	{ 1, 0, ECX, 21, 1, "x2apic" },	{ 1, 0, ECX, 22, 3, "movbe" },
	{ 1, 0, ECX, 23, 2, "popcnt" },	{ 1, 0, ECX, 24, 1, "tsc_deadline" },
	{ 1, 0, ECX, 25, 0, "aes" },	{ 1, 0, ECX, 26, 3, "xsave" },
	{ 1, 0, ECX, 28, 3, "avx" },	{ 1, 0, ECX, 29, 3, "f16c" },
	{ 1, 0, ECX, 30, 0, "rdrand" },	{ 1, 0, ECX, 31, 1, "hypervisor" },
	{ 7, 0, EBX, 0, 0, "fsgsbase" }, { 7, 0, EBX, 3, 3, "bmi1" },
	{ 7, 0, EBX, 5, 3, "avx2" },	{ 7, 0, EBX, 7, 0, "smep" },
	{ 7, 0, EBX, 8, 3, "bmi2" },	{ 7, 0, EBX, 9, 0, "erms" },
	{ 7, 0, EBX, 10, 0, "invpcid" }, { 7, 0, EBX, 16, 4, "avx512f" },
	{ 7, 0, EBX, 17, 4, "avx512dq" }, { 7, 0, EBX, 18, 0, "rdseed" },
	{ 7, 0, EBX, 19, 0, "adx" },	{ 7, 0, EBX, 20, 0, "smap" },
	{ 7, 0, EBX, 21, 0, "avx512ifma" },
	{ 7, 0, EBX, 23, 0, "clflushopt" }, { 7, 0, EBX, 24, 0, "clwb" },
	{ 7, 0, EBX, 28, 4, "avx512cd" }, { 7, 0, EBX, 29, 0, "sha_ni" },
	{ 7, 0, EBX, 30, 4, "avx512bw" }, { 7, 0, EBX, 31, 4, "avx512vl" },
	{ 7, 0, ECX, 1, 0, "avx512vbmi" }, { 7, 0, ECX, 2, 0, "umip" },
	{ 7, 0, ECX, 3, 0, "pku" },	{ 7, 0, ECX, 6, 0, "avx512_vbmi2" },
	{ 7, 0, ECX, 8, 0, "gfni" },	{ 7, 0, ECX, 9, 0, "vaes" },
	{ 7, 0, ECX, 10, 0, "vpclmulqdq" },
	{ 7, 0, ECX, 11, 0, "avx512_vnni" },
	{ 7, 0, ECX, 12, 0, "avx512_bitalg" },
	{ 7, 0, ECX, 14, 0, "avx512_vpopcntdq" },
	{ 7, 0, ECX, 16, 0, "la57" },	{ 7, 0, ECX, 22, 0, "rdpid" },
	{ 7, 0, EDX, 4, 0, "fsrm" },	{ 7, 0, EDX, 10, 0, "md_clear" },
	{ 7, 0, EDX, 26, 0, "spec_ctrl" }, { 7, 0, EDX, 27, 0, "stibp" },
	{ 7, 0, EDX, 28, 0, "flush_l1d" },
	{ 7, 0, EDX, 29, 0, "arch_capabilities" },
	{ 7, 0, EDX, 31, 0, "ssbd" },	{ 7, 1, EAX, 4, 0, "avx_vnni" },
	{ 7, 1, EAX, 5, 0, "avx512_bf16" },
	{ 0xd, 1, EAX, 0, 3, "xsaveopt" }, { 0xd, 1, EAX, 1, 0, "xsavec" },
	{ 0xd, 1, EAX, 2, 0, "xgetbv1" }, { 0xd, 1, EAX, 3, 0, "xsaves" },
	{ 0x80000001, 0, ECX, 0, 1, "lahf_lm" },
	{ 0x80000001, 0, ECX, 4, 0, "cr8_legacy" },
	{ 0x80000001, 0, ECX, 5, 3, "abm" },
	{ 0x80000001, 0, ECX, 6, 0, "sse4a" },
	{ 0x80000001, 0, ECX, 7, 0, "misalignsse" },
	{ 0x80000001, 0, ECX, 8, 0, "3dnowprefetch" },
	{ 0x80000001, 0, ECX, 22, 0, "topoext" },
	{ 0x80000001, 0, EDX, 11, 1, "syscall" },
	{ 0x80000001, 0, EDX, 20, 1, "nx" },
	{ 0x80000001, 0, EDX, 22, 0, "mmxext" },
	{ 0x80000001, 0, EDX, 25, 0, "fxsr_opt" },
	{ 0x80000001, 0, EDX, 26, 0, "pdpe1gb" },
	{ 0x80000001, 0, EDX, 27, 0, "rdtscp" },
	{ 0x80000001, 0, EDX, 29, 1, "lm" },
	{ 0x80000007, 0, EDX, 8, 0, "invtsc" },
	{ 0x40000001, 0, EAX, 0, 1, "kvmclock-v1" },
	{ 0x40000001, 0, EAX, 3, 1, "kvmclock" },
	{ 0x40000001, 0, EAX, 5, 1, "kvm-steal-time" },
	{ 0x40000001, 0, EAX, 6, 1, "kvm-pv-eoi" },
	{ 0x40000001, 0, EAX, 7, 0, "kvm-pv-unhalt" },
	{ 0x40000001, 0, EAX, 9, 0, "kvm-pv-tlb-flush" },
	{ 0x40000001, 0, EAX, 11, 0, "kvm-pv-ipi" },
	{ 0x40000001, 0, EAX, 12, 0, "kvm-poll-control" },
	{ 0x40000001, 0, EAX, 13, 0, "kvm-pv-sched-yield" },
	{ 0x40000001, 0, EAX, 24, 1, "kvmclock-stable" },
};

struct model {
	const char *name;
	uint8_t level;
	uint32_t signature;	/* leaf 1 eax: family, model, stepping */
	uint32_t max_leaf;
};

static const struct model models[] = {
	{ "kvm64", 1, 0x0f61, 0xb },
	{ "x86-64-v2", 2, 0x0f61, 0xb },
	{ "x86-64-v3", 3, 0x0f61, 0xd },
	{ "x86-64-v4", 4, 0x0f61, 0xd },
};

/* What hypervisor and host may lack without a guest minding: it is asked for
 * where it is, and promised only then. */
static bool is_soft(const struct feature *f)
{
	return f->function == 0x40000001 || !strcmp(f->name, "x2apic") ||
	       !strcmp(f->name, "tsc_deadline") || !strcmp(f->name, "vme") ||
	       !strcmp(f->name, "xsaveopt");
}

const char *x86_feature_name(uint32_t function, uint32_t index,
			     unsigned int reg, unsigned int bit)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(features); i++) {
		const struct feature *f = &features[i];

		if (f->function == function && f->index == index &&
		    f->reg == reg && f->bit == bit)
			return f->name;
	}
	return NULL;
}

static uint32_t *reg_of(struct kvm_cpuid_entry2 *e, unsigned int reg)
{
	uint32_t *regs[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

	return regs[reg];
}

/* Keep of every feature word just the model's bits; name what is missing. */
static void keep_features(struct x86_cpuid *c, const struct model *m,
			  struct error *err)
{
	struct x86_cpuid host = *c;

	for (unsigned int i = 0; i < ARRAY_SIZE(features); i++) {
		struct kvm_cpuid_entry2 *e =
			x86_cpuid_find(c, features[i].function,
				       features[i].index);

		if (e)
			*reg_of(e, features[i].reg) = 0;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(features); i++) {
		const struct feature *f = &features[i];
		struct kvm_cpuid_entry2 *h, *e;

		if (!f->level || f->level > m->level)
			continue;
		h = x86_cpuid_find(&host, f->function, f->index);
		e = x86_cpuid_find(c, f->function, f->index);
		if (h && (*reg_of(h, f->reg) & 1u << f->bit))
			*reg_of(e, f->reg) |= 1u << f->bit;
		else if (!is_soft(f))
			error_add(err, ENOTSUP, "CPU model %s needs %s, which this host lacks",
				  m->name, f->name);
	}
}

/* Leaves that describe one host's caches, power and bugs are dropped. */
static bool keeps_leaf(const struct model *m, const struct kvm_cpuid_entry2 *e)
{
	if (e->function < 0x40000000)
		return e->function <= m->max_leaf && e->function != 2 &&
		       e->function != 4 && e->function != 5 &&
		       e->function != 6 && e->function != 0xa;
	if (e->function < 0x80000000)
		return e->function <= 0x40000001;
	return e->function <= 0x80000001 || e->function == 0x80000008;
}

static void drop_leaves(struct x86_cpuid *c, const struct model *m)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->head.nent; i++)
		if (keeps_leaf(m, &c->entry[i]))
			c->entry[n++] = c->entry[i];
	c->head.nent = n;
}

/* XCR0 components of the level: x87, SSE, AVX; AVX-512 adds three. */
static void limit_xsave(struct x86_cpuid *c, const struct model *m)
{
	uint32_t keep = m->level >= 4 ? 0xe7 : 7, n = 0;
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, 0xd, 0);

	if (e) {
		e->eax &= keep;
		e->edx = 0;
	}
	for (uint32_t i = 0; i < c->head.nent; i++) {
		e = &c->entry[i];
		if (e->function != 0xd || e->index < 2 ||
		    (e->index < 32 && keep & 1u << e->index))
			c->entry[n++] = *e;
	}
	c->head.nent = n;
}

static void set_identity(struct x86_cpuid *c, const struct model *m)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, 0, 0);

	if (e)
		e->eax = MIN(e->eax, m->max_leaf);
	e = x86_cpuid_find(c, 1, 0);
	if (e)
		e->eax = m->signature;
	e = x86_cpuid_find(c, 0x80000000, 0);
	if (e)
		e->eax = 0x80000008;
	e = x86_cpuid_find(c, 0x80000001, 0);
	if (e)
		e->eax = m->signature;
	e = x86_cpuid_find(c, 0x80000008, 0);
	if (e)
		e->ebx = 0;
}

static int unknown_model(const char *name, struct error *err)
{
	char list[128] = "host";

	for (unsigned int i = 0; i < ARRAY_SIZE(models); i++) {
		size_t n = strlen(list);

		snprintf(list + n, sizeof(list) - n, ", %s", models[i].name);
	}
	return error_set(err, EINVAL, "no CPU model \"%s\" (accepted: %s)",
			 name, list);
}

int x86_cpu_model_apply(const char *name, struct x86_cpuid *c,
			struct error *err)
{
	const struct model *m = NULL;

	if (!strcmp(name, "host"))
		return 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(models); i++)
		if (!strcmp(models[i].name, name))
			m = &models[i];
	if (!m)
		return unknown_model(name, err);
	drop_leaves(c, m);
	keep_features(c, m, err);
	limit_xsave(c, m);
	set_identity(c, m);
	return err->code ? -err->code : 0;
}
