/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `godwit doctor`, the part that knows arm64: what this KVM can't do, and what
 * follows.
 */
#include <sys/ioctl.h>

#include "arch/arm64/arm64.h"
#include "arch/common.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

static const struct arch_cap caps[] = {
	{ KVM_CAP_USER_MEMORY, "USER_MEMORY", "no guest memory", true },
	{ KVM_CAP_ONE_REG, "ONE_REG", "no vCPU registers", true },
	{ KVM_CAP_ARM_PSCI_0_2, "ARM_PSCI_0_2", "one vCPU at most", true },
	{ KVM_CAP_IRQFD, "IRQFD", "no virtio interrupts", true },
	{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT", "vCPUs can't be paused",
	  true },
	{ KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS", "vCPUs can't move", true },
	{ KVM_CAP_IOEVENTFD, "IOEVENTFD", "slower disks and network", false },
	{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "MANUAL_DIRTY_LOG_PROTECT2",
	  "migration sends more pages twice", false },
	{ KVM_CAP_ARM_SVE, "ARM_SVE", "no SVE for guests", false },
	{ KVM_CAP_ARM_PTRAUTH_ADDRESS, "ARM_PTRAUTH_ADDRESS",
	  "no pointer authentication for guests", false },
	{ KVM_CAP_DIRTY_LOG_RING_ACQ_REL, "DIRTY_LOG_RING_ACQ_REL",
	  "no --dirty ring", false },
};

/* Nothing is created by a test. */
static bool has_gicv3(int kvm_fd)
{
	struct kvm_create_device dev = {
		.type = KVM_DEV_TYPE_ARM_VGIC_V3,
		.flags = KVM_CREATE_DEVICE_TEST,
	};
	int vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	bool has = vm_fd >= 0 && ioctl(vm_fd, KVM_CREATE_DEVICE, &dev) == 0;

	fd_close(&vm_fd);
	return has;
}

bool arch_doctor(FILE *out, int kvm_fd)
{
	bool gic = has_gicv3(kvm_fd), all;
	struct error err = ERROR_INIT;
	struct arm64_identity id;

	fprintf(out, "KVM: hardware, EL2\n");
	all = arch_caps_print(out, kvm_fd, caps, ARRAY_SIZE(caps));
	fprintf(out, "  %-28s %s\n", "GICv3", gic ? "yes" :
		"no: no interrupt controller for guests");
	if (arm64_identity_host(kvm_fd, &id, &err) < 0) {
		fprintf(out, "  vCPU: %s\n", err.msg);
		return false;
	}
	fprintf(out, "  ID registers: %u; counter at %u Hz\n", id.n,
		id.counter_hz);
	fprintf(out, "Stock Linux guests: %s\n", gic && all ? "yes" : "no");
	return gic && all;
}
