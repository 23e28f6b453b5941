/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/fd.h"
#include "vmm/base/util.h"
#include "vmm/memory_shared.h"

#define BITS_PER_LONG (8 * sizeof(long))
#define HUGE_PAGE (2 * MIB)

/* /proc/self/pagemap: bit 63 present, bit 62 swapped (proc(5)) */
#define PAGEMAP_TOUCHED (3ull << 62)

static size_t bitmap_longs(uint64_t bytes)
{
	return ((bytes >> PAGE_SHIFT) + BITS_PER_LONG - 1) / BITS_PER_LONG;
}

/* Anonymous memory aligned to huge pages: the kernel can use them at once. */
static uint8_t *map_anon(uint64_t size)
{
	uint64_t want = size + HUGE_PAGE;
	uint8_t *p = mmap(NULL, want, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *start;

	if (p == MAP_FAILED)
		return NULL;
	start = (uint8_t *)align_up((uintptr_t)p, HUGE_PAGE);
	if (start > p)
		munmap(p, (size_t)(start - p));
	munmap(start + size, (size_t)(p + want - (start + size)));
	/* without huge pages it works, only slower */
	(void)madvise(start, size, MADV_HUGEPAGE);
	return start;
}

static uint8_t *map_fd(const struct memory *mem, uint64_t size,
		       uint64_t offset)
{
	int how = mem->backing == MEMORY_FILE ? MAP_PRIVATE : MAP_SHARED;
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  how | MAP_NORESERVE, mem->fd, (off_t)offset);

	return p == MAP_FAILED ? NULL : p;
}

/* Where the region behind the last one begins, in a file from @offset on. */
static uint64_t next_at(const struct memory *mem, uint64_t offset)
{
	const struct memory_region *last;

	if (!mem->nregions)
		return offset;
	last = &mem->region[mem->nregions - 1];
	return align_up(last->file_at + last->range.size, MEMORY_FILE_ALIGN);
}

static int region_init(struct memory *mem, const struct memory_range *range,
		       uint64_t offset, struct error *err)
{
	struct memory_region *r = &mem->region[mem->nregions];
	uint64_t size = range->size;

	if (!size || (size | range->base) & (PAGE_BYTES - 1))
		return error_set(err, EINVAL, "guest memory range %#llx+%#llx is not page-aligned",
				 (unsigned long long)range->base,
				 (unsigned long long)size);
	r->range = *range;
	r->file_at = next_at(mem, offset);
	r->host = mem->fd >= 0 ? map_fd(mem, size, r->file_at) :
				 map_anon(size);
	if (!r->host)
		return error_set(err, errno, "can't map %llu MiB of guest memory: %s",
				 (unsigned long long)(size / MIB),
				 strerror(errno));
	/* a core dump of a VMM must not carry the guest's secrets */
	(void)madvise(r->host, size, MADV_DONTDUMP);
	mem->nregions++;
	r->own_dirty = calloc(bitmap_longs(size), sizeof(*r->own_dirty));
	if (!r->own_dirty)
		return error_set(err, ENOMEM, "no memory for a dirty bitmap");
	mem->size += size;
	return 0;
}

