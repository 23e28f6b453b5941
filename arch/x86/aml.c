/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "arch/x86/aml.h"

#include <string.h>

#include "vmm/base/byteorder.h"

enum {
	NAME_OP = 0x08, BYTE_PREFIX = 0x0a, DWORD_PREFIX = 0x0c,
	STRING_PREFIX = 0x0d, SCOPE_OP = 0x10, BUFFER_OP = 0x11,
	PACKAGE_OP = 0x12, EXT_OP = 0x5b, DEVICE_OP = 0x82,
	/* resource descriptors, ACPI 6.4, 6.4.2 and 6.4.3 */
	RES_IO = 0x47, RES_END = 0x79, RES_MEMORY32 = 0x86, RES_IRQ = 0x89,
	PKG_LENGTH_BYTES = 3,	/* every PkgLength is written in three bytes */
};

void aml_bytes(struct aml *a, const void *p, size_t len)
{
	if (len > a->size - a->len) {
		a->full = true;
		return;
	}
	memcpy(a->buf + a->len, p, len);
	a->len += len;
}

void aml_u8(struct aml *a, uint8_t v)
{
	aml_bytes(a, &v, 1);
}

void aml_u16(struct aml *a, uint16_t v)
{
	uint8_t b[2];

	put_le16(b, v);
	aml_bytes(a, b, 2);
}

void aml_u32(struct aml *a, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	aml_bytes(a, b, 4);
}

/* PkgLength of three bytes, counting itself: 20.2.4. Filled in at the end. */
static size_t open_length(struct aml *a)
{
	size_t mark = a->len;

	aml_bytes(a, "\0\0\0", PKG_LENGTH_BYTES);
	return mark;
}

void aml_end(struct aml *a, size_t mark)
{
	size_t len = a->len - mark;

	if (a->full)
		return;
	a->buf[mark] = (uint8_t)(0x80 | (len & 0xf));
	a->buf[mark + 1] = (uint8_t)(len >> 4);
	a->buf[mark + 2] = (uint8_t)(len >> 12);
}

void aml_name(struct aml *a, const char seg[4])
{
	aml_u8(a, NAME_OP);
	aml_bytes(a, seg, 4);
}

static void integer(struct aml *a, uint32_t v)
{
	aml_u8(a, DWORD_PREFIX);
	aml_u32(a, v);
}

void aml_name_integer(struct aml *a, const char seg[4], uint32_t v)
{
	aml_name(a, seg);
	integer(a, v);
}

void aml_name_string(struct aml *a, const char seg[4], const char *v)
{
	aml_name(a, seg);
	aml_u8(a, STRING_PREFIX);
	aml_bytes(a, v, strlen(v) + 1);
}

static unsigned int hex(char c)
{
	return c <= '9' ? (unsigned int)(c - '0') : (unsigned int)(c - 'A' + 10);
}

void aml_name_eisa(struct aml *a, const char seg[4], const char *id)
{
	uint8_t b[4] = {
		(uint8_t)((id[0] - 0x40) << 2 | (id[1] - 0x40) >> 3),
		(uint8_t)((id[1] - 0x40) << 5 | (id[2] - 0x40)),
		(uint8_t)(hex(id[3]) << 4 | hex(id[4])),
		(uint8_t)(hex(id[5]) << 4 | hex(id[6])),
	};

	aml_name(a, seg);
	aml_u8(a, DWORD_PREFIX);
	aml_bytes(a, b, 4);
}

void aml_name_package(struct aml *a, const char seg[4], const uint8_t *v,
		      uint8_t n)
{
	size_t mark;

	aml_name(a, seg);
	aml_u8(a, PACKAGE_OP);
	mark = open_length(a);
	aml_u8(a, n);
	for (uint8_t i = 0; i < n; i++) {
		aml_u8(a, BYTE_PREFIX);
		aml_u8(a, v[i]);
	}
	aml_end(a, mark);
}

size_t aml_scope(struct aml *a, const char *path)
{
	size_t mark;

	aml_u8(a, SCOPE_OP);
	mark = open_length(a);
	aml_bytes(a, path, strlen(path));
	return mark;
}

size_t aml_device(struct aml *a, const char seg[4])
{
	size_t mark;

	aml_u8(a, EXT_OP);
	aml_u8(a, DEVICE_OP);
	mark = open_length(a);
	aml_bytes(a, seg, 4);
	return mark;
}

/* Name (_CRS, Buffer (n) {...}): the size is a DWord, filled in at the end. */
size_t aml_crs(struct aml *a)
{
	size_t mark;

	aml_name(a, "_CRS");
	aml_u8(a, BUFFER_OP);
	mark = open_length(a);
	integer(a, 0);
	return mark;
}

void aml_crs_end(struct aml *a, size_t mark)
{
	size_t size_at = mark + PKG_LENGTH_BYTES + 1;

	aml_u8(a, RES_END);
	aml_u8(a, 0);		/* no checksum */
	if (!a->full)
		put_le32(a->buf + size_at, (uint32_t)(a->len - size_at - 4));
	aml_end(a, mark);
}

void aml_io(struct aml *a, uint16_t port, uint8_t len)
{
	aml_u8(a, RES_IO);
	aml_u8(a, 1);		/* decodes 16 bits */
	aml_u16(a, port);
	aml_u16(a, port);
	aml_u8(a, 1);
	aml_u8(a, len);
}

void aml_irq(struct aml *a, uint32_t gsi)
{
	aml_u8(a, RES_IRQ);
	aml_u16(a, 6);
	aml_u8(a, 3);		/* consumer, edge, active high, exclusive */
	aml_u8(a, 1);
	aml_u32(a, gsi);
}

void aml_memory32(struct aml *a, uint32_t base, uint32_t len)
{
	aml_u8(a, RES_MEMORY32);
	aml_u16(a, 9);
	aml_u8(a, 1);		/* writeable */
	aml_u32(a, base);
	aml_u32(a, len);
}
