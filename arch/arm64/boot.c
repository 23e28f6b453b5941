/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Boot images into guest memory: the kernel at the start of RAM; initrd and
 * device tree as high as the window allows.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/util.h"

static int too_small(const char *what, uint64_t bytes,
		     const struct memory *mem, struct error *err)
{
	return error_set(err, ENOMEM, "%s of %llu MiB doesn't fit into guest memory of %llu MiB: give more with --memory",
			 what, (unsigned long long)(bytes / MIB),
			 (unsigned long long)(mem->size / MIB));
}

/* @end is the first address behind the kernel. */
static int load_kernel(struct arch_vm *vm, struct memory *mem, int fd,
		       gpa_t *end, struct error *err)
{
	struct arm64_image image;
	gpa_t base;
	int ret = arm64_image_read(fd, &image, err);

	if (ret)
		return ret;
	base = ARM64_RAM + image.text_offset;
	*end = base + image.memory;
	if (image.text_offset > mem->size ||
	    !memory_ptr(mem, base, image.memory) ||
	    memory_write(mem, base, image.data, image.len) < 0)
		ret = too_small("kernel", image.memory, mem, err);
	vm->entry.pc = base;
	free(image.data);
	return ret;
}

static int read_file(struct memory *mem, int fd, gpa_t gpa, uint64_t len,
		     struct error *err)
{
	uint8_t *p = memory_ptr(mem, gpa, len);
	uint64_t done = 0;

	while (p && done < len) {
		ssize_t n = pread(fd, p + done, len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (uint64_t)n;
	}
	memory_mark_dirty(mem, gpa, len);
	return done == len ? 0 :
	       error_set(err, EIO, "initrd: read %llu of %llu bytes",
			 (unsigned long long)done, (unsigned long long)len);
}

/* Below @limit; @size is 0 where there is none. */
static int load_initrd(struct memory *mem, int fd, gpa_t low, gpa_t limit,
		       gpa_t *base, uint64_t *size, struct error *err)
{
	struct stat st;

	*base = limit;
	*size = 0;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "initrd: %s", strerror(errno));
	*size = (uint64_t)st.st_size;
	if (low > limit || *size > limit - low)
		return too_small("initrd", *size, mem, err);
	*base = align_down(limit - *size, PAGE_BYTES);
	return read_file(mem, fd, *base, *size, err);
}

static int load_tree(struct arch_vm *vm, struct memory *mem, gpa_t at,
		     gpa_t initrd, uint64_t initrd_size, struct error *err)
{
	void *fdt;
	int ret = arm64_fdt_make(vm->tree, initrd, initrd_size, &fdt, err);

	if (ret)
		return ret;
	if (memory_write(mem, at, fdt, fdt_totalsize(fdt)) < 0)
		ret = too_small("device tree", ARM64_DTB_BYTES, mem, err);
	free(fdt);
	vm->entry.x0 = at;
	return ret;
}

int arch_boot_load(struct arch_vm *vm, struct memory *mem,
		   const struct arch_boot *boot, struct error *err)
{
	gpa_t top = ARM64_RAM + MIN(mem->size, ARM64_BOOT_WINDOW);
	gpa_t tree = align_down(top - ARM64_DTB_BYTES, ARM64_DTB_BYTES);
	uint64_t initrd_size = 0;
	gpa_t end = 0, initrd = 0;
	int ret = load_kernel(vm, mem, boot->kernel_fd, &end, err);

	if (!ret && end > tree)
		ret = too_small("kernel", end - ARM64_RAM, mem, err);
	if (!ret)
		ret = load_initrd(mem, boot->initrd_fd, end, tree, &initrd,
				  &initrd_size, err);
	if (!ret)
		ret = load_tree(vm, mem, tree, initrd, initrd_size, err);
	return ret;
}
