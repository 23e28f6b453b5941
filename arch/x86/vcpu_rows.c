/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPU state in KVM's order. Saving and loading walk the same rows downwards;
 * each row says why it stands where it stands.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/x86.h"
#include "vmm/base/util.h"

#define MSR_TSC 0x10
#define MSR_TSC_DEADLINE 0x6e0

static int failed(const char *name, struct error *err)
{
	return error_set(err, errno, "%s: %s", name, strerror(errno));
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
SIMPLE_ROW(regs, KVM_GET_REGS, KVM_SET_REGS, regs)
SIMPLE_ROW(xcrs, KVM_GET_XCRS, KVM_SET_XCRS, xcrs)
SIMPLE_ROW(debugregs, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, debugregs)
SIMPLE_ROW(lapic, KVM_GET_LAPIC, KVM_SET_LAPIC, lapic)
SIMPLE_ROW(events, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events)

static bool has_cap(struct arch_vcpu *cpu, int cap)
{
	return ioctl(cpu->vm->vm_fd, KVM_CHECK_EXTENSION, cap) > 0;
}

/* The members that both forms share lie alike, up to apic_base. */
static int sregs_get(struct arch_vcpu *cpu, struct error *err)
{
	struct kvm_sregs old;

	memset(&cpu->state.sregs, 0, sizeof(cpu->state.sregs));
	if (has_cap(cpu, KVM_CAP_SREGS2))
		return ioctl(cpu->fd, KVM_GET_SREGS2, &cpu->state.sregs) < 0 ?
		       failed("KVM_GET_SREGS2", err) : 0;
	if (ioctl(cpu->fd, KVM_GET_SREGS, &old) < 0)
		return failed("KVM_GET_SREGS", err);
	memcpy(&cpu->state.sregs, &old, offsetof(struct kvm_sregs2, flags));
	return 0;
}

static int sregs_put(struct arch_vcpu *cpu, struct error *err)
{
	struct kvm_sregs old = { 0 };

	if (has_cap(cpu, KVM_CAP_SREGS2))
		return ioctl(cpu->fd, KVM_SET_SREGS2, &cpu->state.sregs) < 0 ?
		       failed("KVM_SET_SREGS2", err) : 0;
	memcpy(&old, &cpu->state.sregs, offsetof(struct kvm_sregs2, flags));
	return ioctl(cpu->fd, KVM_SET_SREGS, &old) < 0 ?
	       failed("KVM_SET_SREGS", err) : 0;
}

static int xsave_get(struct arch_vcpu *cpu, struct error *err)
{
	int size = ioctl(cpu->vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	struct x86_vcpu_state *s = &cpu->state;

	if (size > (int)sizeof(s->xsave))
		return error_set(err, E2BIG, "this host's XSAVE area has %d bytes, limit %zu",
				 size, sizeof(s->xsave));
	/* AMX and the like need the larger area, which only XSAVE2 gives */
	s->xsave_len = size > 4096 ? (uint32_t)size : 4096;
	if (ioctl(cpu->fd, size > 4096 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
		  s->xsave) < 0)
		return failed("KVM_GET_XSAVE", err);
	return 0;
}

static int xsave_put(struct arch_vcpu *cpu, struct error *err)
{
	return ioctl(cpu->fd, KVM_SET_XSAVE, cpu->state.xsave) < 0 ?
	       failed("KVM_SET_XSAVE", err) : 0;
}

static int tsc_khz_get(struct arch_vcpu *cpu, struct error *err)
{
	int khz = ioctl(cpu->fd, KVM_GET_TSC_KHZ, 0);

	cpu->state.tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	return 0;
}

/* 250 parts in a million: less is within what clocks differ anyway. */
static bool differs(uint32_t a, uint32_t b)
{
	uint32_t d = a > b ? a - b : b - a;

	return (uint64_t)d * 1000000 > (uint64_t)b * 250;
}

static int tsc_khz_put(struct arch_vcpu *cpu, struct error *err)
{
	uint32_t want = cpu->state.tsc_khz;
	int have = ioctl(cpu->fd, KVM_GET_TSC_KHZ, 0);

	if (!want || have <= 0 || !differs(want, (uint32_t)have))
		return 0;
	if (ioctl(cpu->fd, KVM_SET_TSC_KHZ, want) < 0)
		log_warn(cpu->vm->log, "the guest's TSC ran at %u kHz, this host's runs at %d kHz and can't be scaled: the guest's TSC changes speed, its kvmclock doesn't",
			 want, have);
	return 0;
}

/* ---- MSRs */

struct msr_batch {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[X86_MAX_MSRS];
};

int x86_msr_set(int fd, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {
		.head.nmsrs = 1,
		.entry = { .index = index, .data = value },
	};
	int n = ioctl(fd, KVM_SET_MSRS, &one);

	return n == 1 ? 0 : n < 0 ? -errno : -EINVAL;
}

/* Carry out @request for all of @list; what it stops at is taken out. */
static int keep_those(struct arch_vcpu *cpu, unsigned long request,
		      struct msr_batch *list, const char *what)
{
	uint32_t done = 0;

	while (done < list->head.nmsrs) {
		struct msr_batch rest = { .head.nmsrs = list->head.nmsrs - done };
		size_t size = rest.head.nmsrs * sizeof(*rest.entry);
		int n;

		memcpy(rest.entry, list->entry + done, size);
		n = ioctl(cpu->fd, request, &rest);
		if (n < 0)
			return -errno;
		memcpy(list->entry + done, rest.entry, size);
		done += (uint32_t)n;
		if (done == list->head.nmsrs)
			break;
		log_debug(cpu->vm->log, "this KVM can't %s MSR %#x: it doesn't travel",
			  what, list->entry[done].index);
		list->head.nmsrs--;
		memmove(&list->entry[done], &list->entry[done + 1],
			(list->head.nmsrs - done) * sizeof(*list->entry));
	}
	return 0;
}

/* All that KVM names; the TSC first, because others are relative to it, and
 * its deadline last (peers lost timers by that order). */
static int list_msrs(struct arch_vcpu *cpu, struct msr_batch *out,
		     struct error *err)
{
	struct {
		struct kvm_msr_list head;
		uint32_t index[X86_MAX_MSRS - 2];
	} list = { .head.nmsrs = X86_MAX_MSRS - 2 };
	uint32_t n = 0;

	if (ioctl(cpu->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) < 0)
		return failed("KVM_GET_MSR_INDEX_LIST", err);
	out->entry[n++].index = MSR_TSC;
	for (uint32_t i = 0; i < list.head.nmsrs; i++)
		if (list.index[i] != MSR_TSC &&
		    list.index[i] != MSR_TSC_DEADLINE)
			out->entry[n++].index = list.index[i];
	out->entry[n++].index = MSR_TSC_DEADLINE;
	out->head.nmsrs = n;
	return 0;
}

/* Keep what can be read and written back: together, because one by one it took
 * a call for each, twice. */
int x86_msrs_probe(struct arch_vcpu *cpu, struct x86_msrs *out,
		   struct error *err)
{
	struct msr_batch list = { .head.nmsrs = 0 };
	int ret = list_msrs(cpu, &list, err);

	if (ret < 0)
		return ret;
	if (keep_those(cpu, KVM_GET_MSRS, &list, "read") < 0)
		return failed("KVM_GET_MSRS", err);
	if (keep_those(cpu, KVM_SET_MSRS, &list, "set back") < 0)
		return failed("KVM_SET_MSRS", err);
	out->n = list.head.nmsrs;
	for (uint32_t i = 0; i < out->n; i++)
		out->index[i] = list.entry[i].index;
	return 0;
}

static int msrs_get(struct arch_vcpu *cpu, struct error *err)
{
	const struct x86_msrs *list = &cpu->vm->msrs;
	struct x86_msrs *m = &cpu->state.msrs;
	struct msr_batch batch = { .head.nmsrs = list->n };
	int n;

	for (uint32_t i = 0; i < list->n; i++)
		batch.entry[i].index = list->index[i];
	n = ioctl(cpu->fd, KVM_GET_MSRS, &batch);
	if (n != (int)list->n)
		return error_set(err, EIO, "KVM_GET_MSRS stopped at MSR %#x (%d of %u)",
				 n >= 0 ? list->index[n] : 0, n, list->n);
	m->n = list->n;
	for (uint32_t i = 0; i < m->n; i++) {
		m->index[i] = batch.entry[i].index;
		m->value[i] = batch.entry[i].data;
	}
	return 0;
}

int x86_msrs_put(struct arch_vcpu *cpu, const struct x86_msrs *m,
		 struct error *err)
{
	struct msr_batch batch;
	uint32_t done = 0;

	while (done < m->n) {
		int n;

		batch.head = (struct kvm_msrs){ .nmsrs = m->n - done };
		for (uint32_t i = done; i < m->n; i++)
			batch.entry[i - done] = (struct kvm_msr_entry){
				.index = m->index[i], .data = m->value[i]
			};
		n = ioctl(cpu->fd, KVM_SET_MSRS, &batch);
		if (n < 0)
			return failed("KVM_SET_MSRS", err);
		done += (uint32_t)n;
		if (done == m->n)
			break;
		/* a register that this KVM lacks and the guest never used */
		if (m->value[done])
			return error_set(err, ENOTSUP, "this host's KVM refuses MSR %#x = %#llx",
					 m->index[done],
					 (unsigned long long)m->value[done]);
		done++;
	}
	return 0;
}

static int msrs_put(struct arch_vcpu *cpu, struct error *err)
{
	return x86_msrs_put(cpu, &cpu->state.msrs, err);
}

const struct x86_row x86_rows[] = {
	{ "mp_state", mp_state_get, mp_state_put,
	  "first: reading it lets KVM deliver INIT/SIPI into the local APIC" },
	{ "regs", regs_get, regs_put,
	  "before events: writing it drops a pending exception" },
	{ "sregs", sregs_get, sregs_put,
	  "before the local APIC (APIC base) and before MSRs (EFER modes)" },
	{ "xsave", xsave_get, xsave_put,
	  "before XCRs only by habit; needs CPUID, which creation set" },
	{ "xcrs", xcrs_get, xcrs_put, "with the area that it describes" },
	{ "debugregs", debugregs_get, debugregs_put, "anywhere" },
	{ "lapic", lapic_get, lapic_put,
	  "after sregs; before MSRs: the TSC deadline needs its timer mode" },
	{ "tsc_khz", tsc_khz_get, tsc_khz_put,
	  "before MSRs: the TSC is written in its ticks" },
	{ "msrs", msrs_get, msrs_put,
	  "after all that gates them; TSC first, its deadline last" },
	{ "events", events_get, events_put,
	  "last: all that could raise or drop an event is over" },
};

const unsigned int x86_nrows = ARRAY_SIZE(x86_rows);