static int regions_init(struct memory *mem, const struct memory_range *range,
			unsigned int nranges, uint64_t offset,
			struct error *err)
{
	for (unsigned int i = 0; i < nranges; i++) {
		int ret = region_init(mem, &range[i], offset, err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* The bytes that the ranges need in a file, or why they are no memory. */
static int check_ranges(const struct memory_range *range, unsigned int nranges,
			uint64_t *need, struct error *err)
{
	*need = 0;
	if (!nranges || nranges > MEMORY_MAX_REGIONS)
		return error_set(err, EINVAL, "%u guest memory ranges, limit %d",
				 nranges, MEMORY_MAX_REGIONS);
	for (unsigned int i = 0; i < nranges; i++)
		if (range[i].size > INT64_MAX / 2 ||
		    add_overflows(align_up(*need, MEMORY_FILE_ALIGN),
				  range[i].size, need) ||
		    *need > INT64_MAX / 2)
			return error_set(err, EINVAL, "guest memory is too large");
	return 0;
}

int memory_init(struct memory *mem, const struct memory_range *range,
		unsigned int nranges, enum memory_backing backing,
		struct error *err)
{
	uint64_t need;
	int ret;

	memset(mem, 0, sizeof(*mem));
	mem->backing = backing;
	mem->fd = mem->pagemap = -1;
	ret = check_ranges(range, nranges, &need, err);
	if (ret == 0 && backing == MEMORY_MEMFD)
		ret = memory_shared_make(mem, need, err);
	if (ret == 0)
		ret = regions_init(mem, range, nranges, 0, err);
	if (ret < 0)
		memory_exit(mem);
	return ret;
}

/* A page behind the file's end would kill who touches it. */
static int check_file(int fd, uint64_t need, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return error_set(err, errno, "file of guest memory: %s",
				 strerror(errno));
	if ((uint64_t)st.st_size < need)
		return error_set(err, EINVAL, "file of guest memory: %llu bytes, the machine needs %llu",
				 (unsigned long long)st.st_size,
				 (unsigned long long)need);
	return 0;
}

int memory_init_file(struct memory *mem, const struct memory_range *range,
		     unsigned int nranges, int fd, uint64_t offset,
		     struct error *err)
{
	uint64_t need;
	int ret;

	memset(mem, 0, sizeof(*mem));
	mem->backing = MEMORY_FILE;
	mem->fd = mem->pagemap = -1;
	ret = check_ranges(range, nranges, &need, err);
	if (ret == 0)
		ret = check_file(fd, offset + need, err);
	if (ret < 0)
		return ret;
	mem->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (mem->fd < 0)
		return error_set(err, errno, "file of guest memory: %s",
				 strerror(errno));
	ret = regions_init(mem, range, nranges, offset, err);
	if (ret < 0)
		memory_exit(mem);
	return ret;
}

int memory_init_shared(struct memory *mem, const struct memory_range *range,
		       unsigned int nranges, int fd, struct error *err)
{
	uint64_t need;
	int ret;

	memset(mem, 0, sizeof(*mem));
	mem->backing = MEMORY_MEMFD;
	mem->fd = -1;
	ret = check_ranges(range, nranges, &need, err);
	if (ret == 0)
		ret = memory_shared_adopt(mem, fd, need, err);
	if (ret == 0)
		ret = regions_init(mem, range, nranges, 0, err);
	if (ret < 0)
		memory_exit(mem);
	return ret;
}

uint64_t memory_file_size(const struct memory *mem)
{
	uint64_t size = 0;

	for (unsigned int i = 0; i < mem->nregions; i++)
		size = align_up(size, MEMORY_FILE_ALIGN) +
		       mem->region[i].range.size;
	return size;
}

void memory_exit(struct memory *mem)
{
	for (unsigned int i = 0; i < mem->nregions; i++) {
		struct memory_region *r = &mem->region[i];

		munmap(r->host, r->range.size);
		free(r->own_dirty);
	}
	mem->nregions = 0;
	mem->size = 0;
	memory_shared_exit(mem);
	fd_close(&mem->fd);
	fd_close(&mem->pagemap);
}

bool memory_locate(const struct memory *mem, gpa_t gpa, uint64_t len,
		   unsigned int *region, uint64_t *offset)
{
	for (unsigned int i = 0; i < mem->nregions; i++) {
		const struct memory_range *r = &mem->region[i].range;

		if (gpa < r->base || !range_within(gpa - r->base, len, r->size))
			continue;
		*region = i;
		*offset = gpa - r->base;
		return true;
	}
	return false;
}

static const struct memory_region *find(const struct memory *mem, gpa_t gpa,
					uint64_t len)
{
	unsigned int region;
	uint64_t offset;

	return memory_locate(mem, gpa, len, &region, &offset) ?
		       &mem->region[region] : NULL;
}

void *memory_ptr(const struct memory *mem, gpa_t gpa, uint64_t len)
{
	const struct memory_region *r = find(mem, gpa, len);

	return r ? r->host + (gpa - r->range.base) : NULL;
}

int memory_read(const struct memory *mem, gpa_t gpa, void *buf, size_t len)
{
	const void *p = memory_ptr(mem, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(buf, p, len);
	return 0;
}

int memory_write(struct memory *mem, gpa_t gpa, const void *buf, size_t len)
{
	void *p = memory_ptr(mem, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(p, buf, len);
	memory_mark_dirty(mem, gpa, len);
	return 0;
}

void memory_mark_dirty(struct memory *mem, gpa_t gpa, uint64_t len)
{
	const struct memory_region *r;
	uint64_t first, last;

	/* pairs with memory_track_own(): tracking starts before pages are read */
	if (!len || !atomic_load_explicit(&mem->track_own, memory_order_acquire))
		return;
	r = find(mem, gpa, len);
	if (!r)
		return;
	first = (gpa - r->range.base) >> PAGE_SHIFT;
	last = (gpa - r->range.base + len - 1) >> PAGE_SHIFT;
	for (uint64_t page = first; page <= last; page++)
		atomic_fetch_or(&r->own_dirty[page / BITS_PER_LONG],
				1ul << (page % BITS_PER_LONG));
}

void memory_track_own(struct memory *mem, bool on)
{
	if (on)
		for (unsigned int i = 0; i < mem->nregions; i++) {
			struct memory_region *r = &mem->region[i];
			size_t n = bitmap_longs(r->range.size);

			for (size_t w = 0; w < n; w++)
				atomic_store_explicit(&r->own_dirty[w], 0,
						      memory_order_relaxed);
		}
	atomic_store(&mem->track_own, on);
}

void memory_take_own(struct memory *mem, unsigned int region,
		     unsigned long *bitmap)
{
	struct memory_region *r = &mem->region[region];
	size_t n = bitmap_longs(r->range.size);

	for (size_t w = 0; w < n; w++)
		if (atomic_load_explicit(&r->own_dirty[w],
					 memory_order_relaxed))
			bitmap[w] |= atomic_exchange(&r->own_dirty[w], 0);
}

static void set_bits(unsigned long *bitmap, uint64_t first, uint64_t n)
{
	for (uint64_t page = first; page < first + n; page++)
		bitmap[page / BITS_PER_LONG] |= 1ul << (page % BITS_PER_LONG);
}

static int open_pagemap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void memory_hold_pagemap(struct memory *mem)
{
	int fd = open_pagemap();

	fd_close(&mem->pagemap);
	mem->pagemap = fd < 0 ? -1 : fd;
}

static int present_anon(int held, const uint8_t *host, uint64_t npages,
			unsigned long *present)
{
	uint64_t entry[1024], page = (uintptr_t)host >> PAGE_SHIFT, done = 0;
	int fd = held < 0 ? open_pagemap() : held;
	int ret = fd < 0 ? fd : 0;

	while (!ret && done < npages) {
		uint64_t n = MIN(npages - done, (uint64_t)ARRAY_SIZE(entry));
		ssize_t got = pread(fd, entry, n * sizeof(entry[0]),
				    (off_t)((page + done) * sizeof(entry[0])));

		if (got <= 0) {
			ret = -EIO;
			break;
		}
		n = (uint64_t)got / sizeof(entry[0]);
		for (uint64_t i = 0; i < n; i++)
			if (entry[i] & PAGEMAP_TOUCHED)
				set_bits(present, done + i, 1);
		done += n;
	}
	if (held < 0)
		fd_close(&fd);
	return ret;
}

static int present_file(int fd, uint64_t offset, uint64_t npages,
			unsigned long *present)
{
	off_t end = (off_t)(offset + (npages << PAGE_SHIFT));
	off_t pos = (off_t)offset;

	while (pos < end) {
		off_t data = lseek(fd, pos, SEEK_DATA);
		off_t hole;

		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		if (data >= end)
			return 0;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		hole = MIN(hole, end);
		set_bits(present, ((uint64_t)data - offset) >> PAGE_SHIFT,
			 (uint64_t)(hole - data) >> PAGE_SHIFT);
		pos = hole;
	}
	return 0;
}

void memory_present(const struct memory *mem, unsigned int region,
		    uint64_t first, uint64_t npages, unsigned long *present)
{
	const struct memory_region *r = &mem->region[region];
	uint64_t offset = first << PAGE_SHIFT;
	int ret = 0;

	memset(present, 0, bitmap_longs(npages << PAGE_SHIFT) * sizeof(long));
	/* a private mapping holds the file's pages and the touched ones */
	if (mem->backing != MEMORY_MEMFD)
		ret = present_anon(mem->pagemap, r->host + offset, npages, present);
	if (ret == 0 && mem->fd >= 0)
		ret = present_file(mem->fd, r->file_at + offset, npages,
				   present);
	if (ret < 0)
		set_bits(present, 0, npages);
}
