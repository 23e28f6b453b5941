/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks on their way out: all that may hold data, then what the guest wrote
 * meanwhile, in rounds; then, when that is little or grows no less, as a
 * mirror: what the guest writes from there on goes over at once, and it is told
 * of the write when both sides have it. When the guest is stopped, the writes
 * that were under way follow, and the last fence.
 *
 * Threads: one of its own from start to exit. All calls come from the
 * migration's thread.
 */
#ifndef GODWIT_MIGRATION_DISK_SEND_H
#define GODWIT_MIGRATION_DISK_SEND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/disk_slots.h"
#include "migration/disk_wire.h"
#include "migration/limiter.h"
#include "migration/stats.h"

enum disk_send_state {
	DISK_SEND_COPYING = 1,
	DISK_SEND_MIRRORED,	/* both sides are the same but for writes under way */
	DISK_SEND_DONE,		/* after disk_send_finish(): the same, and flushed */
	DISK_SEND_FAILED,
};

/* A disk's blocks, as vm_disk_take() counts them. */
struct disk_send_blocks {
	unsigned long *todo;	/* to be sent when there is time */
	unsigned long *fresh;	/* just written, to be sent now */
	unsigned long *unproved;	/* of DISK_RUN_BYTES: to compare */
	uint64_t n, size;	/* blocks; bytes of one */
	uint64_t next;		/* blocks of todo below are sent */
};

struct disk_send {
	/* configuration */
	struct wire_disks disks;	/* what they are called; n 0: none */
	struct vm_disk *disk[DISK_MAX];
	struct channel channel;		/* owned; connected before start */
	struct limiter *limiter;
	struct migration_progress *progress;
	bool verify;

	/* owned */
	struct disk_send_blocks blocks[DISK_MAX];
	struct disk_slots *slots;
	pthread_t thread;
	bool started;
	int event_fd;			/* the state changed */
	int quit_fd;
	atomic_uint state;		/* enum disk_send_state */
	atomic_bool finish;
	struct error err;		/* of FAILED */

	/* its thread's */
	uint32_t seq;			/* of the last fence */
	bool mirroring;
	unsigned int nsums;		/* asked for and not answered */
	struct disk_run sum[DISK_SLOTS];
	uint64_t last_bytes;		/* of the last round */
};

void disk_send_init(struct disk_send *ds);
/* Starts tracking what the guest writes, and the thread. */
int disk_send_start(struct disk_send *ds, struct error *err) __must_check;
/* -errno and @err if it has failed. */
int disk_send_check(struct disk_send *ds, struct error *err) __must_check;
/* The guest is being stopped: it is told of all writes that were held. */
void disk_send_let_go(struct disk_send *ds);
/* The guest is stopped and no write under way: send the rest... */
void disk_send_finish(struct disk_send *ds);
/* ...and wait until the other side has flushed it. */
int disk_send_wait(struct disk_send *ds, uint64_t deadline, struct error *err)
	__must_check;
/* Ends the thread, whatever it does; the guest's writes are its own again. */
void disk_send_exit(struct disk_send *ds);

#endif
