/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/snapshot_file.h"

#include <errno.h>
#include <string.h>

#include "migration/crc32c.h"
#include "vmm/base/byteorder.h"

#define MAX_TREE (64 * MIB)	/* as in the stream */
#define PARTS_AT 40
#define PART_SIZE 24
#define CRC_AT 112

static const uint8_t magic[8] = "GODWITVM";

uint64_t snapshot_blocks(uint64_t len)
{
	return (len + SNAPSHOT_BLOCK - 1) / SNAPSHOT_BLOCK;
}

const char *snapshot_part_name(enum snapshot_part part)
{
	static const char *const names[] = {
		[SNAPSHOT_TABLE] = "table of checksums",
		[SNAPSHOT_TREE] = "machine tree",
		[SNAPSHOT_STATE] = "state",
	};

	return names[part];
}

void snapshot_header_encode(uint8_t buf[SNAPSHOT_HEADER],
			    const struct snapshot_header *h)
{
	memset(buf, 0, SNAPSHOT_HEADER);
	memcpy(buf, magic, sizeof(magic));
	put_be32(buf + 8, SNAPSHOT_VERSION);
	put_be32(buf + 12, h->flags);
	put_be64(buf + 16, h->saved_ns);
	put_be64(buf + 24, h->restored_ns);
	put_be64(buf + 32, h->memory_len);
	for (unsigned int i = 0; i < SNAPSHOT_NPARTS; i++) {
		uint8_t *p = buf + PARTS_AT + i * PART_SIZE;

		put_be64(p, h->part[i].at);
		put_be64(p + 8, h->part[i].len);
		put_be32(p + 16, h->part[i].crc);
	}
	put_be32(buf + CRC_AT, crc32c(0, buf, SNAPSHOT_HEADER));
}

static int check_magic(const uint8_t *buf, struct error *err)
{
	if (memcmp(buf, magic, sizeof(magic)))
		return error_set(err, EINVAL, "it is no file of `godwit save`, or one whose saving did not end");
	if (get_be32(buf + 8) != SNAPSHOT_VERSION)
		return error_set(err, ENOTSUP, "it has version %u, this godwit reads %d",
				 get_be32(buf + 8), SNAPSHOT_VERSION);
	return 0;
}

static int check_crc(const uint8_t *buf, struct error *err)
{
	uint8_t copy[SNAPSHOT_HEADER];

	memcpy(copy, buf, sizeof(copy));
	put_be32(copy + CRC_AT, 0);
	if (crc32c(0, copy, sizeof(copy)) != get_be32(buf + CRC_AT))
		return error_set(err, EBADMSG, "its header was altered (wrong checksum)");
	return 0;
}

static int check_extent(const struct snapshot_header *h, unsigned int i,
			uint64_t size, struct error *err)
{
	const struct snapshot_extent *x = &h->part[i];

	if (!range_within(x->at, x->len, size))
		return error_set(err, EBADMSG, "it was cut: %llu bytes long, but its %s ends at %llu",
				 (unsigned long long)size,
				 snapshot_part_name(i),
				 (unsigned long long)(x->at + x->len));
	if (i != SNAPSHOT_TABLE && x->len > MAX_TREE)
		return error_set(err, E2BIG, "its %s of %llu bytes is too large",
				 snapshot_part_name(i),
				 (unsigned long long)x->len);
	return 0;
}

int snapshot_header_decode(const uint8_t buf[SNAPSHOT_HEADER], uint64_t size,
			   struct snapshot_header *h, struct error *err)
{
	int ret = check_magic(buf, err);

	if (ret == 0)
		ret = check_crc(buf, err);
	if (ret < 0)
		return ret;
	h->flags = get_be32(buf + 12);
	h->saved_ns = get_be64(buf + 16);
	h->restored_ns = get_be64(buf + 24);
	h->memory_len = get_be64(buf + 32);
	for (unsigned int i = 0; i < SNAPSHOT_NPARTS; i++) {
		const uint8_t *p = buf + PARTS_AT + i * PART_SIZE;

		h->part[i].at = get_be64(p);
		h->part[i].len = get_be64(p + 8);
		h->part[i].crc = get_be32(p + 16);
	}
	if (!range_within(SNAPSHOT_MEMORY_AT, h->memory_len, size))
		return error_set(err, EBADMSG, "it was cut: %llu bytes long, but its memory has %llu",
				 (unsigned long long)size,
				 (unsigned long long)h->memory_len);
	for (unsigned int i = 0; i < SNAPSHOT_NPARTS; i++) {
		ret = check_extent(h, i, size, err);
		if (ret < 0)
			return ret;
	}
	if (h->part[SNAPSHOT_TABLE].len != 4 * snapshot_blocks(h->memory_len))
		return error_set(err, EBADMSG, "its table of checksums is for another length of memory");
	return 0;
}
