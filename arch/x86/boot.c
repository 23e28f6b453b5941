/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boot images into guest memory: what both protocols need. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/x86/x86.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"

int x86_load_file(struct memory *mem, int fd, uint64_t offset, gpa_t gpa,
		  uint64_t len, const char *what, struct error *err)
{
	uint8_t *p = memory_ptr(mem, gpa, len);
	uint64_t done = 0;

	if (!p)
		return error_set(err, ENOMEM, "%s: %llu bytes at %#llx don't fit into guest memory of %llu MiB: give more with --memory",
				 what, (unsigned long long)len,
				 (unsigned long long)gpa,
				 (unsigned long long)(mem->size / MIB));
	while (done < len) {
		ssize_t n = pread(fd, p + done, len - done,
				  (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, n ? errno : ENOEXEC, "%s: %s after %llu of %llu bytes",
					 what, n ? strerror(errno) :
						   "the file ends",
					 (unsigned long long)done,
					 (unsigned long long)len);
		done += (uint64_t)n;
	}
	memory_mark_dirty(mem, gpa, len);
	return 0;
}

int x86_initrd_load(struct memory *mem, int fd, uint64_t limit, gpa_t *base,
		    uint64_t *size, struct error *err)
{
	uint64_t top = MIN(mem->region[0].range.size, limit);
	struct stat st;

	*base = *size = 0;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "initrd: %s", strerror(errno));
	*size = (uint64_t)st.st_size;
	if (*size + X86_HIGH > top)
		return error_set(err, ENOMEM, "initrd of %llu MiB doesn't fit below %llu MiB: give more with --memory",
				 (unsigned long long)(*size / MIB),
				 (unsigned long long)(top / MIB));
	*base = align_down(top - *size, PAGE_BYTES);
	return x86_load_file(mem, fd, 0, *base, *size, "initrd", err);
}

static int load_cmdline(struct memory *mem, const char *cmdline,
			struct error *err)
{
	size_t len = strlen(cmdline) + 1;

	if (len > X86_CMDLINE_MAX)
		return error_set(err, E2BIG, "command line of %zu bytes, limit %llu",
				 len, X86_CMDLINE_MAX - 1);
	if (memory_write(mem, X86_CMDLINE, cmdline, len) < 0)
		return error_set(err, ENOMEM, "command line: no guest memory at %#llx",
				 X86_CMDLINE);
	return 0;
}

/* Flat code and data segments, and a TSS, as arch_vcpu_reset() loads them. */
static int write_gdt(struct memory *mem, const struct x86_entry *entry)
{
	bool code64 = entry->mode == X86_ENTRY_LONG;
	uint64_t gdt[5] = {
		0, 0,
		htole64(code64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull),
		htole64(0x00cf93000000ffffull),
		htole64(0x00008b0000000067ull),
	};

	return memory_write(mem, X86_GDT, gdt, sizeof(gdt));
}

/* PML4, PDPT and four page directories of 2 MiB pages: 4 GiB, one to one. */
static int write_page_tables(struct memory *mem)
{
	enum { PRESENT_WRITE = 3, LARGE = 0x80 };
	uint64_t table[512] = { htole64((X86_PAGE_TABLES + 0x1000) |
					PRESENT_WRITE) };
	int ret = memory_write(mem, X86_PAGE_TABLES, table, sizeof(table));

	memset(table, 0, sizeof(table));
	for (uint64_t i = 0; i < 4; i++)
		table[i] = htole64((X86_PAGE_TABLES + 0x2000 + i * 0x1000) |
				   PRESENT_WRITE);
	if (!ret)
		ret = memory_write(mem, X86_PAGE_TABLES + 0x1000, table,
				   sizeof(table));
	for (uint64_t d = 0; d < 4 && !ret; d++) {
		for (uint64_t i = 0; i < 512; i++)
			table[i] = htole64(((d * 512 + i) << 21) |
					   PRESENT_WRITE | LARGE);
		ret = memory_write(mem, X86_PAGE_TABLES + 0x2000 + d * 0x1000,
				   table, sizeof(table));
	}
	return ret;
}

int arch_boot_load(struct arch_vm *vm, struct memory *mem,
		   const struct arch_boot *boot, struct error *err)
{
	int ret = load_cmdline(mem, boot->cmdline, err);

	if (!ret)
		ret = x86_linux_load(vm, mem, boot, err);
	if (ret == -ENOEXEC && !err->code)
		ret = x86_pvh_load(vm, mem, boot, err);
	if (ret == -ENOEXEC && !err->code)
		return error_set(err, ENOEXEC, "the kernel is neither a bzImage nor an ELF file with a PVH note (XEN_ELFNOTE_PHYS32_ENTRY)");
	if (!ret)
		ret = x86_acpi_load(mem, vm->tree, err);
	if (!ret && (write_gdt(mem, &vm->entry) < 0 ||
		     (vm->entry.mode == X86_ENTRY_LONG &&
		      write_page_tables(mem) < 0)))
		ret = error_set(err, ENOMEM, "guest memory is too small to boot");
	return ret;
}
