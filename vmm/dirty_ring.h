/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's dirty rings, behind dirty.h: each vCPU has a ring in memory shared with
 * KVM, and each page that it writes for the first time since that page was
 * protected is an entry {slot, page}.
 *
 *	KVM appends	 v		 v we look here next
 *	| free ......... | dirty dirty ... | reset reset ... | free
 *
 * Harvesting takes the dirty entries, marks them as to be reset, and one
 * KVM_RESET_DIRTY_RINGS protects their pages again and frees the entries. That
 * is done under one lock, with what was found: nobody may see a page as dirty,
 * and read it, before it is protected again.
 *
 * A ring is harvested by dirty_sync(), and by its vCPU when KVM leaves the
 * guest because it is full. What a vCPU wrote stays in its ring when it stops.
 *
 * Cost, beside the fault of each page: of an entry, the harvest (a load, a bit,
 * a store) and its share of the reset, which walks the ring again and protects
 * the pages; of a ring that is full, an exit and one such turn. The reset is by
 * far the most. The bitmap has no entries, but KVM walks all of it.
 */
#ifndef GODWIT_DIRTY_RING_H
#define GODWIT_DIRTY_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/memory.h"

struct kvm_vm;

/* Has this KVM rings? */
bool dirty_rings_offered(const struct kvm_vm *kvm);
/* Switch them on, @entries each, for @nvcpus vCPUs. Before the first memory
 * slot and the first vCPU. */
int dirty_rings_create(struct kvm_vm *kvm, unsigned int nvcpus,
		       uint32_t entries, struct error *err) __must_check;
/* NULL is fine. Unmaps the rings; no vCPU runs. */
void dirty_rings_destroy(struct kvm_vm *kvm);

/* Each of these does nothing where there are no rings. */

/* The ring of the vCPU that was created as @fd. */
int dirty_ring_map(struct kvm_vm *kvm, unsigned int vcpu, int fd,
		   struct error *err) __must_check;
/* Forget what is in the rings and keep what comes, for @mem / keep nothing. */
int dirty_rings_start(struct kvm_vm *kvm, const struct memory *mem,
		      struct error *err) __must_check;
void dirty_rings_stop(struct kvm_vm *kvm);
/* Harvest all rings, then OR what was found of region @region into @bitmap. */
int dirty_rings_sync(struct kvm_vm *kvm, unsigned int region,
		     unsigned long *bitmap, struct error *err) __must_check;
/* KVM_EXIT_DIRTY_RING_FULL. In the vCPU's thread. */
int dirty_ring_full(struct kvm_vm *kvm, unsigned int vcpu,
		    struct error *err) __must_check;
/* See dirty_by_vcpu(). */
bool dirty_rings_count(struct kvm_vm *kvm, uint64_t *pages);
/* Does KVM also keep a bitmap, of what no vCPU wrote? */
bool dirty_rings_have_bitmap(const struct kvm_vm *kvm);

#endif
