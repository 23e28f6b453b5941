/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host with disks in memory, as a migration sees them (vmm/disk.h), and its
 * loop in a thread: for tests of copying.
 */
#ifndef GODWIT_TESTS_MEM_DISK_H
#define GODWIT_TESTS_MEM_DISK_H

#include <pthread.h>

#include "migration/vm_ops.h"
#include "vmm/disk.h"
#include "vmm/loop.h"

#define MEM_DISK_SIZE (8 * MIB + 3 * 512)

struct mem_disk {
	struct vm_disk d;
	pthread_mutex_t lock;		/* protects the rest */
	uint8_t *data;
	uint64_t hole_end;		/* a hole from 0 to here */
	void (*mapped)(struct mem_disk *m);	/* after MAP, before it is told */
	int64_t flip_at;		/* writes there lie; -1: none does */
	bool hang;			/* keep the next one that moves data */
	struct vm_disk_io *kept;
	unsigned int reads, zeroes, flushes;
	int error;			/* of each write */
};

struct mem_side {
	struct loop loop;
	pthread_t thread;
	struct mem_disk disk[2];
	unsigned int ndisks;
};

/* Disks "one" and, if there are two, "two", all zeroes. */
void mem_side_init(struct mem_side *s, unsigned int ndisks);
void mem_side_exit(struct mem_side *s);

/* For a struct mem_side in the place of a VM: its disks, and no more. */
extern const struct migration_vm_ops mem_side_ops;

#endif
