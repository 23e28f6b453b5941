/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory in a memfd, which one process can hand to another. Behind the
 * regions lies a page that the guest can't reach: the number of the turn, by
 * which two processes that both have the memory agree who runs in it.
 */
#include "vmm/memory_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/base/fd.h"
#include "vmm/base/util.h"

/* Its size is for good: a page behind the end would kill who touches it. */
#define FIXED (F_SEAL_SHRINK | F_SEAL_GROW)

struct memory_turn {
	_Atomic uint64_t number;
};

static int map_turn(struct memory *mem, uint64_t need, struct error *err)
{
	void *p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		       mem->fd, (off_t)need);

	if (p == MAP_FAILED)
		return error_set(err, errno, "can't map shared memory: %s",
				 strerror(errno));
	mem->turn = p;
	memory_turn_watch(mem);
	return 0;
}

int memory_shared_make(struct memory *mem, uint64_t need, struct error *err)
{
	uint64_t size = need + PAGE_BYTES;

	mem->fd = memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (mem->fd < 0 || ftruncate(mem->fd, (off_t)size) < 0 ||
	    fcntl(mem->fd, F_ADD_SEALS, FIXED | F_SEAL_SEAL) < 0)
		return error_set(err, errno, "memfd of %llu MiB: %s",
				 (unsigned long long)(size / MIB),
				 strerror(errno));
	return map_turn(mem, need, err);
}

/* Hugetlb files have seals, too, but may have no page when one is needed. */
static int check(int fd, uint64_t want, struct error *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return error_set(err, errno, "shared memory: %s",
				 strerror(errno));
	if (!S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC || seals < 0)
		return error_set(err, EINVAL, "shared memory: this is no memfd");
	if ((seals & FIXED) != FIXED)
		return error_set(err, EINVAL, "shared memory: its size is not sealed");
	if ((uint64_t)st.st_size != want)
		return error_set(err, EINVAL, "shared memory: %llu bytes, the machine needs %llu",
				 (unsigned long long)st.st_size,
				 (unsigned long long)want);
	return 0;
}

int memory_shared_adopt(struct memory *mem, int fd, uint64_t need,
			struct error *err)
{
	int ret = check(fd, need + PAGE_BYTES, err);

	if (ret < 0)
		return ret;
	mem->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (mem->fd < 0)
		return error_set(err, errno, "shared memory: %s",
				 strerror(errno));
	return map_turn(mem, need, err);
}

void memory_shared_exit(struct memory *mem)
{
	if (mem->turn)
		munmap(mem->turn, PAGE_BYTES);
	mem->turn = NULL;
}

uint64_t memory_shared_size(const struct memory *mem)
{
	return memory_file_size(mem) + PAGE_BYTES;
}

void memory_turn_watch(struct memory *mem)
{
	if (mem->turn)
		mem->my_turn = atomic_load(&mem->turn->number);
}

int memory_turn_claim(struct memory *mem, struct error *err)
{
	uint64_t turn = mem->my_turn;

	if (!mem->turn)
		return 0;
	if (!atomic_compare_exchange_strong(&mem->turn->number, &turn,
					    turn + 1))
		return error_set(err, EBUSY, "the guest has run in this memory, in the process that it was handed to: its CPUs' state here is of before");
	mem->my_turn++;
	return 0;
}

void memory_turn_return(struct memory *mem)
{
	if (mem->turn)
		atomic_store(&mem->turn->number, --mem->my_turn);
}
