/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saving a VM to a file while it runs, and bringing it back from there. The
 * file's format: snapshot_file.h.
 *
 * Saving is pre-copy with a file at the other end: rounds of dirty pages, each
 * page to its own place, then a pause for the last ones and the state. A
 * failure at any step leaves the VM running and no file.
 */
#ifndef GODWIT_MIGRATION_SNAPSHOT_H
#define GODWIT_MIGRATION_SNAPSHOT_H

#include <stdatomic.h>

#include "migration/snapshot_file.h"
#include "migration/stats.h"
#include "migration/vm_ops.h"

/* -- saving ---------------------------------------------------------------- */

struct snapshot_save;

struct snapshot_save_config {
	struct vm *vm;
	const struct migration_vm_ops *ops;	/* NULL: the real ones */
	const char *path;	/* must not exist */
	bool keep;		/* the VM runs on; else it is over when saved */
	uint32_t downtime_ms;	/* wished pause */
	/* Stage changes and the end, in the job's thread; as a source's. With
	 * COMPLETED and not keep the VM is in VM_POSTMIGRATE, its locks free. */
	void (*notify)(void *arg, const struct migration_stats *stats);
	void *arg;
};

/* The job has a thread of its own. */
int snapshot_save_start(struct snapshot_save **out,
			const struct snapshot_save_config *cfg,
			struct error *err) __must_check;
/* The VM runs on, no file is left; too late once the file has its name. */
void snapshot_save_cancel(struct snapshot_save *s);
void snapshot_save_stats(struct snapshot_save *s, struct migration_stats *out);
/* Cancels, waits for the thread, frees. */
void snapshot_save_destroy(struct snapshot_save *s);

/* -- bringing back ---------------------------------------------------------- */

struct snapshot {
	int fd;
	char path[256];			/* for messages, maybe cut */
	struct snapshot_header header;
	void *part[SNAPSHOT_NPARTS];	/* table, machine tree, state; owned */
};

/*
 * Open and check all but the memory: header, lengths, checksums of trees and
 * table. @err names the file and what is wrong with it.
 */
int snapshot_open(struct snapshot *s, const char *path, struct error *err)
	__must_check;
void snapshot_close(struct snapshot *s);
/*
 * Compare all memory with its checksums; -EBADMSG names the place. *stop ends
 * it early, with -ECANCELED. Reads the file only: any thread.
 */
int snapshot_verify(const struct snapshot *s, const atomic_bool *stop,
		    struct error *err) __must_check;
/* Write and sync into the file that it was restored now. */
int snapshot_mark_restored(struct snapshot *s, struct error *err) __must_check;

#endif
