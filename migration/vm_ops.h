/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a migration asks of a VM: vmm/vm.h and vmm/dirty.h as a table, so that
 * the hand-over is tested, step by step, without KVM.
 */
#ifndef GODWIT_MIGRATION_VM_OPS_H
#define GODWIT_MIGRATION_VM_OPS_H

#include "vmm/dirty.h"
#include "vmm/disk.h"
#include "vmm/vm.h"

struct migration_vm_ops {
	int (*dirty_start)(struct vm *vm, struct error *err);
	void (*dirty_stop)(struct vm *vm);
	int (*dirty_sync)(struct vm *vm, unsigned int region,
			  unsigned long *bitmap, struct error *err);
	int (*dirty_clear)(struct vm *vm, unsigned int region, uint64_t first,
			   uint64_t npages, const unsigned long *bitmap,
			   struct error *err);
	uint64_t (*vcpu_time)(struct vm *vm);
	bool (*dirty_by_vcpu)(struct vm *vm, uint64_t *pages);
	void (*throttle)(struct vm *vm, unsigned int percent);
	void (*hold)(struct vm *vm, bool on);
	void (*throttle_each)(struct vm *vm, const unsigned int *percent);
	void (*pause)(struct vm *vm, enum vm_state state);
	int (*quiesce)(struct vm *vm, uint64_t deadline, struct error *err);
	int (*save)(struct vm *vm, void **fdt, size_t *len, struct error *err);
	void (*rehearse)(struct vm *vm);
	uint64_t (*saved_at)(struct vm *vm);
	int (*load)(struct vm *vm, const void *fdt, size_t len,
		    uint64_t age_ns, struct error *err);
	int (*activate)(struct vm *vm, struct error *err);
	int (*deactivate)(struct vm *vm, struct error *err);
	int (*run)(struct vm *vm, struct error *err);
	void (*announce)(struct vm *vm);
	enum vm_state (*get_state)(struct vm *vm);
	struct vm_disk *(*disk)(struct vm *vm, unsigned int index);
};

/* The real ones. */
extern const struct migration_vm_ops migration_vm_ops;

#endif
