/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID: what this host can give, what the tree says, what each vCPU is told.
 * Leaves as in the Intel SDM 2A, CPUID, and the AMD APM 3, appendix E.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/x86.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"

#define ENTRY_BYTES 28		/* seven cells in the tree */

struct kvm_cpuid_entry2 *x86_cpuid_find(struct x86_cpuid *cpuid,
					uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entry[i];
		bool indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

		if (e->function == function && (!indexed || e->index == index))
			return e;
	}
	return NULL;
}

static void clear_bits(struct x86_cpuid *c, uint32_t function, uint32_t index,
		       uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, function, index);

	if (!e)
		return;
	e->eax &= ~eax;
	e->ebx &= ~ebx;
	e->ecx &= ~ecx;
	e->edx &= ~edx;
}

/*
 * Features that can't move yet: nested virtualization (its state is not
 * saved), an invariant TSC (another host's may differ), ARCH_CAPABILITIES
 * (describes one host's bugs; software KVM can't set its MSR), asynchronous
 * page faults (a fault under way belongs to the old host).
 */
static void mask_immovable(struct x86_cpuid *c)
{
	clear_bits(c, 1, 0, 0, 0, 1u << 5, 0);			/* VMX */
	clear_bits(c, 0x80000001, 0, 0, 0, 1u << 2, 0);		/* SVM */
	clear_bits(c, 0x80000007, 0, 0, 0, 0, 1u << 8);		/* invtsc */
	clear_bits(c, 7, 0, 0, 0, 0, 1u << 29);
	clear_bits(c, 0x40000001, 0, 1u << 4 | 1u << 10 | 1u << 14, 0, 0, 0);
}

int x86_cpuid_host(int kvm_fd, struct x86_cpuid *c, struct error *err)
{
	struct kvm_cpuid_entry2 *e;

	memset(c, 0, sizeof(*c));
	c->head.nent = X86_MAX_CPUID;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0)
		return error_set(err, errno, "KVM_GET_SUPPORTED_CPUID: %s",
				 strerror(errno));
	mask_immovable(c);
	e = x86_cpuid_find(c, 1, 0);
	if (e) {
		e->ecx |= 1u << 31;		/* runs under a hypervisor */
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION,
			  KVM_CAP_TSC_DEADLINE_TIMER) > 0)
			e->ecx |= 1u << 24;
		e->ecx &= ~(1u << 27);		/* OSXSAVE mirrors CR4 */
	}
	return 0;
}

static unsigned int bits_for(unsigned int n)
{
	unsigned int bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* One package of @ncpus cores, one thread each; APIC id = index. */
static void set_topology(struct kvm_cpuid_entry2 *e, unsigned int index,
			 unsigned int ncpus)
{
	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0xffff) | index << 24 | ncpus << 16;
		e->edx = ncpus > 1 ? e->edx | 1u << 28 : e->edx & ~(1u << 28);
		break;
	case 4:
		e->eax = (e->eax & 0x3fff) | (MIN(ncpus, 64u) - 1) << 26;
		break;
	case 0xb:
	case 0x1f:
		e->eax = e->index == 1 ? bits_for(ncpus) : 0;
		e->ebx = e->index == 0 ? 1 : e->index == 1 ? ncpus : 0;
		e->ecx = (e->index & 0xff) | (e->index == 0 ? 0x100 :
					      e->index == 1 ? 0x200 : 0);
		e->edx = index;
		break;
	case 0x80000008:
		e->ecx = (bits_for(ncpus) << 12) | (ncpus - 1);
		break;
	case 0x8000001e:
		e->eax = index;
		e->ebx = index;
		e->ecx = 0;
		break;
	}
}

int x86_cpuid_from_tree(const void *tree, unsigned int index,
			unsigned int ncpus, struct x86_cpuid *c,
			struct error *err)
{
	int node = fdt_path_offset(tree, "/cpus"), len;
	const uint8_t *p = fdt_getprop(tree, node, "godwit,cpuid", &len);

