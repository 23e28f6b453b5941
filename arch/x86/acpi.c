/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI tables derived from the machine tree (ACPI 6.4, chapter 5): RSDP, XSDT,
 * FADT, FACS, MADT, DSDT, one after another from X86_ACPI on.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/aml.h"
#include "arch/x86/x86.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"
#include "vmm/tree.h"

enum {
	HEADER_BYTES = 36,
	RSDP_BYTES = 36,
	FADT_BYTES = 276,	/* revision 6 */
	FACS_BYTES = 64,
	TABLE_MAX = 32 * 1024,
	/* FADT offsets and values, 5.2.9 */
	FADT_FACS = 36, FADT_DSDT = 40, FADT_SCI = 46, FADT_PM1A_EVT = 56,
	FADT_PM1A_CNT = 64, FADT_PM_TMR = 76, FADT_PM1_EVT_LEN = 88,
	FADT_PM1_CNT_LEN = 89, FADT_PM_TMR_LEN = 91, FADT_C2_LAT = 96,
	FADT_C3_LAT = 98, FADT_CENTURY = 108, FADT_BOOT_ARCH = 109,
	FADT_FLAGS = 112, FADT_RESET_REG = 116, FADT_RESET_VALUE = 128,
	FADT_MINOR = 131, FADT_X_FACS = 132, FADT_X_DSDT = 140,
	BOOT_LEGACY_DEVICES = 1,
	FLAG_WBINVD = 1, FLAG_PROC_C1 = 1 << 2, FLAG_SLP_BUTTON = 1 << 5,
	FLAG_NO_FIXED_RTC = 1 << 6,
	FLAG_TMR_32 = 1 << 8, FLAG_RESET = 1 << 10,
	RESET_VALUE = 6,
};

struct tables {
	uint8_t bytes[X86_ACPI_END - X86_ACPI];
	size_t len;
};

static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void put_header(uint8_t *t, const char *signature, uint32_t len,
		       uint8_t revision)
{
	memcpy(t, signature, 4);
	put_le32(t + 4, len);
	t[8] = revision;
	memcpy(t + 10, "GODWIT", 6);
	memcpy(t + 16, "GODWITVM", 8);
	put_le32(t + 24, 1);
	memcpy(t + 28, "GDWT", 4);
	put_le32(t + 32, 1);
	t[9] = 0;
	t[9] = checksum(t, len);
}

/* Room for a table of @len bytes; NULL when all is used up. */
static uint8_t *take(struct tables *t, size_t len, uint64_t *gpa)
{
	uint8_t *p = t->bytes + t->len;

	*gpa = X86_ACPI + t->len;
	if (len > sizeof(t->bytes) - t->len)
		return NULL;
	t->len = align_up(t->len + len, 64);
	return p;
}

/* ---- DSDT: from the nodes of /soc and /isa */

static void virtio_device(struct aml *a, const void *tree, int node,
			  unsigned int n)
{
	struct error ignored = ERROR_INIT;
	uint64_t base, size;
	unsigned int gsi;
	char seg[8];
	size_t dev, crs;

	if (tree_reg(tree, node, 0, &base, &size, &ignored) < 0 ||
	    tree_irq(tree, node, &gsi, &ignored) < 0)
		return;
	snprintf(seg, sizeof(seg), "VR%02X", n);
	dev = aml_device(a, seg);
	aml_name_string(a, "_HID", "LNRO0005");
	aml_name_integer(a, "_UID", n);
	aml_name_integer(a, "_CCA", 1);
	crs = aml_crs(a);
	aml_memory32(a, (uint32_t)base, (uint32_t)size);
	aml_irq(a, gsi);
	aml_crs_end(a, crs);
	aml_end(a, dev);
}

