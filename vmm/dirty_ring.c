/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/dirty_ring.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vmm/base/util.h"
#include "vmm/kvm.h"

/* KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, which older headers lack. On arm64 the
 * interrupt controller's tables are written by no vCPU. */
#define CAP_RING_WITH_BITMAP 225
/* In pages, on all that have rings; a header may say 0 for "none". */
#define RING_OFFSET (KVM_DIRTY_LOG_PAGE_OFFSET ? KVM_DIRTY_LOG_PAGE_OFFSET : 64)

struct dirty_ring {
	struct kvm_dirty_gfn *entry;	/* shared with KVM */
	uint32_t next;			/* counts on; modulo entries */
	uint64_t pages;			/* harvested since the start */
};

struct dirty_rings {
	uint32_t entries;		/* of each, a power of two */
	bool bitmap;			/* see dirty_rings_have_bitmap() */
	unsigned int n;
	pthread_mutex_t lock;		/* protects the rest */
	/* harvested, but not asked for yet; NULL: nobody will */
	unsigned long *found[MEMORY_MAX_REGIONS];
	uint64_t npages[MEMORY_MAX_REGIONS];
	struct dirty_ring ring[];
};

/* The first of the two is for any processor, the other for x86 alone, whose
 * stores are seen in their order. */
static uint32_t ring_cap(const struct kvm_vm *kvm, int *most_bytes)
{
	static const uint32_t caps[] = {
		KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(caps); i++) {
		*most_bytes = ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, caps[i]);
		if (*most_bytes > 0)
			return caps[i];
	}
	return 0;
}

bool dirty_rings_offered(const struct kvm_vm *kvm)
{
	int bytes;

	return ring_cap(kvm, &bytes) != 0;
}

static int enable(struct kvm_vm *kvm, uint32_t entries, struct error *err)
{
	int most;
	struct kvm_enable_cap cap = {
		.cap = ring_cap(kvm, &most),
		.args[0] = entries * sizeof(struct kvm_dirty_gfn),
	};

	if (!cap.cap)
		return error_set(err, ENOTSUP, "this KVM has no dirty ring: use --dirty bitmap, or auto");
	if (cap.args[0] > (unsigned int)most)
		return error_set(err, EINVAL, "a dirty ring of %u entries: this KVM has at most %zu",
				 entries,
				 (size_t)most / sizeof(struct kvm_dirty_gfn));
	if (ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		return error_set(err, errno, "KVM_ENABLE_CAP, dirty ring of %u entries: %s",
				 entries, strerror(errno));
	return 0;
}

/* Where it is offered it is needed. */
static int enable_bitmap(struct kvm_vm *kvm, struct error *err)
{
	struct kvm_enable_cap cap = { .cap = CAP_RING_WITH_BITMAP };

	if (ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, CAP_RING_WITH_BITMAP) <= 0)
		return 0;
	if (ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		return error_set(err, errno, "KVM_ENABLE_CAP, bitmap beside the dirty ring: %s",
				 strerror(errno));
	kvm->rings->bitmap = true;
	return 0;
}

int dirty_rings_create(struct kvm_vm *kvm, unsigned int nvcpus,
		       uint32_t entries, struct error *err)
{
	struct dirty_rings *rs;
	int ret = enable(kvm, entries, err);

	if (ret < 0)
		return ret;
	rs = calloc(1, sizeof(*rs) + nvcpus * sizeof(rs->ring[0]));
	if (!rs)
		return error_set(err, ENOMEM, "no memory for dirty rings");
	rs->entries = entries;
	rs->n = nvcpus;
	pthread_mutex_init(&rs->lock, NULL);
	kvm->rings = rs;
	return enable_bitmap(kvm, err);
}

static size_t ring_bytes(const struct dirty_rings *rs)
{
	return rs->entries * sizeof(struct kvm_dirty_gfn);
}

static void drop_found(struct dirty_rings *rs)
{
	for (unsigned int r = 0; r < MEMORY_MAX_REGIONS; r++) {
		free(rs->found[r]);
		rs->found[r] = NULL;
	}
}

void dirty_rings_destroy(struct kvm_vm *kvm)
{
	struct dirty_rings *rs = kvm->rings;

	if (!rs)
		return;
	for (unsigned int i = 0; i < rs->n; i++)
		if (rs->ring[i].entry)
			munmap(rs->ring[i].entry, ring_bytes(rs));
	drop_found(rs);
	pthread_mutex_destroy(&rs->lock);
	free(rs);
	kvm->rings = NULL;
}

int dirty_ring_map(struct kvm_vm *kvm, unsigned int vcpu, int fd,
		   struct error *err)
{
	struct dirty_rings *rs = kvm->rings;
	void *at;

	if (!rs)
		return 0;
	at = mmap(NULL, ring_bytes(rs), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  RING_OFFSET * (off_t)PAGE_BYTES);
	if (at == MAP_FAILED)
		return error_set(err, errno, "vCPU %u: mmap of its dirty ring: %s",
				 vcpu, strerror(errno));
	rs->ring[vcpu].entry = at;
	return 0;
}

/* The slot of a memory region has its number; see kvm_map_memory(). */
static void note(struct dirty_rings *rs, uint32_t slot, uint64_t page)
{
	if (slot < MEMORY_MAX_REGIONS && rs->found[slot] &&
	    page < rs->npages[slot])
		rs->found[slot][page / 64] |= 1ul << page % 64;
}

/*
 * KVM writes an entry, then its flag; the acquiring load sees both or neither.
 * The releasing store gives the entry back after it was read. Ends where KVM has
 * not written yet, or after all entries: those of this turn are not dirty any
 * more. Returns how many. Under the lock.
 */
static unsigned int harvest(struct dirty_rings *rs, struct dirty_ring *ring)
{
	unsigned int n = 0;

	for (;; n++, ring->next++) {
		struct kvm_dirty_gfn *e =
			&ring->entry[ring->next & (rs->entries - 1)];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) !=
		    KVM_DIRTY_GFN_F_DIRTY)
			break;
		note(rs, e->slot, e->offset);
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET,
				 __ATOMIC_RELEASE);
	}
	ring->pages += n;
	return n;
}

