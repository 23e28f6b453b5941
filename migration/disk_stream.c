/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What disk_send.c says over the disk channel, and what it is answered. */
#include <errno.h>
#include <string.h>

#include "migration/bits.h"
#include "migration/crc32c.h"
#include "migration/disk_stream.h"
#include "vmm/base/util.h"

#define PIECE (64 * KIB)	/* zeroes are left out in pieces of this */

/* -- runs ------------------------------------------------------------------ */

int disk_stream_write(struct disk_send *ds, const struct disk_run *run,
		     uint8_t *data, struct error *err)
{
	uint8_t header[DISK_RUN_HEADER];
	struct iovec iov[] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = data, .iov_len = data ? run->len : 0 },
	};
	int ret = limiter_take(ds->limiter, iov[0].iov_len + iov[1].iov_len,
			       ds->quit_fd, 0);

	if (ret < 0)
		return error_set(err, -ret, "cancelled");
	disk_run_encode(header, run);
	return channel_writev(&ds->channel, iov, 2, 0, err);
}

void disk_stream_account(struct disk_send *ds, const struct disk_run *run)
{
	struct migration_disk_stats *s;

	pthread_mutex_lock(&ds->progress->lock);
	s = &ds->progress->now.disk[run->disk];
	if (run->kind == DISK_RUN_ZERO)
		s->zero += run->len;
	else if (ds->mirroring)
		s->mirrored += run->len;
	else
		s->copied += run->len;
	s->remaining -= MIN(run->len, s->remaining);
	pthread_mutex_unlock(&ds->progress->lock);
}

static bool all_zero(const uint8_t *p, uint64_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* A stretch that is all data or all zeroes. */
static int send_stretch(struct disk_send *ds, struct disk_run *run,
			uint8_t *data, struct error *err)
{
	bool zero = run->kind == DISK_RUN_ZERO;

	run->sum = zero ? 0 : crc32c(0, data, run->len);
	disk_stream_account(ds, run);
	return disk_stream_write(ds, run, zero ? NULL : data, err);
}

static int send_read(struct disk_send *ds, const struct disk_slot *slot,
		     struct error *err)
{
	const struct disk_run *whole = &slot->run;
	uint64_t start = 0;
	int ret = 0;

	while (start < whole->len && ret == 0) {
		uint64_t end = start;
		bool zero = false;

		while (end < whole->len) {
			uint64_t n = MIN(PIECE, whole->len - end);
			bool z = all_zero(slot->buf + end, n);

			if (end > start && z != zero)
				break;
			zero = z;
			end += n;
		}
		ret = send_stretch(ds, &(struct disk_run){
			.kind = zero ? DISK_RUN_ZERO : DISK_RUN_DATA,
			.disk = whole->disk, .offset = whole->offset + start,
			.len = end - start }, slot->buf + start, err);
		start = end;
	}
	return ret;
}

/* What a SUM run asks: is this what you have? */
static int send_sum(struct disk_send *ds, const struct disk_slot *slot,
		    struct error *err)
{
	struct disk_run *run = &ds->sum[ds->nsums++];

	*run = slot->run;
	run->sum = crc32c(0, slot->buf, run->len);
	return disk_stream_write(ds, run, NULL, err);
}

/* Send what was read first. */
static int send_one(struct disk_send *ds, struct error *err)
{
	struct disk_slot *slot = disk_slots_take(ds->slots, 0, err);

	if (!slot)
		return err->code ? -err->code : 0;
	return slot->run.kind == DISK_RUN_SUM ? send_sum(ds, slot, err) :
						send_read(ds, slot, err);
}

int disk_stream_read(struct disk_send *ds, enum disk_run_kind kind,
		    unsigned int disk, uint64_t offset, uint64_t len,
		    struct error *err)
{
	struct disk_slot *slot = disk_slots_free(ds->slots);
	int ret = 0;

	if (!slot) {
		ret = send_one(ds, err);
		slot = disk_slots_free(ds->slots);
	}
	if (ret < 0)
		return ret;
	slot->run = (struct disk_run){ .kind = (uint16_t)kind,
		.disk = (uint16_t)disk, .offset = offset, .len = len };
	disk_slot_start(slot, ds->disk[disk], VM_DISK_READ, offset, len);
	return 0;
}

int disk_stream_drain(struct disk_send *ds, struct error *err)
{
	int ret = 0;

	while (ret == 0 && ds->slots->count)
		ret = send_one(ds, err);
	return ret;
}

/* -- answers --------------------------------------------------------------- */

/* A sum differs. That is so if the guest has written since, or is at it. */
static int judge_sum(struct disk_send *ds, const struct disk_run *mine,
		     const struct disk_run *theirs, struct error *err)
{
	struct vm_disk *d = ds->disk[mine->disk];
	unsigned long *map = ds->blocks[mine->disk].unproved;
	uint64_t bit = mine->offset / DISK_RUN_BYTES;

	if (theirs->disk != mine->disk || theirs->offset != mine->offset ||
	    theirs->len != mine->len)
		return error_set(err, EPROTO, "a sum that was not asked for");
	if (theirs->sum != mine->sum) {
		if (vm_disk_unsettled(d, mine->offset, mine->len))
			return 0;
		return error_set(err, EBADMSG,
				 "disk %s differs on the other side at %#llx, in %llu bytes: it does not hold what was sent",
				 d->id, (unsigned long long)mine->offset,
				 (unsigned long long)mine->len);
	}
	map[bit / LONG_BITS] &= ~(1ul << (bit % LONG_BITS));
	pthread_mutex_lock(&ds->progress->lock);
	ds->progress->now.disk[mine->disk].verified += mine->len;
	pthread_mutex_unlock(&ds->progress->lock);
	return 0;
}

static int recv_answers(struct disk_send *ds, struct error *err)
{
	uint8_t header[DISK_RUN_HEADER];
	struct disk_run run = { 0 };
	unsigned int sums = 0;
	int ret = 0;

	while (ret == 0 && run.kind != DISK_RUN_FENCE) {
		ret = channel_read(&ds->channel, header, sizeof(header), 0,
				   err);
		if (ret == 0)
			ret = disk_run_decode(header, &ds->disks, &run, err);
		if (ret < 0)
			return ret;
		if (run.kind == DISK_RUN_SUM && sums < ds->nsums)
			ret = judge_sum(ds, &ds->sum[sums++], &run, err);
		else if (run.kind != DISK_RUN_FENCE || run.seq != ds->seq)
			ret = error_set(err, EPROTO,
					"unexpected answer on the disk channel");
	}
	if (ret == 0 && sums < ds->nsums)
		ret = error_set(err, EPROTO, "a sum was not answered");
	ds->nsums = 0;
	return ret;
}

/* Back when the other side has carried out all that was sent. */
int disk_stream_fence(struct disk_send *ds, uint32_t flags, struct error *err)
{
	struct disk_run run = { .kind = DISK_RUN_FENCE, .flags = flags };
	int ret = disk_stream_drain(ds, err);

	run.seq = ++ds->seq;
	if (ret == 0)
		ret = disk_stream_write(ds, &run, NULL, err);
	return ret == 0 ? recv_answers(ds, err) : ret;
}
