/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of one thread to disks: a few in flight, finished in the order of
 * their start. A disk that has lost its server may keep a request for ever, so
 * who waits can give up, and who goes leaves the buffers to the last request.
 */
#ifndef GODWIT_MIGRATION_DISK_SLOTS_H
#define GODWIT_MIGRATION_DISK_SLOTS_H

#include <pthread.h>

#include "migration/disk_wire.h"
#include "vmm/disk.h"

#define DISK_SLOTS 8

struct disk_slots;

struct disk_slot {
	struct vm_disk_io io;
	struct disk_slots *slots;
	struct disk_run run;		/* the user's: what it is about */
	uint8_t *buf;			/* DISK_RUN_BYTES */
	int result;
	bool busy;			/* under slots->lock */
};

struct disk_slots {
	int event_fd;			/* signalled: look again; any thread may */
	int cancel_fd;			/* not owned; -1: none */
	unsigned int head, count;	/* started and not taken */
	struct disk_slot slot[DISK_SLOTS];
	pthread_mutex_t lock;		/* busy, and the rest */
	unsigned int in_flight;
	bool left;			/* the last request frees */
};

struct disk_slots *disk_slots_new(struct error *err);
void disk_slots_leave(struct disk_slots *s);
/* Requests that can end should: their disks may go next. Takes a moment. */
void disk_slots_let_end(struct disk_slots *s);
/* Others in place of *s (NULL: none yet), where requests may hang. */
int disk_slots_renew(struct disk_slots **s, int cancel_fd, struct error *err)
	__must_check;
/* A slot to fill in and start, or NULL: take one first. */
struct disk_slot *disk_slots_free(struct disk_slots *s);
void disk_slot_start(struct disk_slot *slot, struct vm_disk *d,
		     enum vm_disk_op op, uint64_t offset, uint64_t len);
/*
 * Which pieces of @d from @offset on may be other than zero? None may be
 * started and not taken. The slot's io.len says for how many bytes its buffer
 * is the answer (see VM_DISK_MAP), @len at most. NULL: as disk_slots_take().
 */
struct disk_slot *disk_slots_map(struct disk_slots *s, struct vm_disk *d,
				 uint64_t offset, uint64_t len,
				 uint64_t deadline, struct error *err);
/*
 * The oldest one that was started, when it is done: its buffer stays valid
 * until another is started. NULL and no error: none was started. An error is
 * that of the waiting (-ECANCELED, -ETIMEDOUT) or of the request.
 */
struct disk_slot *disk_slots_take(struct disk_slots *s, uint64_t deadline,
				  struct error *err);

#endif
