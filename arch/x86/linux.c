/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux's x86 boot protocol, 64-bit entry (kernel: Documentation/arch/x86/
 * boot.rst). Offsets are into the bzImage and into boot_params alike.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/x86/x86.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"

enum {
	HDR_START = 0x1f1,
	SETUP_SECTS = 0x1f1,
	BOOT_FLAG = 0x1fe,
	HDR_JUMP = 0x201,	/* end of the header = 0x202 + this byte */
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	TYPE_OF_LOADER = 0x210,
	LOADFLAGS = 0x211,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	CMD_LINE_PTR = 0x228,
	INITRD_ADDR_MAX = 0x22c,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	/* boot_params only */
	EXT_RAMDISK_IMAGE = 0x0c0,
	EXT_RAMDISK_SIZE = 0x0c4,
	ACPI_RSDP = 0x070,
	E820_ENTRIES = 0x1e8,
	E820_TABLE = 0x2d0,

	SETUP_BYTES = 0x290,	/* enough of the file to read the header */
	ENTRY_64 = 0x200,	/* from the start of the loaded kernel */
	XLF_KERNEL_64 = 1,
	VERSION_XLOADFLAGS = 0x20c,
	LOADER_UNDEFINED = 0xff,
};

static int check_header(const uint8_t *setup, ssize_t len, struct error *err)
{
	unsigned int version;

	if (len < SETUP_BYTES || get_le16(setup + BOOT_FLAG) != 0xaa55 ||
	    memcmp(setup + HDR_MAGIC, "HdrS", 4))
		return -ENOEXEC;
	version = get_le16(setup + HDR_VERSION);
	if (version < VERSION_XLOADFLAGS ||
	    !(get_le16(setup + XLOADFLAGS) & XLF_KERNEL_64))
		return error_set(err, ENOTSUP, "bzImage of boot protocol %u.%u has no 64-bit entry: use a 64-bit kernel, 3.8 or later",
				 version >> 8, version & 0xff);
	return 0;
}

static void put_e820(uint8_t *params, const struct memory *mem)
{
	struct x86_e820 map[X86_E820_MAX];
	unsigned int n = x86_e820(mem, map);

	params[E820_ENTRIES] = (uint8_t)n;
	for (unsigned int i = 0; i < n; i++) {
		uint8_t *e = params + E820_TABLE + i * 20;

		put_le64(e, map[i].base);
		put_le64(e + 8, map[i].size);
		put_le32(e + 16, map[i].type);
	}
}

static int write_params(struct memory *mem, const uint8_t *setup,
			gpa_t initrd, uint64_t initrd_size, struct error *err)
{
	uint8_t params[PAGE_BYTES] = { 0 };
	size_t end = 0x202 + (size_t)setup[HDR_JUMP];

	memcpy(params + HDR_START, setup + HDR_START, end - HDR_START);
	params[TYPE_OF_LOADER] = LOADER_UNDEFINED;
	put_le32(params + RAMDISK_IMAGE, (uint32_t)initrd);
	put_le32(params + RAMDISK_SIZE, (uint32_t)initrd_size);
	put_le32(params + EXT_RAMDISK_IMAGE, (uint32_t)(initrd >> 32));
	put_le32(params + EXT_RAMDISK_SIZE, (uint32_t)(initrd_size >> 32));
	put_le32(params + CMD_LINE_PTR, (uint32_t)X86_CMDLINE);
	put_le64(params + ACPI_RSDP, X86_ACPI);
	put_e820(params, mem);
	if (memory_write(mem, X86_ZERO_PAGE, params, sizeof(params)) < 0)
		return error_set(err, ENOMEM, "boot_params: no guest memory at %#llx",
				 X86_ZERO_PAGE);
	return 0;
}

int x86_linux_load(struct arch_vm *vm, struct memory *mem,
		   const struct arch_boot *boot, struct error *err)
{
	uint8_t setup[SETUP_BYTES];
	uint64_t start, size, limit, initrd_size;
	struct stat st;
	gpa_t base, initrd;
	int ret = check_header(setup, pread(boot->kernel_fd, setup,
					    sizeof(setup), 0), err);

	if (ret)
		return ret;
	if (fstat(boot->kernel_fd, &st) < 0)
		return error_set(err, errno, "kernel: %s", strerror(errno));
	if (strlen(boot->cmdline) > get_le32(setup + CMDLINE_SIZE))
		return error_set(err, E2BIG, "command line of %zu bytes, this kernel takes %u",
				 strlen(boot->cmdline),
				 get_le32(setup + CMDLINE_SIZE));
	start = ((setup[SETUP_SECTS] ? setup[SETUP_SECTS] : 4) + 1) * 512ull;
	if ((uint64_t)st.st_size <= start)
		return error_set(err, ENOEXEC, "bzImage of %lld bytes ends within its header",
				 (long long)st.st_size);
	size = (uint64_t)st.st_size - start;
	base = get_le64(setup + PREF_ADDRESS);
	/* it unpacks itself in place and needs that much room */
	if (!memory_ptr(mem, base, MAX(size, get_le32(setup + INIT_SIZE))))
		return error_set(err, ENOMEM, "the kernel needs %u MiB from %llu MiB on: give more with --memory",
				 get_le32(setup + INIT_SIZE) >> 20,
				 (unsigned long long)(base / MIB));
	ret = x86_load_file(mem, boot->kernel_fd, start, base, size, "kernel",
			    err);
	limit = get_le32(setup + INITRD_ADDR_MAX) + 1ull;
	if (!ret)
		ret = x86_initrd_load(mem, boot->initrd_fd, limit, &initrd,
				      &initrd_size, err);
	if (!ret)
		ret = write_params(mem, setup, initrd, initrd_size, err);
	vm->entry = (struct x86_entry){
		.mode = X86_ENTRY_LONG,
		.rip = base + ENTRY_64,
		.rsi = X86_ZERO_PAGE,
	};
	return ret;
}
