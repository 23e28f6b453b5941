/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of snapshot_save; nobody else includes it. */
#ifndef GODWIT_MIGRATION_SNAPSHOT_PRIVATE_H
#define GODWIT_MIGRATION_SNAPSHOT_PRIVATE_H

#include <limits.h>
#include <pthread.h>

#include "migration/bits.h"
#include "migration/snapshot.h"

/* Pages of a chunk: what is protected and then written at a time (8 MiB). */
#define SNAPSHOT_CHUNK 2048

struct snapshot_save {
	struct snapshot_save_config cfg;
	const struct migration_vm_ops *ops;
	struct memory *mem;
	pthread_t thread;
	atomic_bool cancelled;
	struct migration_progress progress;

	/* the job's thread alone */
	char path[PATH_MAX], part[PATH_MAX + 8];	/* the name; until then */
	int fd;
	bool tracking;
	bool first;			/* the round that looks at all pages */
	unsigned long *dirty[MEMORY_MAX_REGIONS];
	unsigned long chunk[SNAPSHOT_CHUNK / LONG_BITS];
	unsigned long present[SNAPSHOT_CHUNK / LONG_BITS];
	uint64_t dirty_pages;		/* after snapshot_sync_dirty() */
	uint64_t bandwidth;		/* bytes/s of the last round */
	uint8_t *table;			/* checksums, as in the file */
	uint64_t blocks;
	uint32_t zero_crc;
	uint64_t *block;		/* SNAPSHOT_BLOCK bytes, a copy */
	enum vm_state before;
	bool gave_up;			/* its disk locks */
	uint64_t paused;		/* when the pause began */
	struct snapshot_header header;
	struct error err;
};

/* snapshot_pages.c */

/* Find out what is dirty; adds to what was not written yet. */
int snapshot_sync_dirty(struct snapshot_save *s) __must_check;
/* Write all that is dirty, and its checksums into the table. */
int snapshot_write_dirty(struct snapshot_save *s) __must_check;

/* snapshot_write.c */

int snapshot_failed(struct snapshot_save *s, const char *what);
/* Make the file, under another name. */
int snapshot_open_part(struct snapshot_save *s) __must_check;
int snapshot_write_at(struct snapshot_save *s, const void *buf, uint64_t len,
		      uint64_t at) __must_check;
/* All that is not memory; then, when it is on the disk, the name. */
int snapshot_finish_file(struct snapshot_save *s, const void *state,
			 size_t len) __must_check;

#endif
