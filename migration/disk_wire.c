/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/disk_wire.h"

#include <errno.h>
#include <string.h>

#include "migration/crc32c.h"
#include "vmm/base/byteorder.h"

#define SECTOR 512
#define ENTRY (DISK_ID + 8)

size_t wire_disks_encode(uint8_t *out, const struct wire_disks *m)
{
	put_be32(out, m->n);
	put_be32(out + 4, 0);
	for (unsigned int i = 0; i < m->n; i++) {
		uint8_t *at = out + 8 + (size_t)i * ENTRY;

		put_be64(at, m->disk[i].size);
		memset(at + 8, 0, DISK_ID);
		memcpy(at + 8, m->disk[i].id,
		       strnlen(m->disk[i].id, DISK_ID - 1));
	}
	return 8 + (size_t)m->n * ENTRY;
}

/* It is shown to people, and looked for here. */
static bool id_valid(const char id[DISK_ID])
{
	size_t len = strnlen(id, DISK_ID);

	for (size_t i = 0; i < len; i++)
		if (id[i] <= ' ' || id[i] > '~')
			return false;
	return len && len < DISK_ID;
}

static int decode_disk(const uint8_t *in, struct wire_disk *d,
		       struct error *err)
{
	d->size = get_be64(in);
	memcpy(d->id, in + 8, DISK_ID);
	if (!id_valid(d->id))
		return error_set(err, EPROTO, "DISKS with an id that is none");
	if (!d->size || d->size % SECTOR || d->size > INT64_MAX)
		return error_set(err, EPROTO, "DISKS: %s of %llu bytes", d->id,
				 (unsigned long long)d->size);
	return 0;
}

int wire_disks_decode(const uint8_t *in, size_t len, struct wire_disks *m,
		      struct error *err)
{
	int ret = 0;

	m->n = len >= 8 ? get_be32(in) : 0;
	if (!m->n || m->n > DISK_MAX || get_be32(in + 4) ||
	    len != 8 + (size_t)m->n * ENTRY) {
		m->n = 0;
		return error_set(err, EPROTO, "DISKS of %zu bytes", len);
	}
	for (unsigned int i = 0; i < m->n && ret == 0; i++) {
		ret = decode_disk(in + 8 + (size_t)i * ENTRY, &m->disk[i], err);
		for (unsigned int j = 0; j < i && ret == 0; j++)
			if (!strcmp(m->disk[i].id, m->disk[j].id))
				ret = error_set(err, EPROTO,
						"DISKS names %s twice",
						m->disk[i].id);
	}
	return ret;
}

void disk_run_encode(uint8_t out[DISK_RUN_HEADER], const struct disk_run *run)
{
	put_be32(out, DISK_RUN_MAGIC);
	put_be16(out + 4, run->kind);
	put_be16(out + 6, run->disk);
	put_be64(out + 8, run->offset);
	put_be64(out + 16, run->len);
	put_be32(out + 24, run->seq);
	put_be32(out + 28, run->flags);
	put_be32(out + 32, run->sum);
	put_be32(out + 36, crc32c(0, out, 36));
}

static bool place_valid(const struct disk_run *r,
			const struct wire_disks *disks)
{
	return r->disk < disks->n && r->len && !r->seq && !r->flags &&
	       !(r->offset % SECTOR) && !(r->len % SECTOR) &&
	       range_within(r->offset, r->len, disks->disk[r->disk].size);
}

static bool run_valid(const struct disk_run *r, const struct wire_disks *disks)
{
	switch (r->kind) {
	case DISK_RUN_DATA:
	case DISK_RUN_SUM:
		return place_valid(r, disks) && r->len <= DISK_RUN_BYTES;
	case DISK_RUN_ZERO:
		return place_valid(r, disks) && !r->sum;
	case DISK_RUN_FENCE:
		return r->seq && !r->disk && !r->offset && !r->len &&
		       !r->sum &&
		       !(r->flags & ~(DISK_RUN_LAST | DISK_RUN_FLUSH));
	default:
		return false;
	}
}

int disk_run_decode(const uint8_t in[DISK_RUN_HEADER],
		    const struct wire_disks *disks, struct disk_run *run,
		    struct error *err)
{
	run->kind = get_be16(in + 4);
	run->disk = get_be16(in + 6);
	run->offset = get_be64(in + 8);
	run->len = get_be64(in + 16);
	run->seq = get_be32(in + 24);
	run->flags = get_be32(in + 28);
	run->sum = get_be32(in + 32);
	if (get_be32(in) != DISK_RUN_MAGIC)
		return error_set(err, EPROTO, "not a run of a disk (magic %#x)",
				 get_be32(in));
	if (get_be32(in + 36) != crc32c(0, in, 36))
		return error_set(err, EBADMSG,
				 "header of a disk's run is damaged");
	if (!run_valid(run, disks))
		return error_set(err, EPROTO,
				 "invalid run: kind %u disk %u offset %#llx of %#llx bytes, fence %u, flags %#x",
				 run->kind, run->disk,
				 (unsigned long long)run->offset,
				 (unsigned long long)run->len, run->seq,
				 run->flags);
	return 0;
}
