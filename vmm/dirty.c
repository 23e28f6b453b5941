/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/dirty.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/dirty_ring.h"
#include "vmm/kvm.h"
#include "vmm/vm.h"

int dirty_init(struct vm *vm, const struct dirty_config *cfg,
	       struct error *err)
{
	uint32_t entries = cfg->entries ? cfg->entries : DIRTY_RING_USUAL;
	bool ring = cfg->how == DIRTY_RING;

	if (cfg->how == DIRTY_AUTO)
		ring = vm->nvcpus > 1 && dirty_rings_offered(vm->kvm);
	if (ring)
		return dirty_rings_create(vm->kvm, vm->nvcpus, entries, err);
	kvm_manual_protect(vm->kvm);
	return 0;
}

int dirty_start(struct vm *vm, struct error *err)
{
	int ret;

	memory_track_own(&vm->mem, true);
	for (unsigned int i = 0; i < vm->mem.nregions; i++)
		vm->kvm->first_sync[i] = true;
	ret = dirty_rings_start(vm->kvm, &vm->mem, err);
	vm->kvm->logging = ret == 0;
	if (ret == 0)
		ret = kvm_map_memory(vm->kvm, &vm->mem, err);
	if (ret < 0) {
		error_prefix(err, "dirty logging");
		dirty_stop(vm);
	}
	return ret;
}

void dirty_stop(struct vm *vm)
{
	struct error ignored = ERROR_INIT;

	vm->kvm->logging = false;
	memory_track_own(&vm->mem, false);
	/* dropping a flag can't fail; if it did, tracking goes on unread */
	(void)!kvm_map_memory(vm->kvm, &vm->mem, &ignored);
	dirty_rings_stop(vm->kvm);
}

/*
 * KVM overwrites the bitmap it is given, and the caller's holds pages that it
 * has not sent yet: so KVM writes to one of ours, kept from round to round.
 */
static unsigned long *log_buffer(struct kvm_vm *kvm, size_t longs,
				 struct error *err)
{
	unsigned long *bigger;

	if (kvm->log_longs >= longs)
		return kvm->log;
	bigger = realloc(kvm->log, longs * sizeof(*bigger));
	if (!bigger) {
		error_set(err, ENOMEM, "no memory for a dirty log of %zu bytes",
			  longs * sizeof(*bigger));
		return NULL;
	}
	kvm->log = bigger;
	kvm->log_longs = longs;
	return bigger;
}

static int take_log(struct vm *vm, unsigned int region, size_t longs,
		    unsigned long *bitmap, struct error *err)
{
	unsigned long *log = log_buffer(vm->kvm, longs, err);
	struct kvm_dirty_log get = { .slot = region, .dirty_bitmap = log };

	if (!log)
		return -ENOMEM;
	if (ioctl(vm->kvm->vm_fd, KVM_GET_DIRTY_LOG, &get) < 0)
		return error_set(err, errno, "KVM_GET_DIRTY_LOG, slot %u: %s",
				 region, strerror(errno));
	for (size_t i = 0; i < longs; i++)
		bitmap[i] |= log[i];
	return 0;
}

int dirty_sync(struct vm *vm, unsigned int region, unsigned long *bitmap,
	       struct error *err)
{
	uint64_t npages = memory_pages(&vm->mem, region);
	size_t longs = (npages + 63) / 64;
	int ret;

	memory_take_own(&vm->mem, region, bitmap);
	ret = dirty_rings_sync(vm->kvm, region, bitmap, err);
	if (ret == 0 && (!vm->kvm->rings || dirty_rings_have_bitmap(vm->kvm)))
		ret = take_log(vm, region, longs, bitmap, err);
	if (ret < 0)
		return ret;
	if (vm->kvm->first_sync[region]) {
		vm->kvm->first_sync[region] = false;
		memset(bitmap, 0xff, npages / 64 * sizeof(*bitmap));
		if (npages % 64)
			bitmap[npages / 64] |= (1ul << (npages % 64)) - 1;
	}
	return 0;
}

int dirty_clear(struct vm *vm, unsigned int region, uint64_t first,
		uint64_t npages, const unsigned long *bitmap,
		struct error *err)
{
	/* KVM wants the bitmap of the range; it only reads it */
	struct kvm_clear_dirty_log clear = {
		.slot = region,
		.first_page = first,
		.num_pages = (uint32_t)npages,
		.dirty_bitmap = (void *)(uintptr_t)(bitmap + first / 64),
	};

	if (!vm->kvm->manual_protect)
		return 0;
	if (ioctl(vm->kvm->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0)
		return error_set(err, errno, "KVM_CLEAR_DIRTY_LOG, slot %u, pages %llu+%llu: %s",
				 region, (unsigned long long)first,
				 (unsigned long long)npages, strerror(errno));
	return 0;
}

bool dirty_by_vcpu(struct vm *vm, uint64_t *pages)
{
	return dirty_rings_count(vm->kvm, pages);
}
