/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/disk_send.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "migration/bits.h"
#include "migration/disk_stream.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

#define SLICE (4 * MIB)		/* of old blocks between two looks at new ones */
#define SMALL (16 * MIB)	/* dirty bytes that need no round of their own */
#define MAX_ROUNDS 30
#define COPY_NS (30 * NSEC_PER_SEC)	/* without progress */
#define ACK_NS (10 * NSEC_PER_SEC)	/* a guest's write may wait for this */
#define VERIFY_PASSES 3

/* -- blocks ---------------------------------------------------------------- */

/*
 * Read and send what is set in @map from block *from on, at most about @limit
 * bytes; the bits go. 1 if there was anything.
 */
static int send_blocks(struct disk_send *ds, unsigned int i,
		       unsigned long *map, uint64_t *from, uint64_t end,
		       uint64_t limit, struct error *err)
{
	struct disk_send_blocks *b = &ds->blocks[i];
	uint64_t most = MAX(DISK_RUN_BYTES / b->size, 1ull), sent = 0;
	int ret = 0;

	while (ret == 0 && sent < limit) {
		uint64_t first = bits_next(map, *from, end), at = first, len;

		*from = first;
		if (first >= end)
			break;
		for (; at < end && at - first < most &&
		       map[at / LONG_BITS] >> (at % LONG_BITS) & 1; at++)
			map[at / LONG_BITS] &= ~(1ul << (at % LONG_BITS));
		len = MIN((at - first) * b->size,
			  ds->disks.disk[i].size - first * b->size);
		ret = disk_stream_read(ds, DISK_RUN_DATA, i, first * b->size,
				       len, err);
		sent += len;
		*from = at;
	}
	return ret < 0 ? ret : sent > 0;
}

static uint64_t todo_bytes(const struct disk_send *ds)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < ds->disks.n; i++)
		sum += bits_count(ds->blocks[i].todo, ds->blocks[i].n) *
		       ds->blocks[i].size;
	return sum;
}

/* Holes are only told of; blocks that lie in one altogether are done. */
static int leave_out(struct disk_send *ds, unsigned int i, uint64_t offset,
		     uint64_t len, struct error *err)
{
	struct disk_send_blocks *b = &ds->blocks[i];
	uint64_t size = ds->disks.disk[i].size;
	uint64_t first = (offset + b->size - 1) / b->size;
	uint64_t end = offset + len == size ? b->n : (offset + len) / b->size;
	struct disk_run run = { .kind = DISK_RUN_ZERO, .disk = (uint16_t)i };

	if (first >= end)
		return 0;
	for (uint64_t at = first; at < end; at++)
		b->todo[at / LONG_BITS] &= ~(1ul << (at % LONG_BITS));
	run.offset = first * b->size;
	run.len = MIN((end - first) * b->size, size - run.offset);
	disk_stream_account(ds, &run);
	return disk_stream_write(ds, &run, NULL, err);
}

/* The pieces that are not set in @map, a bit each from @offset to @end. */
static int leave_out_pieces(struct disk_send *ds, unsigned int i,
			    const unsigned long *map, uint64_t offset,
			    uint64_t end, struct error *err)
{
	uint64_t n = (end - offset + VM_DISK_PIECE - 1) / VM_DISK_PIECE;
	int ret = 0;

	for (uint64_t at = 0, next; at < n && ret == 0; at = next + 1) {
		uint64_t from = offset + at * VM_DISK_PIECE;

		next = bits_next(map, at, n);
		if (next > at)
			ret = leave_out(ds, i, from,
					MIN((next - at) * VM_DISK_PIECE,
					    end - from), err);
	}
	return ret;
}

/*
 * Writes are tracked by now: what one makes of a hole that was found before it
 * is marked, and sent in a round.
 */
static int find_holes(struct disk_send *ds, unsigned int i, struct error *err)
{
	uint64_t size = ds->disks.disk[i].size, at = 0;
	int ret = 0;

	while (at < size && ret == 0) {
		struct disk_slot *slot = disk_slots_map(ds->slots, ds->disk[i],
							at, size - at, 0, err);

		if (!slot)
			return -err->code;
		ret = leave_out_pieces(ds, i,
				       (const unsigned long *)(void *)slot->buf,
				       at, at + slot->io.len, err);
		at += slot->io.len;
	}
	return ret;
}