static void isa_device(struct aml *a, const void *tree, const char *path,
		       const char *seg, const char *pnp)
{
	int node = fdt_path_offset(tree, path);
	struct error ignored = ERROR_INIT;
	uint64_t base, size;
	unsigned int gsi;
	size_t dev, crs;

	if (node < 0 || tree_reg(tree, node, 0, &base, &size, &ignored) < 0)
		return;
	dev = aml_device(a, seg);
	aml_name_eisa(a, "_HID", pnp);
	aml_name_integer(a, "_UID", 0);
	crs = aml_crs(a);
	aml_io(a, (uint16_t)base, (uint8_t)size);
	if (tree_irq(tree, node, &gsi, &ignored) == 0)
		aml_irq(a, gsi);
	aml_crs_end(a, crs);
	aml_end(a, dev);
}

static size_t build_dsdt(uint8_t *t, size_t size, const void *tree)
{
	struct aml a = { .buf = t, .len = HEADER_BYTES, .size = size };
	static const uint8_t s5[] = { 5, 5, 0, 0 };
	int soc = fdt_path_offset(tree, "/soc"), node;
	unsigned int n = 0;
	size_t scope;

	aml_name_package(&a, "_S5_", s5, sizeof(s5));
	scope = aml_scope(&a, "\\_SB_");
	isa_device(&a, tree, "/isa/serial@3f8", "COM1", "PNP0501");
	isa_device(&a, tree, "/isa/rtc@70", "RTC0", "PNP0B00");
	if (soc >= 0)
		fdt_for_each_subnode(node, tree, soc)
			virtio_device(&a, tree, node, n++);
	aml_end(&a, scope);
	if (a.full)
		return 0;
	put_header(t, "DSDT", (uint32_t)a.len, 2);
	return a.len;
}

/* ---- MADT, 5.2.12 */

static size_t put_lapics(uint8_t *p, const void *tree)
{
	int cpus = fdt_path_offset(tree, "/cpus"), node;
	size_t n = 0;

	fdt_for_each_subnode(node, tree, cpus) {
		uint8_t id = (uint8_t)tree_u32(tree, node, "reg", 0);

		memcpy(p + n, (uint8_t[]){ 0, 8, id, id, 1, 0, 0, 0 }, 8);
		n += 8;
	}
	return n;
}

static size_t build_madt(uint8_t *t, const void *tree)
{
	uint8_t *p = t + HEADER_BYTES;
	int pm = fdt_path_offset(tree, "/isa/pm@600");
	struct error ignored = ERROR_INIT;
	unsigned int sci;

	put_le32(p, X86_LAPIC);
	put_le32(p + 4, 1);	/* the two 8259s are there */
	p += 8;
	p += put_lapics(p, tree);
	memcpy(p, (uint8_t[]){ 1, 12, 0, 0 }, 4);	/* I/O APIC 0 */
	put_le32(p + 4, X86_IOAPIC);
	put_le32(p + 8, 0);
	p += 12;
	if (pm >= 0 && tree_irq(tree, pm, &sci, &ignored) == 0) {
		/* the SCI: ISA interrupt, but level, active high */
		memcpy(p, (uint8_t[]){ 2, 10, 0, (uint8_t)sci }, 4);
		put_le32(p + 4, sci);
		put_le16(p + 8, 0xd);
		p += 10;
	}
	put_header(t, "APIC", (uint32_t)(p - t), 3);
	return (size_t)(p - t);
}

/* ---- FADT, 5.2.9 */

static void put_pm(uint8_t *t, const void *tree)
{
	int pm = fdt_path_offset(tree, "/isa/pm@600");
	struct error ignored = ERROR_INIT;
	uint64_t base, size;
	unsigned int sci;

	if (pm < 0 || tree_reg(tree, pm, 0, &base, &size, &ignored) < 0 ||
	    tree_irq(tree, pm, &sci, &ignored) < 0)
		return;
	put_le16(t + FADT_SCI, (uint16_t)sci);
	put_le32(t + FADT_PM1A_EVT, (uint32_t)base);
	put_le32(t + FADT_PM1A_CNT, (uint32_t)base + 4);
	put_le32(t + FADT_PM_TMR, (uint32_t)base + 8);
	t[FADT_PM1_EVT_LEN] = 4;
	t[FADT_PM1_CNT_LEN] = 2;
	t[FADT_PM_TMR_LEN] = 4;
}

