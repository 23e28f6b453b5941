/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/disk_look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/bits.h"
#include "vmm/base/util.h"

#define PIECE VM_DISK_PIECE
#define LOOK_NS (10 * NSEC_PER_SEC)

static bool all_zero(const uint8_t *p, uint64_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* It may take too long. */
static int explain(const struct vm_disk *d, struct error *err)
{
	if (err->code != ETIMEDOUT)
		return -err->code;
	return error_set(err, EEXIST,
			 "disk %s may hold data already, reading it would take too long to tell; say overwrite=on where it is given if that is to be lost",
			 d->id);
}

static uint64_t pieces(const struct vm_disk *d)
{
	return (d->size + PIECE - 1) / PIECE;
}

static int look_at_one(struct disk_recv *dr, uint64_t deadline,
		       struct error *err)
{
	struct disk_slot *slot = disk_slots_take(dr->slots, deadline, err);

	if (!slot)
		return explain(dr->slots->slot[dr->slots->head].io.disk, err);
	if (all_zero(slot->buf, slot->io.len))
		return 0;
	return error_set(err, EEXIST,
			 "disk %s holds data already (at %#llx); say overwrite=on where it is given if that is to be lost",
			 slot->io.disk->id,
			 (unsigned long long)slot->io.offset);
}

static int look_at_data(struct disk_recv *dr, struct vm_disk *d, uint64_t from,
			uint64_t end, uint64_t deadline, struct error *err)
{
	int ret = 0;

	while (from < end && ret == 0) {
		uint64_t n = MIN(DISK_RUN_BYTES, end - from);
		struct disk_slot *slot = disk_slots_free(dr->slots);

		if (!slot)
			ret = look_at_one(dr, deadline, err);
		if (!slot)
			continue;
		disk_slot_start(slot, d, VM_DISK_READ, from, n);
		from += n;
	}
	while (ret == 0 && dr->slots->count)
		ret = look_at_one(dr, deadline, err);
	return ret;
}

/* Where may it be other than zero? */
static int find_filled(struct disk_recv *dr, unsigned int i, uint64_t deadline,
		       struct error *err)
{
	struct vm_disk *d = dr->disk[i];
	uint64_t at = 0;

	while (at < d->size) {
		struct disk_slot *slot = disk_slots_map(dr->slots, d, at,
						d->size - at, deadline, err);
		const unsigned long *map;

		if (!slot)
			return -err->code;
		map = (const unsigned long *)(void *)slot->buf;
		for (uint64_t b = 0; b * PIECE < slot->io.len; b++)
			if (bit_is_set(map, b))
				bit_set(dr->filled[i], at / PIECE + b);
		at += slot->io.len;
	}
	return 0;
}

/* Then it is known to be zero all over. */
static int prove_empty(struct disk_recv *dr, unsigned int i, uint64_t deadline,
		       struct error *err)
{
	struct vm_disk *d = dr->disk[i];
	uint64_t n = pieces(d), at = 0, end;
	int ret = 0;

	while (ret == 0 && (at = bits_next(dr->filled[i], at, n)) < n) {
		for (end = at; end < n && bit_is_set(dr->filled[i], end);)
			end++;
		ret = look_at_data(dr, d, at * PIECE,
				   MIN(end * PIECE, d->size), deadline, err);
		at = end;
	}
	memset(dr->filled[i], 0, bits_longs(n) * sizeof(long));
	return ret;
}

static int new_filled(struct disk_recv *dr, unsigned int i, struct error *err)
{
	dr->filled[i] = calloc(bits_longs(pieces(dr->disk[i])), sizeof(long));
	return dr->filled[i] ? 0 : error_set(err, ENOMEM, "no memory");
}

static int look_empty(struct disk_recv *dr, unsigned int i,
			 struct error *err)
{
	uint64_t deadline = now_ns() + LOOK_NS;
	int ret = new_filled(dr, i, err) ?: find_filled(dr, i, deadline, err);

	if (ret < 0)
		return explain(dr->disk[i], err);
	return prove_empty(dr, i, deadline, err);
}

/* What takes too long to ask for counts as filled. */
static int look_full(struct disk_recv *dr, unsigned int i,
			struct error *err)
{
	int ret = new_filled(dr, i, err) ?:
		  find_filled(dr, i, now_ns() + LOOK_NS, err);

	if (ret != -ETIMEDOUT)
		return ret;
	error_clear(err);
	memset(dr->filled[i], 0xff,
	       bits_longs(pieces(dr->disk[i])) * sizeof(long));
	return disk_slots_renew(&dr->slots, dr->slots->cancel_fd, err);
}

int disk_look(struct disk_recv *dr, unsigned int i, struct error *err)
{
	return dr->disk[i]->overwrite ? look_full(dr, i, err) :
					look_empty(dr, i, err);
}