static void publish_round(struct disk_send *ds, unsigned int i, uint64_t bytes,
			  uint64_t ns)
{
	struct migration_disk_stats *s = &ds->progress->now.disk[i];

	pthread_mutex_lock(&ds->progress->lock);
	s->rounds++;
	if (ns)
		s->bandwidth = (uint64_t)((double)bytes * 1e9 / (double)ns);
	pthread_mutex_unlock(&ds->progress->lock);
}

/* Everything that is to do, once. */
static int one_round(struct disk_send *ds, struct error *err)
{
	int ret = 0;

	ds->last_bytes = todo_bytes(ds);
	for (unsigned int i = 0; i < ds->disks.n && ret >= 0; i++) {
		struct disk_send_blocks *b = &ds->blocks[i];
		uint64_t start = now_ns(), from = 0;
		uint64_t bytes = bits_count(b->todo, b->n) * b->size;

		ret = send_blocks(ds, i, b->todo, &from, b->n, UINT64_MAX,
				  err);
		if (ret >= 0)
			ret = disk_stream_drain(ds, err);
		publish_round(ds, i, bytes, now_ns() - start);
	}
	return ret < 0 ? ret : disk_stream_fence(ds, DISK_RUN_FLUSH, err);
}

static void take_todo(struct disk_send *ds)
{
	for (unsigned int i = 0; i < ds->disks.n; i++) {
		struct disk_send_blocks *b = &ds->blocks[i];
		uint64_t first, end;

		vm_disk_take(ds->disk[i], b->todo, &first, &end);
		b->next = 0;
		pthread_mutex_lock(&ds->progress->lock);
		ds->progress->now.disk[i].remaining =
			MIN(bits_count(b->todo, b->n) * b->size,
			    ds->disks.disk[i].size);
		pthread_mutex_unlock(&ds->progress->lock);
	}
}

static int copy(struct disk_send *ds, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < ds->disks.n && ret == 0; i++)
		ret = find_holes(ds, i, err);
	if (ret == 0)
		ret = disk_stream_fence(ds, 0, err);
	for (unsigned int round = 0; ret == 0 && round < MAX_ROUNDS; round++) {
		uint64_t left;

		ret = one_round(ds, err);
		take_todo(ds);
		left = todo_bytes(ds);
		if (left <= SMALL || left > ds->last_bytes / 2)
			break;
	}
	return ret;
}

/* -- the mirror ------------------------------------------------------------ */

/* What the guest has just written, of all disks; 1 if it waits for us. */
static int send_fresh(struct disk_send *ds, struct error *err)
{
	bool any = false;
	int ret = 0;

	for (unsigned int i = 0; i < ds->disks.n && ret >= 0; i++) {
		struct disk_send_blocks *b = &ds->blocks[i];
		uint64_t first, end;

		any |= vm_disk_take(ds->disk[i], b->fresh, &first, &end);
		if (first >= end)
			continue;
		for (uint64_t w = first / LONG_BITS; w * LONG_BITS < end; w++)
			b->todo[w] &= ~b->fresh[w];
		ret = send_blocks(ds, i, b->fresh, &first, end, UINT64_MAX,
				  err);
	}
	return ret < 0 ? ret : any;
}

/* Some of what is left of the rounds; 1 if there was any. */
static int send_slice(struct disk_send *ds, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < ds->disks.n && ret == 0; i++) {
		struct disk_send_blocks *b = &ds->blocks[i];

		ret = send_blocks(ds, i, b->todo, &b->next, b->n, SLICE, err);
	}
	return ret;
}

/* Compare some of what was not proved yet; 1 if there was any. */
static int send_sums(struct disk_send *ds, unsigned int i, uint64_t *from,
		     struct error *err)
{
	uint64_t size = ds->disks.disk[i].size;
	uint64_t n = (size + DISK_RUN_BYTES - 1) / DISK_RUN_BYTES;
	int ret = 0, count;

