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
	{ 1, 0, EDX, 27, 0, "ss" },	{ 1, 0, EDX, 28, 0, "ht" },
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
	{ 7, 0, EBX, 1, 0, "tsc_adjust" }, { 7, 0, EBX, 4, 0, "hle" },
	{ 7, 0, EBX, 6, 0, "fdp_excptn_only" }, { 7, 0, EBX, 11, 0, "rtm" },
	{ 7, 0, EBX, 13, 0, "zero_fcs_fds" }, { 7, 0, EDX, 14, 0, "serialize" },
	{ 7, 0, EDX, 16, 0, "tsxldtrk" }, { 7, 0, ECX, 25, 0, "cldemote" },
	{ 7, 0, ECX, 27, 0, "movdiri" }, { 7, 0, ECX, 28, 0, "movdir64b" },
	{ 7, 1, EAX, 10, 0, "fzrm" },	{ 7, 1, EAX, 11, 0, "fsrs" },
	{ 7, 1, EAX, 12, 0, "fsrc" },
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
	{ 0x40000001, 0, EAX, 1, 0, "kvm-nopiodelay" },
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

const char *const arch_cpu_models[] = {
	"kvm64", "x86-64-v2", "x86-64-v3", "x86-64-v4", NULL
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

void x86_feature_label(uint32_t function, uint32_t index, unsigned int reg,
		       unsigned int bit, char buf[NAMESET_NAME])
{
	static const char *const regs[] = { "eax", "ebx", "ecx", "edx" };
	const char *name = x86_feature_name(function, index, reg, bit);

	if (name)
		snprintf(buf, NAMESET_NAME, "%s", name);
	else
		snprintf(buf, NAMESET_NAME, "cpuid.%x.%u.%s.%u", function,
			 index, regs[reg], bit);
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
			*x86_cpuid_reg(e, features[i].reg) = 0;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(features); i++) {
		const struct feature *f = &features[i];
		struct kvm_cpuid_entry2 *h, *e;

		if (!f->level || f->level > m->level)
			continue;
		h = x86_cpuid_find(&host, f->function, f->index);
		e = x86_cpuid_find(c, f->function, f->index);
		if (h && (*x86_cpuid_reg(h, f->reg) & 1u << f->bit))
			*x86_cpuid_reg(e, f->reg) |= 1u << f->bit;
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

static const struct model *find_model(const char *name, struct error *err)
{
	char list[128] = "host";

	for (unsigned int i = 0; i < ARRAY_SIZE(models); i++) {
		size_t n = strlen(list);

		if (!strcmp(models[i].name, name))
			return &models[i];
		snprintf(list + n, sizeof(list) - n, ", %s", models[i].name);
	}
	error_set(err, EINVAL, "no CPU model \"%s\" (accepted: %s)", name,
		  list);
	return NULL;
}

int x86_cpu_model_apply(const char *name, struct x86_cpuid *c,
			struct error *err)
{
	const struct model *m;

	if (!strcmp(name, "host"))
		return 0;
	m = find_model(name, err);
	if (!m)
		return -err->code;
	drop_leaves(c, m);
	keep_features(c, m, err);
	limit_xsave(c, m);
	set_identity(c, m);
	return err->code ? -err->code : 0;
}

/* -- sets of features ------------------------------------------------------- */

static void vendor_name(struct x86_cpuid *c, char buf[NAMESET_NAME])
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, 0, 0);

	snprintf(buf, NAMESET_NAME, "vendor=%.4s%.4s%.4s",
		 e ? (char *)&e->ebx : "?", e ? (char *)&e->edx : "",
		 e ? (char *)&e->ecx : "");
}

/* Call @fn for each feature bit that @c has. */
static int each_bit(struct x86_cpuid *c,
		    int (*fn)(void *arg, uint32_t *word, unsigned int bit,
			      const char *name, struct error *err),
		    void *arg, struct error *err)
{
	char name[NAMESET_NAME];
	int ret = 0;

	for (unsigned int i = 0; i < x86_nfeature_words; i++) {
		const struct x86_feature_word *w = &x86_feature_words[i];
		struct kvm_cpuid_entry2 *e =
			x86_cpuid_find(c, w->function, w->index);

		for (unsigned int b = 0; e && b < 4 * 32 && ret == 0; b++) {
			uint32_t *word = x86_cpuid_reg(e, b / 32);

			if (!(w->regs & 1u << b / 32) ||
			    !(*word & 1u << b % 32))
				continue;
			x86_feature_label(w->function, w->index, b / 32,
					  b % 32, name);
			ret = fn(arg, word, b % 32, name, err);
		}
	}
	return ret;
}

static int add_bit(void *arg, uint32_t *word, unsigned int bit,
		   const char *name, struct error *err)
{
	(void)word;
	(void)bit;
	return nameset_add(arg, name, err);
}

int arch_cpu_features(const char *model, int kvm_fd, struct nameset *out,
		      struct error *err)
{
	char vendor[NAMESET_NAME];
	struct x86_cpuid c;
	int ret = x86_cpuid_host(kvm_fd, &c, err);

	out->n = 0;
	if (!ret)
		ret = x86_cpu_model_apply(model, &c, err);
	if (ret)
		return ret;
	vendor_name(&c, vendor);
	ret = nameset_add(out, vendor, err);
	return ret ? ret : each_bit(&c, add_bit, out, err);
}

int arch_cpu_needs(const char *model, struct nameset *out, struct error *err)
{
	const struct model *m = find_model(model, err);
	int ret = m ? 0 : -err->code;

	out->n = 0;
	for (unsigned int i = 0; ret == 0 && i < ARRAY_SIZE(features); i++) {
		const struct feature *f = &features[i];

		if (f->level && f->level <= m->level && !is_soft(f))
			ret = nameset_add(out, f->name, err);
	}
	return ret;
}

static int keep_bit(void *arg, uint32_t *word, unsigned int bit,
		    const char *name, struct error *err)
{
	(void)err;
	if (!nameset_has(arg, name))
		*word &= ~(1u << bit);
	return 0;
}

static int name_missing(const struct nameset *set, struct x86_cpuid *c,
			struct error *err)
{
	struct nameset have = { 0 };
	char vendor[NAMESET_NAME];
	int ret;

	vendor_name(c, vendor);
	ret = nameset_add(&have, vendor, err);
	if (!ret)
		ret = each_bit(c, add_bit, &have, err);
	for (unsigned int i = 0; !ret && i < set->n; i++)
		if (!nameset_has(&have, set->name[i]))
			error_add(err, ENOTSUP, "the CPU set has %s, which this host lacks",
				  set->name[i]);
	return ret ? ret : -err->code;
}

int x86_cpu_set_apply(const struct nameset *set, struct x86_cpuid *c,
		      struct error *err)
{
	const struct model m = {
		.name = "set", .level = nameset_has(set, "avx512f") ? 4 : 3,
		.signature = 0x0f61,
		.max_leaf = nameset_has(set, "xsave") ? 0xd : 0xb,
	};
	int ret = name_missing(set, c, err);
	struct kvm_cpuid_entry2 *e;
	uint32_t promised;

	if (ret)
		return ret;
	drop_leaves(c, &m);
	ret = each_bit(c, keep_bit, (void *)(uintptr_t)set, err);
	limit_xsave(c, &m);
	e = x86_cpuid_find(c, 0x80000008, 0);
	promised = e ? e->ebx : 0;
	set_identity(c, &m);
	if (e)
		e->ebx = promised;
	return ret;
}
