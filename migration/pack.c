/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/wire.h"
#include "vmm/base/util.h"

#define RUN_BYTES (RUN_MAX_PAGES * 4096ull)
#define FULL (2 * MIB)		/* of memory */

int pack_init(struct pack *p, struct error *err)
{
	memset(p, 0, sizeof(*p));
	pace_init(&p->pace);
	p->copy = malloc(RUN_BYTES);
	/* less than FULL, and then one more run */
	p->frames = malloc(FULL + RUN_BYTES);
	if (p->copy && p->frames)
		return compressor_create(&p->zstd, err);
	return error_set(err, ENOMEM, "no memory to compress with");
}

void pack_exit(struct pack *p)
{
	compressor_destroy(p->zstd);
	free(p->copy);
	free(p->frames);
	memset(p, 0, sizeof(*p));
}

/* A copy, because the guest may write, and zstd does not promise to bear that.
 * Smaller by a sixteenth, or it stays as it is. */
static size_t squeeze(struct pack *p, const void *pages, size_t len)
{
	memcpy(p->copy, pages, len);
	return compress_bytes(p->zstd, pace_level(&p->pace),
			      p->frames + p->used, len - len / 16, p->copy,
			      len);
}

size_t pack_run(struct pack *p, const void *pages, size_t len, void **frame)
{
	uint64_t start = now_ns();
	size_t n = 0;

	if (pace_level(&p->pace)) {
		n = squeeze(p, pages, len);
		p->batch.cpu_ns += now_ns() - start;
	}
	p->batch.raw += len;
	if (n)
		*frame = p->frames + p->used;
	p->used += n;
	return n;
}

bool pack_full(const struct pack *p)
{
	return p->batch.raw >= FULL;
}

void pack_sent(struct pack *p, uint64_t bytes, uint64_t ns)
{
	p->batch.out = bytes;
	p->batch.send_ns = ns;
	if (p->batch.raw)
		pace_note(&p->pace, &p->batch);
	p->batch = (struct pace_batch){ 0 };
	p->used = 0;
}
