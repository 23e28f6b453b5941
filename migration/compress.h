/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs of pages as zstd frames (RFC 8878). libzstd is loaded by the first
 * migration that wants it; compress_none.c stands here where it is not built.
 */
#ifndef GODWIT_MIGRATION_COMPRESS_H
#define GODWIT_MIGRATION_COMPRESS_H

#include <stddef.h>

#include "vmm/base/error.h"

/* For one thread. */
struct compressor;

/* Can this side compress and decompress? Loads the library. */
int compress_check(struct error *err) __must_check;
int compressor_create(struct compressor **out, struct error *err) __must_check;
void compressor_destroy(struct compressor *c);	/* may be NULL */
/*
 * @in stays as it is meanwhile. Returns the bytes written to @out, at most
 * @room, or 0 when it would take more.
 */
size_t compress_bytes(struct compressor *c, int level, void *out, size_t room,
		      const void *in, size_t len);
/* @in may be anything: just @len bytes come out of it, or -EBADMSG, with @out
 * written in part. */
int decompress_bytes(struct compressor *c, void *out, size_t len,
		     const void *in, size_t in_len, struct error *err)
	__must_check;

#endif
