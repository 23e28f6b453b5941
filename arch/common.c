/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "arch/common.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "vmm/base/util.h"

bool arch_caps_print(FILE *out, int kvm_fd, const struct arch_cap *cap,
		     size_t n)
{
	bool all = true;

	for (size_t i = 0; i < n; i++) {
		bool has = ioctl(kvm_fd, KVM_CHECK_EXTENSION, cap[i].cap) > 0;

		fprintf(out, "  %-28s %s%s%s\n", cap[i].name,
			has ? "yes" : "no", has ? "" : ": ",
			has ? "" : cap[i].without);
		all = all && (has || !cap[i].needed);
	}
	return all;
}

static const char *exit_name(uint32_t reason)
{
	static const char *const names[] = {
		"unknown", "exception", "io", "hypercall", "debug", "hlt",
		"mmio", "irq-window-open", "shutdown", "fail-entry", "intr",
		"set-tpr", "tpr-access", NULL, NULL, NULL, NULL,
		"internal-error", NULL, NULL, NULL, NULL, NULL, NULL,
		"system-event", NULL, "ioapic-eoi", "hyperv", "arm-nisv",
		"x86-rdmsr", "x86-wrmsr", "dirty-ring-full",
	};

	return reason < ARRAY_SIZE(names) && names[reason] ? names[reason] :
							     "other";
}

static enum arch_exit system_event(const struct kvm_run *run, struct error *err)
{
	switch (run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		return ARCH_EXIT_SHUTDOWN;
	case KVM_SYSTEM_EVENT_RESET:
		return ARCH_EXIT_RESET;
	default:
		error_set(err, EIO, "KVM system event %u",
			  run->system_event.type);
		return ARCH_EXIT_ERROR;
	}
}

enum arch_exit arch_exit_common(const struct kvm_run *run, struct error *err)
{
	switch (run->exit_reason) {
	case KVM_EXIT_SYSTEM_EVENT:
		return system_event(run, err);
	case KVM_EXIT_FAIL_ENTRY:
		error_set(err, EIO, "can't enter the guest: hardware reason %#llx",
			  run->fail_entry.hardware_entry_failure_reason);
		return ARCH_EXIT_ERROR;
	default:
		error_set(err, EIO, "unexpected exit %s (%u)",
			  exit_name(run->exit_reason), run->exit_reason);
		return ARCH_EXIT_ERROR;
	}
}