/* Rings [@first, @end). Under the lock. */
static int harvest_some(struct kvm_vm *kvm, unsigned int first,
			unsigned int end, struct error *err)
{
	struct dirty_rings *rs = kvm->rings;
	unsigned int n = 0;

	for (unsigned int i = first; i < end; i++)
		if (rs->ring[i].entry)
			n += harvest(rs, &rs->ring[i]);
	if (n && ioctl(kvm->vm_fd, KVM_RESET_DIRTY_RINGS, 0) < 0)
		return error_set(err, errno, "KVM_RESET_DIRTY_RINGS: %s",
				 strerror(errno));
	return 0;
}

static int make_found(struct dirty_rings *rs, const struct memory *mem,
		      struct error *err)
{
	for (unsigned int r = 0; r < mem->nregions; r++) {
		rs->npages[r] = memory_pages(mem, r);
		rs->found[r] = calloc((rs->npages[r] + 63) / 64, sizeof(long));
		if (!rs->found[r])
			return error_set(err, ENOMEM, "no memory for what is found in dirty rings");
	}
	return 0;
}

int dirty_rings_start(struct kvm_vm *kvm, const struct memory *mem,
		      struct error *err)
{
	struct dirty_rings *rs = kvm->rings;
	int ret;

	if (!rs)
		return 0;
	pthread_mutex_lock(&rs->lock);
	ret = harvest_some(kvm, 0, rs->n, err);
	drop_found(rs);
	if (ret == 0)
		ret = make_found(rs, mem, err);
	if (ret < 0)
		drop_found(rs);
	for (unsigned int i = 0; i < rs->n; i++)
		rs->ring[i].pages = 0;
	pthread_mutex_unlock(&rs->lock);
	return ret;
}

void dirty_rings_stop(struct kvm_vm *kvm)
{
	struct dirty_rings *rs = kvm->rings;

	if (!rs)
		return;
	pthread_mutex_lock(&rs->lock);
	drop_found(rs);
	pthread_mutex_unlock(&rs->lock);
}

int dirty_rings_sync(struct kvm_vm *kvm, unsigned int region,
		     unsigned long *bitmap, struct error *err)
{
	struct dirty_rings *rs = kvm->rings;
	uint64_t longs;
	int ret;

	if (!rs)
		return 0;
	pthread_mutex_lock(&rs->lock);
	ret = harvest_some(kvm, 0, rs->n, err);
	longs = rs->found[region] ? (rs->npages[region] + 63) / 64 : 0;
	for (uint64_t i = 0; ret == 0 && i < longs; i++) {
		bitmap[i] |= rs->found[region][i];
		rs->found[region][i] = 0;
	}
	pthread_mutex_unlock(&rs->lock);
	return ret;
}

int dirty_ring_full(struct kvm_vm *kvm, unsigned int vcpu, struct error *err)
{
	struct dirty_rings *rs = kvm->rings;
	int ret;

	if (!rs)
		return error_set(err, EPROTO, "KVM says that a dirty ring is full, but there are none");
	pthread_mutex_lock(&rs->lock);
	ret = harvest_some(kvm, vcpu, vcpu + 1, err);
	pthread_mutex_unlock(&rs->lock);
	return ret;
}

bool dirty_rings_count(struct kvm_vm *kvm, uint64_t *pages)
{
	struct dirty_rings *rs = kvm->rings;

	if (!rs)
		return false;
	pthread_mutex_lock(&rs->lock);
	for (unsigned int i = 0; i < rs->n; i++)
		pages[i] = rs->ring[i].pages;
	pthread_mutex_unlock(&rs->lock);
	return true;
}

bool dirty_rings_have_bitmap(const struct kvm_vm *kvm)
{
	return kvm->rings && kvm->rings->bitmap;
}
