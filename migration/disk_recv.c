/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/disk_recv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/bits.h"
#include "migration/crc32c.h"
#include "migration/disk_look.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

#define PIECE VM_DISK_PIECE	/* a bit of filled[] */
#define FLUSH_EVERY (64 * MIB)	/* so that the last flush finds little */
#define ZERO_BYTES (1 * GIB)	/* of one request */
#define ANSWER_NS (10 * NSEC_PER_SEC)

void disk_recv_init(struct disk_recv *dr)
{
	memset(dr, 0, sizeof(*dr));
	channel_init(&dr->channel);
	pthread_mutex_init(&dr->lock, NULL);
	dr->event_fd = dr->quit_fd = -1;
}

/* -- before ---------------------------------------------------------------- */

static struct vm_disk *find_disk(struct vm *vm,
				 const struct migration_vm_ops *ops,
				 const char *id)
{
	struct vm_disk *d = NULL;

	for (unsigned int i = 0; (d = ops->disk(vm, i)); i++)
		if (!strcmp(d->id, id))
			break;
	return d;
}

static int open_disk(struct disk_recv *dr, unsigned int i, struct vm_disk *d,
		     struct error *err)
{
	const struct wire_disk *w = &dr->disks.disk[i];
	int ret;

	if (!d)
		return error_set(err, ENODEV, "disk %s: no such disk here",
				 w->id);
	dr->disk[i] = d;
	ret = vm_disk_activate(d, err);
	if (ret < 0)
		return ret;
	if (d->readonly)
		return error_set(err, EROFS,
				 "disk %s: read-only here, it can't be copied to",
				 w->id);
	if (d->size != w->size)
		return error_set(err, EINVAL,
				 "disk %s has %llu bytes here, and %llu there",
				 w->id, (unsigned long long)d->size,
				 (unsigned long long)w->size);
	return disk_look(dr, i, err);
}

int disk_recv_open(struct disk_recv *dr, struct vm *vm,
		   const struct migration_vm_ops *ops,
		   const struct wire_disks *disks, int cancel_fd,
		   struct error *err)
{
	dr->disks = *disks;
	for (unsigned int i = 0; i < disks->n; i++) {
		struct error e = ERROR_INIT;

		if (disk_slots_renew(&dr->slots, cancel_fd, err) < 0)
			return -err->code;
		if (open_disk(dr, i, find_disk(vm, ops, disks->disk[i].id),
			      &e) < 0)
			error_add(err, e.code, "%s", e.msg);
	}
	if (err->code)
		return -err->code;
	dr->event_fd = fd_event();
	dr->quit_fd = fd_event();
	if (dr->event_fd < 0 || dr->quit_fd < 0)
		return error_set(err, EMFILE, "no eventfd to receive disks");
	dr->slots->cancel_fd = dr->quit_fd;
	return 0;
}

/* -- the thread ------------------------------------------------------------ */

/* Wait for the oldest request. */
static int take_one(struct disk_recv *dr, struct error *err)
{
	disk_slots_take(dr->slots, 0, err);
	return err->code ? -err->code : 0;
}

static int drain(struct disk_recv *dr, struct error *err)
{
	int ret = 0;

	while (ret == 0 && dr->slots->count)
		ret = take_one(dr, err);
	return ret;
}

static struct disk_slot *get_slot(struct disk_recv *dr, struct error *err)
{
	struct disk_slot *slot = disk_slots_free(dr->slots);

	if (!slot && take_one(dr, err) == 0)
		slot = disk_slots_free(dr->slots);
	return slot;
}

static int flush(struct disk_recv *dr, unsigned int disk, struct error *err)
{
	struct disk_slot *slot = get_slot(dr, err);

	if (!slot)
		return -err->code;
	disk_slot_start(slot, dr->disk[disk], VM_DISK_FLUSH, 0, 0);
	return 0;
}

static void note_filled(struct disk_recv *dr, const struct disk_run *run)
{
	unsigned long *map = dr->filled[run->disk];
	uint64_t b = run->offset / PIECE;

	for (; b * PIECE < run->offset + run->len; b++)
		bit_set(map, b);
}

static int recv_data(struct disk_recv *dr, const struct disk_run *run,
		     struct error *err)
{
	struct disk_slot *slot = get_slot(dr, err);
	int ret;

	if (!slot)
		return -err->code;
	ret = channel_read(&dr->channel, slot->buf, run->len, 0, err);
	if (ret < 0)
		return ret;
	if (crc32c(0, slot->buf, run->len) != run->sum)
		return error_set(err, EBADMSG,
				 "data of disk %s at %#llx is damaged",
				 dr->disks.disk[run->disk].id,
				 (unsigned long long)run->offset);
	note_filled(dr, run);
	disk_slot_start(slot, dr->disk[run->disk], VM_DISK_WRITE, run->offset,
			run->len);
	dr->unflushed += run->len;
	if (dr->unflushed < FLUSH_EVERY)
		return 0;
	dr->unflushed = 0;
	return flush(dr, run->disk, err);
}

/* The next bytes of [*at, end) that may be other than zero: how many. */
static uint64_t next_filled(const unsigned long *map, uint64_t *at,
			    uint64_t end)
{
	uint64_t last = (end - 1) / PIECE + 1;
	uint64_t b = bits_next(map, *at / PIECE, last);

	*at = MAX(*at, b * PIECE);
	while (b < last && bit_is_set(map, b))
		b++;
	return *at < end ? MIN(MIN(b * PIECE, end) - *at, ZERO_BYTES) : 0;
}

