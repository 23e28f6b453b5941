/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the place of compress.c where CONFIG_ZSTD is off. */
#include "migration/compress.h"

#include <errno.h>

int compress_check(struct error *err)
{
	return error_set(err, ENOTSUP, "built without compression (CONFIG_ZSTD)");
}

int compressor_create(struct compressor **out, struct error *err)
{
	return compress_check(err);
}

void compressor_destroy(struct compressor *c)
{
}

size_t compress_bytes(struct compressor *c, int level, void *out, size_t room,
		      const void *in, size_t len)
{
	return 0;
}

int decompress_bytes(struct compressor *c, void *out, size_t len,
		     const void *in, size_t in_len, struct error *err)
{
	return compress_check(err);
}