static void build_fadt(uint8_t *t, const void *tree, uint64_t dsdt,
		       uint64_t facs)
{
	put_le32(t + FADT_FACS, (uint32_t)facs);
	put_le32(t + FADT_DSDT, (uint32_t)dsdt);
	put_pm(t, tree);
	put_le16(t + FADT_C2_LAT, 0xfff);	/* no C2, C3 */
	put_le16(t + FADT_C3_LAT, 0xfff);
	t[FADT_CENTURY] = 0x32;
	put_le16(t + FADT_BOOT_ARCH, BOOT_LEGACY_DEVICES);
	put_le32(t + FADT_FLAGS, FLAG_WBINVD | FLAG_PROC_C1 | FLAG_SLP_BUTTON |
				 FLAG_NO_FIXED_RTC | FLAG_TMR_32 | FLAG_RESET);
	/* generic address: system I/O, 8 bits, byte access */
	memcpy(t + FADT_RESET_REG, (uint8_t[]){ 1, 8, 0, 1 }, 4);
	put_le64(t + FADT_RESET_REG + 4, 0xcf9);
	t[FADT_RESET_VALUE] = RESET_VALUE;
	t[FADT_MINOR] = 4;
	put_le64(t + FADT_X_DSDT, dsdt);
	put_header(t, "FACP", FADT_BYTES, 6);
}

static void build_facs(uint8_t *t)
{
	memcpy(t, "FACS", 4);
	put_le32(t + 4, FACS_BYTES);
	t[32] = 2;
}

static void build_rsdp(uint8_t *t, uint64_t xsdt)
{
	memcpy(t, "RSD PTR ", 8);
	memcpy(t + 9, "GODWIT", 6);
	t[15] = 2;
	put_le32(t + 20, RSDP_BYTES);
	put_le64(t + 24, xsdt);
	t[8] = checksum(t, 20);
	t[32] = checksum(t, RSDP_BYTES);
}

static int build(struct tables *t, const void *tree)
{
	uint64_t rsdp_at, xsdt_at, facs_at, fadt_at, madt_at, dsdt_at;
	uint8_t *rsdp = take(t, RSDP_BYTES, &rsdp_at);
	uint8_t *xsdt = take(t, HEADER_BYTES + 16, &xsdt_at);
	uint8_t *facs = take(t, FACS_BYTES, &facs_at);
	uint8_t *fadt = take(t, FADT_BYTES, &fadt_at);
	uint8_t *madt = take(t, 2048, &madt_at);
	uint8_t *dsdt = take(t, TABLE_MAX, &dsdt_at);

	if (!rsdp || !xsdt || !facs || !fadt || !madt || !dsdt)
		return -ENOSPC;
	if (!build_dsdt(dsdt, TABLE_MAX, tree))
		return -ENOSPC;
	build_facs(facs);
	build_madt(madt, tree);
	build_fadt(fadt, tree, dsdt_at, facs_at);
	put_le64(xsdt + HEADER_BYTES, fadt_at);
	put_le64(xsdt + HEADER_BYTES + 8, madt_at);
	put_header(xsdt, "XSDT", HEADER_BYTES + 16, 1);
	build_rsdp(rsdp, xsdt_at);
	return 0;
}

int x86_acpi_load(struct memory *mem, const void *tree, struct error *err)
{
	struct tables *t = memory_ptr(mem, X86_ACPI, 1) ?
			   calloc(1, sizeof(*t)) : NULL;
	int ret = t ? build(t, tree) : -ENOMEM;

	if (!ret)
		ret = memory_write(mem, X86_ACPI, t->bytes, t->len);
	free(t);
	return ret ? error_set(err, -ret, "ACPI tables: %s",
			       strerror(-ret)) : 0;
}
