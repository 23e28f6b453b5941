/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `godwit doctor`, the part that knows x86: what kind of KVM this is, what it
 * can't do, and what follows.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/common.h"
#include "arch/x86/x86.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

static const struct arch_cap caps[] = {
	{ KVM_CAP_USER_MEMORY, "USER_MEMORY", "no guest memory", true },
	{ KVM_CAP_IRQCHIP, "IRQCHIP", "no interrupt controllers", true },
	{ KVM_CAP_PIT2, "PIT2", "no timer", true },
	{ KVM_CAP_IRQFD, "IRQFD", "no virtio interrupts", true },
	{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT", "vCPUs can't be paused",
	  true },
	{ KVM_CAP_IOEVENTFD, "IOEVENTFD", "slower disks and network", false },
	{ KVM_CAP_ADJUST_CLOCK, "ADJUST_CLOCK", "guest time may jump", false },
	{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "MANUAL_DIRTY_LOG_PROTECT2",
	  "migration sends more pages twice", false },
	{ KVM_CAP_SREGS2, "SREGS2", "32-bit PAE guests can't move", false },
	{ KVM_CAP_XSAVE2, "XSAVE2", "no AMX for guests", false },
	{ KVM_CAP_TSC_CONTROL, "TSC_CONTROL",
	  "a guest's TSC can't be scaled to another host's", false },
	{ KVM_CAP_TSC_DEADLINE_TIMER, "TSC_DEADLINE_TIMER",
	  "guests use slower timers", false },
	{ KVM_CAP_DIRTY_LOG_RING, "DIRTY_LOG_RING", "no --dirty ring", false },
};

static bool module_loaded(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s", name);
	return access(path, F_OK) == 0;
}

static const char *kind(void)
{
	return module_loaded("kvm_intel") ? "hardware, Intel VMX" :
	       module_loaded("kvm_amd") ? "hardware, AMD SVM" :
	       module_loaded("kvm_pvm") ? "software (PVM)" : "unknown";
}

/*
 * Stock Linux needs a KVM that runs ring 0 as the processor does. Asking a
 * tiny guest beats guessing from module names: in real mode it executes FWAIT,
 * which every processor has and a software KVM's instruction emulator has not,
 * and then reports through a port.
 */
static bool run_probe(int vm_fd, int vcpu_fd, struct kvm_run *run)
{
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = 0x1000, .rsp = 0x800, .rflags = 2 };

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
		return false;
	s.cs.base = s.cs.selector = 0;
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &s) < 0 ||
	    ioctl(vcpu_fd, KVM_SET_REGS, &r) < 0)
		return false;
	return ioctl(vcpu_fd, KVM_RUN, 0) == 0 &&
	       run->exit_reason == KVM_EXIT_IO && run->io.port == 0xf4;
}

static bool probe_ring0(int kvm_fd)
{
	/* fwait; out %al, $0xf4; hlt */
	static const uint8_t code[] = { 0x9b, 0xe6, 0xf4, 0xf4 };
	int vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0), vcpu_fd = -1;
	int bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	uint8_t *ram = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = {
		.memory_size = 0x2000, .userspace_addr = (uintptr_t)ram
	};
	struct kvm_run *run = MAP_FAILED;
	bool ok = false;

	if (vm_fd >= 0 && ram != MAP_FAILED && bytes > 0) {
		memcpy(ram + 0x1000, code, sizeof(code));
		if (ioctl(vm_fd, KVM_SET_TSS_ADDR, X86_TSS_ADDR) == 0 &&
		    ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) == 0)
			vcpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0);
		if (vcpu_fd >= 0)
			run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
				   MAP_SHARED, vcpu_fd, 0);
		ok = run != MAP_FAILED && run_probe(vm_fd, vcpu_fd, run);
	}
	if (run != MAP_FAILED)
		munmap(run, (size_t)bytes);
	if (ram != MAP_FAILED)
		munmap(ram, 0x2000);
	fd_close(&vcpu_fd);
	fd_close(&vm_fd);
	return ok;
}

/* MSRs that KVM lists but won't take back: they can't travel. */
static void print_stuck_msrs(FILE *out, int kvm_fd)
{
	struct {
		struct kvm_msr_list head;
		uint32_t index[X86_MAX_MSRS];
	} list = { .head.nmsrs = X86_MAX_MSRS };
	struct error ignored = ERROR_INIT;
	struct log quiet = { .level = LOG_ERROR, .fd = 2 };
	struct x86_msrs *can = calloc(1, sizeof(*can));
	int vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	int cpu_fd = vm_fd < 0 ? -1 : ioctl(vm_fd, KVM_CREATE_VCPU, 0);
	struct arch_vm vm = { .log = &quiet, .kvm_fd = kvm_fd, .vm_fd = vm_fd };
	struct arch_vcpu cpu = { .vm = &vm, .fd = cpu_fd };

	if (can && cpu_fd >= 0 &&
	    ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) == 0 &&
	    x86_msrs_probe(&cpu, can, &ignored) == 0)
		fprintf(out, "  MSRs that can be saved and set: %u of %u\n",
			can->n, list.head.nmsrs);
	free(can);
	fd_close(&cpu_fd);
	fd_close(&vm_fd);
}

bool arch_doctor(FILE *out, int kvm_fd)
{
	bool linux_ok = probe_ring0(kvm_fd), all;

	fprintf(out, "KVM: %s\n", kind());
	all = arch_caps_print(out, kvm_fd, caps, ARRAY_SIZE(caps));
	print_stuck_msrs(out, kvm_fd);
	fprintf(out, "Stock Linux guests: %s\n", linux_ok ? "yes" :
		"no: this KVM emulates ring 0 only in part (FWAIT failed); small guests that work in ring 3 do run");
	return all && linux_ok;
}
