/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks on their way in: a thread reads the disk channel and writes to this
 * side's disks until the last fence. Everything read is checked.
 *
 * The disks are taken (vm_disk_activate) before the first byte comes, and have
 * to be empty unless they may be overwritten: a run of zeroes costs nothing
 * where nothing else has been.
 */
#ifndef GODWIT_MIGRATION_DISK_RECV_H
#define GODWIT_MIGRATION_DISK_RECV_H

#include <pthread.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/disk_slots.h"
#include "migration/disk_wire.h"
#include "migration/vm_ops.h"

struct disk_recv {
	struct wire_disks disks;	/* n 0: none is copied */
	struct vm_disk *disk[DISK_MAX];
	/* a bit for each VM_DISK_PIECE: what may be other than zero */
	unsigned long *filled[DISK_MAX];
	struct channel channel;		/* owned */
	struct disk_slots *slots;
	pthread_t thread;
	bool started;
	int event_fd;			/* the last fence came, or it failed */
	int quit_fd;
	uint32_t seq;			/* its thread's: of the last fence */
	uint64_t unflushed;		/* its thread's: bytes */
	pthread_mutex_t lock;		/* the rest */
	bool last;
	int ret;
	struct error err;
};

/* A disk_recv without disks; everything else may be called on it. */
void disk_recv_init(struct disk_recv *dr);
/*
 * Take the disks of @vm that @disks names, or say of each why not. May read
 * for some seconds, or until @cancel_fd is signalled.
 */
int disk_recv_open(struct disk_recv *dr, struct vm *vm,
		   const struct migration_vm_ops *ops,
		   const struct wire_disks *disks, int cancel_fd,
		   struct error *err) __must_check;
/* Takes over @ch as the disk channel. */
int disk_recv_add(struct disk_recv *dr, struct channel *ch, struct error *err)
	__must_check;
bool disk_recv_complete(const struct disk_recv *dr);	/* it came, or none is due */
/* 1 after the last fence: all is flushed; 0 before, -errno if it failed. */
int disk_recv_reached(struct disk_recv *dr, struct error *err) __must_check;
uint64_t disk_recv_bytes(const struct disk_recv *dr);
void disk_recv_exit(struct disk_recv *dr);

#endif