	for (count = 0; count < DISK_SLOTS && ret == 0; count++) {
		uint64_t at = bits_next(ds->blocks[i].unproved, *from, n);

		*from = MIN(at + 1, n);
		if (at >= n)
			break;
		at *= DISK_RUN_BYTES;
		ret = disk_stream_read(ds, DISK_RUN_SUM, i, at,
				       MIN(DISK_RUN_BYTES, size - at), err);
	}
	return ret < 0 ? ret : count > 0;
}

/* One step of the mirror: 0 if there was nothing to do, 2 if more is left of
 * the rounds, 1 if only the guest may have more. */
static int mirror_step(struct disk_send *ds, struct error *err)
{
	int fresh = send_fresh(ds, err);
	int slice = fresh < 0 ? fresh : send_slice(ds, err);
	int ret = slice;

	if (ret >= 0 && (fresh || slice))
		ret = disk_stream_fence(ds, 0, err);
	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < ds->disks.n; i++)
		vm_disk_release(ds->disk[i]);
	return slice ? 2 : fresh;
}

/*
 * Both sides are compared while the guest runs; its writes go first. What it
 * writes to all the time stays unproved.
 */
static int verify(struct disk_send *ds, struct error *err)
{
	int ret = 0;

	for (unsigned int pass = 0; pass < VERIFY_PASSES; pass++)
		for (unsigned int i = 0; i < ds->disks.n; i++) {
			uint64_t from = 0;

			while ((ret = send_sums(ds, i, &from, err)) > 0 &&
			       (ret = disk_stream_fence(ds, 0, err)) == 0 &&
			       (ret = mirror_step(ds, err)) >= 0)
				;
			if (ret < 0)
				return ret;
		}
	return 0;
}

static void set_state(struct disk_send *ds, enum disk_send_state state)
{
	if (atomic_exchange(&ds->state, state) != state)
		fd_event_signal(ds->event_fd);
}

static int wait_guest(struct disk_send *ds, struct error *err)
{
	int ret = channel_wait_fd(ds->slots->event_fd, POLLIN, ds->quit_fd, 0);

	fd_event_take(ds->slots->event_fd);
	return ret < 0 ? error_set(err, -ret, "cancelled") : 0;
}

static int mirror(struct disk_send *ds, struct error *err)
{
	int ret;

	ds->mirroring = true;
	ds->channel.idle_ns = ACK_NS;
	for (unsigned int i = 0; i < ds->disks.n; i++)
		vm_disk_hold(ds->disk[i], true);
	do
		ret = mirror_step(ds, err);
	while (ret == 2);
	if (ret >= 0 && ds->verify)
		ret = verify(ds, err);
	if (ret >= 0)
		set_state(ds, DISK_SEND_MIRRORED);
	while (ret >= 0) {
		/* asked before the step: then nothing can come after it */
		bool finish = atomic_load(&ds->finish);

		ret = mirror_step(ds, err);
		if (ret)
			continue;
		if (finish)
			return disk_stream_fence(ds, DISK_RUN_LAST |
						 DISK_RUN_FLUSH, err);
		ret = wait_guest(ds, err);
	}
	return ret;
}

static void *send_thread(void *arg)
{
	struct disk_send *ds = arg;
	struct error err = ERROR_INIT;
	int ret = copy(ds, &err);

	if (ret == 0)
		ret = mirror(ds, &err);
	if (ret < 0) {
		/* a guest must not wait for a mirror that is broken */
		disk_send_let_go(ds);
		ds->err = err;
	}
	set_state(ds, ret < 0 ? DISK_SEND_FAILED : DISK_SEND_DONE);
	return NULL;
}

/* -- for the migration ----------------------------------------------------- */

void disk_send_init(struct disk_send *ds)
{
	memset(ds, 0, sizeof(*ds));
	channel_init(&ds->channel);
	ds->event_fd = ds->quit_fd = -1;
}

/* Any thread: the guest wrote something. */
static void wrote(void *arg)
{
	struct disk_send *ds = arg;

	fd_event_signal(ds->slots->event_fd);
}