/* Nothing is written where nothing else was before. */
static int recv_zero(struct disk_recv *dr, const struct disk_run *run,
		     struct error *err)
{
	uint64_t at = run->offset, end = at + run->len, n;

	while (at < end &&
	       (n = next_filled(dr->filled[run->disk], &at, end))) {
		struct disk_slot *slot = get_slot(dr, err);

		if (!slot)
			return -err->code;
		disk_slot_start(slot, dr->disk[run->disk], VM_DISK_WRITE_ZEROES,
				at, n);
		at += n;
	}
	return 0;
}

static int answer(struct disk_recv *dr, const struct disk_run *run,
		  struct error *err)
{
	uint8_t header[DISK_RUN_HEADER];
	struct iovec iov = { .iov_base = header, .iov_len = sizeof(header) };

	disk_run_encode(header, run);
	return channel_writev(&dr->channel, &iov, 1, now_ns() + ANSWER_NS, err);
}

/* What is there now, read back. */
static int recv_sum(struct disk_recv *dr, struct disk_run *run,
		    struct error *err)
{
	struct disk_slot *slot;
	int ret = drain(dr, err);

	if (ret < 0)
		return ret;
	slot = disk_slots_free(dr->slots);
	disk_slot_start(slot, dr->disk[run->disk], VM_DISK_READ, run->offset,
			run->len);
	ret = take_one(dr, err);
	if (ret < 0)
		return ret;
	run->sum = crc32c(0, slot->buf, run->len);
	return answer(dr, run, err);
}

/* 1 after the last one. */
static int recv_fence(struct disk_recv *dr, const struct disk_run *run,
		      struct error *err)
{
	int ret = drain(dr, err);

	if (run->seq != ++dr->seq)
		return error_set(err, EPROTO, "disk fence %u after %u",
				 run->seq, dr->seq - 1);
	for (unsigned int i = 0; i < dr->disks.n && ret == 0; i++)
		if (run->flags & DISK_RUN_FLUSH)
			ret = flush(dr, i, err);
	if (ret == 0)
		ret = drain(dr, err);
	if (ret == 0)
		ret = answer(dr, run, err);
	return ret < 0 ? ret : !!(run->flags & DISK_RUN_LAST);
}

static int recv_run(struct disk_recv *dr, struct error *err)
{
	uint8_t header[DISK_RUN_HEADER];
	struct disk_run run;
	int ret = channel_read(&dr->channel, header, sizeof(header), 0, err);

	if (ret == 0)
		ret = disk_run_decode(header, &dr->disks, &run, err);
	if (ret < 0)
		return ret;
	switch (run.kind) {
	case DISK_RUN_DATA:
		return recv_data(dr, &run, err);
	case DISK_RUN_ZERO:
		return recv_zero(dr, &run, err);
	case DISK_RUN_SUM:
		return recv_sum(dr, &run, err);
	default:
		return recv_fence(dr, &run, err);
	}
}

static void *recv_thread(void *arg)
{
	struct disk_recv *dr = arg;
	struct error err = ERROR_INIT;
	int ret;

	do
		ret = recv_run(dr, &err);
	while (ret == 0);
	pthread_mutex_lock(&dr->lock);
	dr->last = ret > 0;
	dr->ret = MIN(ret, 0);
	dr->err = err;
	pthread_mutex_unlock(&dr->lock);
	fd_event_signal(dr->event_fd);
	return NULL;
}

/* -- for the migration ----------------------------------------------------- */

int disk_recv_add(struct disk_recv *dr, struct channel *ch, struct error *err)
{
	if (!dr->disks.n || dr->started)
		return error_set(err, EPROTO, dr->started ?
				 "the disk channel came twice" :
				 "a disk channel, but no disk is copied");
	dr->channel = *ch;
	dr->channel.cancel_fd = dr->quit_fd;
	if (thread_start(&dr->thread, "disk receive", recv_thread, dr)) {
		channel_init(&dr->channel);
		return error_set(err, EAGAIN, "no thread for the disk channel");
	}
	dr->started = true;
	ch->fd = -1;
	return 0;
}

bool disk_recv_complete(const struct disk_recv *dr)
{
	return !dr->disks.n || dr->started;
}

int disk_recv_reached(struct disk_recv *dr, struct error *err)
{
	int ret = 1;

	if (!dr->disks.n)
		return 1;
	pthread_mutex_lock(&dr->lock);
	if (dr->ret < 0) {
		*err = dr->err;
		error_prefix(err, "disk channel");
		ret = dr->ret;
	} else if (!dr->last) {
		ret = 0;
	}
	pthread_mutex_unlock(&dr->lock);
	return ret;
}

uint64_t disk_recv_bytes(const struct disk_recv *dr)
{
	return atomic_load_explicit(&dr->channel.received,
				    memory_order_relaxed);
}

void disk_recv_exit(struct disk_recv *dr)
{
	if (dr->started) {
		fd_event_signal(dr->quit_fd);
		pthread_join(dr->thread, NULL);
	}
	dr->started = false;
	if (dr->slots)
		disk_slots_let_end(dr->slots);
	disk_slots_leave(dr->slots);
	channel_close(&dr->channel);
	for (unsigned int i = 0; i < DISK_MAX; i++)
		free(dr->filled[i]);
	fd_close(&dr->event_fd);
	fd_close(&dr->quit_fd);
	pthread_mutex_destroy(&dr->lock);
	disk_recv_init(dr);
}
