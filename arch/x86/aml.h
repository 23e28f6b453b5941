/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A little AML (ACPI 6.4, chapter 20): enough to describe devices with fixed
 * resources. Bytes are appended to a caller's buffer; a buffer that is too
 * small sets `full` and drops the rest.
 */
#ifndef GODWIT_ARCH_X86_AML_H
#define GODWIT_ARCH_X86_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t len, size;
	bool full;
};

void aml_bytes(struct aml *a, const void *p, size_t len);
void aml_u8(struct aml *a, uint8_t v);
void aml_u16(struct aml *a, uint16_t v);
void aml_u32(struct aml *a, uint32_t v);

/* Name (NAME, ...): a name segment of four characters before each value. */
void aml_name(struct aml *a, const char seg[4]);
void aml_name_integer(struct aml *a, const char seg[4], uint32_t v);
void aml_name_string(struct aml *a, const char seg[4], const char *v);
/* Name (NAME, EisaId ("PNP0501")) */
void aml_name_eisa(struct aml *a, const char seg[4], const char *id);
/* Name (NAME, Package () {v0, v1, ...}) of small integers */
void aml_name_package(struct aml *a, const char seg[4], const uint8_t *v,
		      uint8_t n);

/* Open and close what has a length in front: returns a mark for aml_end(). */
size_t aml_scope(struct aml *a, const char *path);
size_t aml_device(struct aml *a, const char seg[4]);
size_t aml_crs(struct aml *a);
void aml_end(struct aml *a, size_t mark);
void aml_crs_end(struct aml *a, size_t mark);

/* Inside of a _CRS. */
void aml_io(struct aml *a, uint16_t port, uint8_t len);
void aml_irq(struct aml *a, uint32_t gsi);	/* edge, active high */
void aml_memory32(struct aml *a, uint32_t base, uint32_t len);

#endif
