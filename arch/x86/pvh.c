/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels with a PVH note (Xen: docs/misc/pvh.pandoc): 32-bit protected
 * mode without paging, EBX points to hvm_start_info.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/x86/x86.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"

enum {
	NOTE_PHYS32_ENTRY = 18,
	MAX_SEGMENTS = 64,
	MAX_NOTES_BYTES = 1 << 20,
	START_MAGIC = 0x336ec578,
	/* offsets into hvm_start_info and what we put behind it */
	SI_VERSION = 4, SI_MODULES = 12, SI_MODLIST = 16, SI_CMDLINE = 24,
	SI_RSDP = 32, SI_MEMMAP = 40, SI_ENTRIES = 48,
	SI_BYTES = 56,
	MODULE_AT = 64,
	MEMMAP_AT = 128, MEMMAP_ENTRY = 24,
};

/* Search one PT_NOTE segment. */
static bool find_entry(const uint8_t *p, uint64_t len, uint64_t *entry)
{
	while (len >= sizeof(Elf64_Nhdr)) {
		uint64_t name = align_up(get_le32(p), 4);
		uint32_t desc_bytes = get_le32(p + 4);
		uint64_t desc = align_up(desc_bytes, 4);
		uint64_t all = sizeof(Elf64_Nhdr) + name + desc;
		const uint8_t *d = p + sizeof(Elf64_Nhdr) + name;

		if (all > len)
			return false;
		if (get_le32(p + 8) == NOTE_PHYS32_ENTRY &&
		    get_le32(p) == 4 && !memcmp(p + 12, "Xen", 4) &&
		    desc_bytes >= 4) {
			*entry = desc_bytes >= 8 ? get_le64(d) : get_le32(d);
			return true;
		}
		p += all;
		len -= all;
	}
	return false;
}

static int read_notes(int fd, const Elf64_Phdr *ph, uint64_t *entry,
		      bool *found)
{
	uint8_t *notes;

	if (ph->p_filesz > MAX_NOTES_BYTES)
		return 0;
	notes = malloc(ph->p_filesz);
	if (!notes)
		return -ENOMEM;
	if (pread(fd, notes, ph->p_filesz, (off_t)ph->p_offset) ==
	    (ssize_t)ph->p_filesz && find_entry(notes, ph->p_filesz, entry))
		*found = true;
	free(notes);
	return 0;
}

static int load_segment(struct memory *mem, int fd, const Elf64_Phdr *ph,
			struct error *err)
{
	uint8_t *p = memory_ptr(mem, ph->p_paddr, ph->p_memsz);

	if (ph->p_filesz > ph->p_memsz || !p || ph->p_paddr < X86_HIGH)
		return error_set(err, ENOMEM, "kernel segment of %llu bytes at %#llx lies outside of usable guest memory (%llu MiB): give more with --memory",
				 (unsigned long long)ph->p_memsz,
				 (unsigned long long)ph->p_paddr,
				 (unsigned long long)(mem->size / MIB));
	/* after a reboot the memory is used; fresh pages stay untouched */
	if (ph->p_memsz > ph->p_filesz) {
		uint64_t tail = ph->p_memsz - ph->p_filesz;

		for (uint64_t i = 0; i < tail; i++)
			if (p[ph->p_filesz + i])
				p[ph->p_filesz + i] = 0;
		memory_mark_dirty(mem, ph->p_paddr + ph->p_filesz, tail);
	}
	return x86_load_file(mem, fd, ph->p_offset, ph->p_paddr, ph->p_filesz,
			     "kernel segment", err);
}

static int load_elf(struct memory *mem, int fd, uint64_t *entry,
		    struct error *err)
{
	Elf64_Phdr ph[MAX_SEGMENTS];
	bool found = false;
	Elf64_Ehdr eh;
	ssize_t bytes;
	int ret = 0;

	if (pread(fd, &eh, sizeof(eh), 0) != (ssize_t)sizeof(eh) ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != EM_X86_64 ||
	    eh.e_phentsize != sizeof(ph[0]) || eh.e_phnum > MAX_SEGMENTS)
		return -ENOEXEC;
	bytes = (ssize_t)(eh.e_phnum * sizeof(ph[0]));
	if (pread(fd, ph, (size_t)bytes, (off_t)eh.e_phoff) != bytes)
		return -ENOEXEC;
	for (unsigned int i = 0; i < eh.e_phnum && !ret; i++) {
		if (ph[i].p_type == PT_NOTE)
			ret = read_notes(fd, &ph[i], entry, &found);
		else if (ph[i].p_type == PT_LOAD && ph[i].p_memsz)
			ret = load_segment(mem, fd, &ph[i], err);
	}
	return ret ? ret : found ? 0 : -ENOEXEC;
}

static int write_start_info(struct memory *mem, const char *cmdline,
			    gpa_t initrd, uint64_t initrd_size,
			    struct error *err)
{
	uint8_t buf[MEMMAP_AT + X86_E820_MAX * MEMMAP_ENTRY] = { 0 };
	struct x86_e820 map[X86_E820_MAX];
	unsigned int n = x86_e820(mem, map);

	put_le32(buf, START_MAGIC);
	put_le32(buf + SI_VERSION, 1);
	put_le32(buf + SI_MODULES, initrd_size ? 1 : 0);
	put_le64(buf + SI_MODLIST, X86_START_INFO + MODULE_AT);
	put_le64(buf + SI_CMDLINE, X86_CMDLINE);
	put_le64(buf + SI_RSDP, X86_ACPI);
	put_le64(buf + SI_MEMMAP, X86_START_INFO + MEMMAP_AT);
	put_le32(buf + SI_ENTRIES, n);
	put_le64(buf + MODULE_AT, initrd);
	put_le64(buf + MODULE_AT + 8, initrd_size);
	for (unsigned int i = 0; i < n; i++) {
		uint8_t *e = buf + MEMMAP_AT + i * MEMMAP_ENTRY;

		put_le64(e, map[i].base);
		put_le64(e + 8, map[i].size);
		put_le32(e + 16, map[i].type);
	}
	if (memory_write(mem, X86_START_INFO, buf, sizeof(buf)) < 0)
		return error_set(err, ENOMEM, "hvm_start_info: no guest memory at %#llx",
				 X86_START_INFO);
	return 0;
}

int x86_pvh_load(struct arch_vm *vm, struct memory *mem,
		 const struct arch_boot *boot, struct error *err)
{
	uint64_t entry = 0, initrd_size;
	gpa_t initrd;
	int ret = load_elf(mem, boot->kernel_fd, &entry, err);

	if (!ret)
		ret = x86_initrd_load(mem, boot->initrd_fd, X86_HOLE_START,
				      &initrd, &initrd_size, err);
	if (!ret)
		ret = write_start_info(mem, boot->cmdline, initrd, initrd_size,
				       err);
	vm->entry = (struct x86_entry){
		.mode = X86_ENTRY_PROTECTED,
		.rip = entry,
		.rbx = X86_START_INFO,
	};
	return ret;
}
