/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/disk_slots.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "migration/bits.h"
#include "migration/channel.h"
#include "vmm/base/fd.h"

#define ALIGN 4096		/* direct I/O takes it as it is */
#define MAP_BYTES (64 * GIB)	/* asked for at a time */
#define DRAIN_NS (2 * NSEC_PER_SEC)

static void slots_free(struct disk_slots *s)
{
	for (unsigned int i = 0; i < DISK_SLOTS; i++)
		free(s->slot[i].buf);
	fd_close(&s->event_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct disk_slots *disk_slots_new(struct error *err)
{
	struct disk_slots *s = calloc(1, sizeof(*s));
	bool ok = s;

	if (ok) {
		pthread_mutex_init(&s->lock, NULL);
		s->cancel_fd = -1;
		s->event_fd = fd_event();
		ok = s->event_fd >= 0;
	}
	for (unsigned int i = 0; ok && i < DISK_SLOTS; i++) {
		void *buf;

		ok = !posix_memalign(&buf, ALIGN, DISK_RUN_BYTES);
		s->slot[i].buf = ok ? buf : NULL;
		s->slot[i].slots = s;
	}
	if (ok)
		return s;
	if (s)
		slots_free(s);
	error_set(err, ENOMEM, "no memory to copy disks");
	return NULL;
}

void disk_slots_leave(struct disk_slots *s)
{
	bool last;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->left = true;
	last = !s->in_flight;
	pthread_mutex_unlock(&s->lock);
	if (last)
		slots_free(s);
}

static void slot_done(struct vm_disk_io *io, int result)
{
	struct disk_slot *slot = container_of(io, struct disk_slot, io);
	struct disk_slots *s = slot->slots;
	bool last;

	pthread_mutex_lock(&s->lock);
	slot->result = result;
	slot->busy = false;
	last = !--s->in_flight && s->left;
	fd_event_signal(s->event_fd);
	pthread_mutex_unlock(&s->lock);
	if (last)
		slots_free(s);
}

struct disk_slot *disk_slots_free(struct disk_slots *s)
{
	return s->count == DISK_SLOTS ? NULL :
	       &s->slot[(s->head + s->count) % DISK_SLOTS];
}

void disk_slot_start(struct disk_slot *slot, struct vm_disk *d,
		     enum vm_disk_op op, uint64_t offset, uint64_t len)
{
	struct disk_slots *s = slot->slots;

	pthread_mutex_lock(&s->lock);
	s->count++;
	s->in_flight++;
	slot->busy = true;
	pthread_mutex_unlock(&s->lock);
	slot->io = (struct vm_disk_io){
		.op = op, .offset = offset, .len = len, .buf = slot->buf,
		.done = slot_done,
	};
	vm_disk_submit(d, &slot->io);
}

static bool slot_busy(struct disk_slot *slot)
{
	bool busy;

	pthread_mutex_lock(&slot->slots->lock);
	busy = slot->busy;
	pthread_mutex_unlock(&slot->slots->lock);
	return busy;
}

static const char *doing(enum vm_disk_op op)
{
	switch (op) {
	case VM_DISK_READ:
		return "reading";
	case VM_DISK_MAP:
		return "looking for holes";
	default:
		return "writing";
	}
}

struct disk_slot *disk_slots_take(struct disk_slots *s, uint64_t deadline,
				  struct error *err)
{
	struct disk_slot *slot = &s->slot[s->head];
	int ret = 0;

	if (!s->count)
		return NULL;
	while (slot_busy(slot) && ret == 0) {
		ret = channel_wait_fd(s->event_fd, POLLIN, s->cancel_fd,
				      deadline);
		fd_event_take(s->event_fd);
	}
	if (ret < 0) {
		error_set(err, -ret, "disk %s: %s", slot->io.disk->id,
			  ret == -ECANCELED ? "cancelled" :
			  "a request takes too long");
		return NULL;
	}
	s->head = (s->head + 1) % DISK_SLOTS;
	s->count--;
	if (!slot->result)
		return slot;
	error_set(err, -slot->result, "disk %s: %s at %#llx: %s",
		  slot->io.disk->id,
		  doing(slot->io.op),
		  (unsigned long long)slot->io.offset,
		  strerror(-slot->result));
	return NULL;
}

struct disk_slot *disk_slots_map(struct disk_slots *s, struct vm_disk *d,
				 uint64_t offset, uint64_t len,
				 uint64_t deadline, struct error *err)
{
	struct disk_slot *slot = disk_slots_free(s);

	len = MIN(len, MAP_BYTES);
	memset(slot->buf, 0,
	       bits_longs(len / VM_DISK_PIECE + 1) * sizeof(long));
	disk_slot_start(slot, d, VM_DISK_MAP, offset, len);
	return disk_slots_take(s, deadline, err);
}

void disk_slots_let_end(struct disk_slots *s)
{
	uint64_t deadline = now_ns() + DRAIN_NS;
	struct error ignored = ERROR_INIT;

	s->cancel_fd = -1;
	while (s->count && now_ns() < deadline)
		disk_slots_take(s, deadline, &ignored);
}

int disk_slots_renew(struct disk_slots **s, int cancel_fd, struct error *err)
{
	if (*s)
		disk_slots_let_end(*s);
	disk_slots_leave(*s);
	*s = disk_slots_new(err);
	if (!*s)
		return -err->code;
	(*s)->cancel_fd = cancel_fd;
	return 0;
}
