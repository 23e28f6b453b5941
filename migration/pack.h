/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A sender's compression: runs of pages made smaller, if that pays. */
#ifndef GODWIT_MIGRATION_PACK_H
#define GODWIT_MIGRATION_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/compress.h"
#include "migration/pace.h"

/* One thread's. Frames stand one behind the other until they are sent. */
struct pack {
	struct compressor *zstd;	/* all three are owned */
	uint8_t *copy;			/* of a run */
	uint8_t *frames;
	size_t used;			/* bytes of frames */
	struct pace pace;
	struct pace_batch batch;	/* since pack_sent() */
};

int pack_init(struct pack *p, struct error *err) __must_check;
void pack_exit(struct pack *p);		/* of zeroes, too */
/*
 * Compress @len bytes of a run: its length, and @frame where it stands until
 * pack_sent(). 0: send the pages as they are.
 */
size_t pack_run(struct pack *p, const void *pages, size_t len, void **frame);
/* Is there enough for a write? Asked after each run. */
bool pack_full(const struct pack *p);
/* All that was given went out as @bytes within @ns. */
void pack_sent(struct pack *p, uint64_t bytes, uint64_t ns);

#endif