	if (!p || len <= 0 || len % ENTRY_BYTES ||
	    len / ENTRY_BYTES > X86_MAX_CPUID)
		return error_set(err, EINVAL, "machine tree: /cpus/godwit,cpuid has %d bytes (accepted: multiples of %d, at most %d leaves)",
				 len, ENTRY_BYTES, X86_MAX_CPUID);
	memset(c, 0, sizeof(*c));
	c->head.nent = (uint32_t)len / ENTRY_BYTES;
	for (uint32_t i = 0; i < c->head.nent; i++, p += ENTRY_BYTES) {
		c->entry[i] = (struct kvm_cpuid_entry2){
			.function = get_be32(p),
			.index = get_be32(p + 4),
			.flags = get_be32(p + 8),
			.eax = get_be32(p + 12),
			.ebx = get_be32(p + 16),
			.ecx = get_be32(p + 20),
			.edx = get_be32(p + 24),
		};
		set_topology(&c->entry[i], index, ncpus);
	}
	return 0;
}

/* Leaves and registers whose bits are features. */
const struct x86_feature_word x86_feature_words[] = {
	{ 1, 0, 0xc },		{ 7, 0, 0xe },		{ 7, 1, 0x1 },
	{ 0xd, 1, 0x1 },	{ 0x40000001, 0, 0x1 }, { 0x80000001, 0, 0xc },
	{ 0x80000007, 0, 0x8 },	{ 0x80000008, 0, 0x2 },
};
const unsigned int x86_nfeature_words = ARRAY_SIZE(x86_feature_words);

uint32_t *x86_cpuid_reg(struct kvm_cpuid_entry2 *e, unsigned int reg)
{
	uint32_t *regs[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

	return regs[reg];
}

static void add_missing(uint32_t function, uint32_t index, unsigned int reg,
			uint32_t missing, struct error *err)
{
	char name[NAMESET_NAME];

	for (unsigned int bit = 0; bit < 32; bit++) {
		if (!(missing & 1u << bit))
			continue;
		x86_feature_label(function, index, reg, bit, name);
		error_add(err, ENOTSUP, "this host's CPU lacks %s, which the guest was promised",
			  name);
	}
}

static void check_vendor(struct x86_cpuid *want, struct x86_cpuid *have,
			 struct error *err)
{
	struct kvm_cpuid_entry2 *w = x86_cpuid_find(want, 0, 0);
	struct kvm_cpuid_entry2 *h = x86_cpuid_find(have, 0, 0);

	if (w && h && (w->ebx != h->ebx || w->ecx != h->ecx || w->edx != h->edx))
		error_add(err, ENOTSUP, "the guest's CPU is %.4s%.4s%.4s, this host's is %.4s%.4s%.4s: vendors can't be mixed",
			  (char *)&w->ebx, (char *)&w->edx, (char *)&w->ecx,
			  (char *)&h->ebx, (char *)&h->edx, (char *)&h->ecx);
}

int arch_tree_check(const void *tree, int kvm_fd, struct error *err)
{
	struct x86_cpuid want, have;
	int ret = x86_cpuid_from_tree(tree, 0, 1, &want, err);

	if (!ret)
		ret = x86_cpuid_host(kvm_fd, &have, err);
	if (ret)
		return ret;
	check_vendor(&want, &have, err);
	for (unsigned int i = 0; i < x86_nfeature_words; i++) {
		const struct x86_feature_word *f = &x86_feature_words[i];
		struct kvm_cpuid_entry2 *w, *h;

		w = x86_cpuid_find(&want, f->function, f->index);
		h = x86_cpuid_find(&have, f->function, f->index);
		for (unsigned int reg = 0; w && reg < 4; reg++)
			if (f->regs & 1u << reg)
				add_missing(f->function, f->index, reg,
					    *x86_cpuid_reg(w, reg) &
					    ~(h ? *x86_cpuid_reg(h, reg) : 0),
					    err);
	}
	return err->code ? -err->code : 0;
}