static int start_disk(struct disk_send *ds, unsigned int i, struct error *err)
{
	struct disk_send_blocks *b = &ds->blocks[i];
	struct vm_disk *d = ds->disk[i];
	uint64_t sums = (d->size + DISK_RUN_BYTES - 1) / DISK_RUN_BYTES;
	int ret = vm_disk_track(d, wrote, ds, err);

	if (ret < 0)
		return ret;
	b->n = vm_disk_blocks(d);
	b->size = 1ull << d->shift;
	b->todo = calloc(bits_longs(b->n), sizeof(long));
	b->fresh = calloc(bits_longs(b->n), sizeof(long));
	b->unproved = calloc(bits_longs(sums), sizeof(long));
	if (!b->todo || !b->fresh || !b->unproved)
		return error_set(err, ENOMEM, "no memory for a disk's bitmap");
	memset(b->todo, 0xff, b->n / 8);
	for (uint64_t at = b->n / 8 * 8; at < b->n; at++)
		b->todo[at / LONG_BITS] |= 1ul << (at % LONG_BITS);
	memset(b->unproved, 0xff, bits_longs(sums) * sizeof(long));
	return 0;
}

int disk_send_start(struct disk_send *ds, struct error *err)
{
	int ret = 0;

	atomic_store(&ds->state, DISK_SEND_COPYING);
	ds->slots = disk_slots_new(err);
	if (!ds->slots)
		return -err->code;
	ds->event_fd = fd_event();
	ds->quit_fd = fd_event();
	if (ds->event_fd < 0 || ds->quit_fd < 0)
		return error_set(err, EMFILE, "no eventfd to copy disks");
	ds->slots->cancel_fd = ds->quit_fd;
	ds->channel.cancel_fd = ds->quit_fd;
	ds->channel.idle_ns = COPY_NS;
	for (unsigned int i = 0; i < ds->disks.n && ret == 0; i++)
		ret = start_disk(ds, i, err);
	if (ret == 0 && thread_start(&ds->thread, "disk send", send_thread, ds))
		ret = error_set(err, EAGAIN, "no thread to copy disks");
	ds->started = ret == 0;
	return ret;
}

int disk_send_check(struct disk_send *ds, struct error *err)
{
	if (atomic_load(&ds->state) != DISK_SEND_FAILED)
		return 0;
	*err = ds->err;
	return -err->code;
}

void disk_send_let_go(struct disk_send *ds)
{
	for (unsigned int i = 0; i < ds->disks.n; i++)
		vm_disk_hold(ds->disk[i], false);
}

void disk_send_finish(struct disk_send *ds)
{
	atomic_store(&ds->finish, true);
	fd_event_signal(ds->slots->event_fd);
}

int disk_send_wait(struct disk_send *ds, uint64_t deadline, struct error *err)
{
	int ret = 0;

	while (ret == 0 && atomic_load(&ds->state) < DISK_SEND_DONE) {
		ret = channel_wait_fd(ds->event_fd, POLLIN, -1, deadline);
		fd_event_take(ds->event_fd);
	}
	if (ret < 0)
		return error_set(err, -ret,
				 "the last blocks of the disks did not arrive");
	return disk_send_check(ds, err);
}

static void free_blocks(struct disk_send_blocks *b)
{
	free(b->todo);
	free(b->fresh);
	free(b->unproved);
	*b = (struct disk_send_blocks){ 0 };
}

void disk_send_exit(struct disk_send *ds)
{
	if (ds->started) {
		fd_event_signal(ds->quit_fd);
		pthread_join(ds->thread, NULL);
	}
	ds->started = false;
	for (unsigned int i = 0; i < ds->disks.n; i++) {
		if (ds->blocks[i].n)
			vm_disk_untrack(ds->disk[i]);
		free_blocks(&ds->blocks[i]);
	}
	disk_slots_leave(ds->slots);
	ds->slots = NULL;
	channel_close(&ds->channel);
	fd_close(&ds->event_fd);
	fd_close(&ds->quit_fd);
}
