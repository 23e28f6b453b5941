/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's side of a VM: file descriptors, memory slots, interrupt lines, the
 * ioeventfds. Only vmm/ uses it; devices see struct device_env.
 */
#ifndef GODWIT_KVM_H
#define GODWIT_KVM_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/irq.h"
#include "vmm/memory.h"

#define KVM_GSIS 64

struct kvm_line {
	struct irq_line line;
	int vm_fd;
	int fd;			/* irqfd, -1 until first asked for */
};

struct dirty_rings;

struct kvm_vm {
	int dev_fd;		/* /dev/kvm */
	int vm_fd;
	uint32_t run_bytes;	/* of a vCPU's shared mapping */
	bool manual_protect;	/* KVM_CLEAR_DIRTY_LOG works */
	bool logging;
	bool first_sync[MEMORY_MAX_REGIONS];
	struct dirty_rings *rings;	/* NULL: dirty pages come as bitmaps */
	unsigned long *log;	/* what KVM fills, log_longs long */
	size_t log_longs;
	struct kvm_line line[KVM_GSIS];
};

/* Open /dev/kvm and check the API; the fd, or -errno. */
int kvm_open(struct error *err);

/* Create a VM; nothing in it yet. */
int kvm_vm_create(struct kvm_vm **out, struct error *err) __must_check;
void kvm_vm_destroy(struct kvm_vm *kvm);

/* Ask for page tracking that costs nothing until a page is about to be sent.
 * Not with dirty rings, which must see each page's first write. */
void kvm_manual_protect(struct kvm_vm *kvm);

/* One slot a region, slot number = region index. */
int kvm_map_memory(struct kvm_vm *kvm, const struct memory *mem,
		   struct error *err) __must_check;
/* The line of @gsi with its irqfd; owned by @kvm. */
struct irq_line *kvm_irq_line(struct kvm_vm *kvm, unsigned int gsi,
			      struct error *err);
/* 0 or -errno. */
int kvm_ioeventfd(struct kvm_vm *kvm, gpa_t addr, uint32_t value, int fd,
		  bool add);

#endif
