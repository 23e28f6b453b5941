/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "vmm/base/library.h"
#include "vmm/base/util.h"

/* What of zstd is used here; the types are those of its header. */
#define LIBRARY(X)							\
	X(createCCtx) X(freeCCtx) X(compressCCtx)			\
	X(createDCtx) X(freeDCtx) X(decompressDCtx) X(isError)

struct library {
#define MEMBER(name) __typeof__(ZSTD_##name) *name;
	LIBRARY(MEMBER)
#undef MEMBER
};

static const struct library_function functions[] = {
#define FUNCTION(name) { "ZSTD_" #name, offsetof(struct library, name) },
	LIBRARY(FUNCTION)
#undef FUNCTION
};

struct compressor {
	struct library lib;
	ZSTD_CCtx *out;		/* both are made when first used */
	ZSTD_DCtx *in;
};

static int load(struct library *lib, struct error *err)
{
	return library_load(lib, "libzstd.so.1", "compression needs zstd",
			    functions, ARRAY_SIZE(functions), err);
}

int compress_check(struct error *err)
{
	struct library lib;

	return load(&lib, err);
}

int compressor_create(struct compressor **out, struct error *err)
{
	struct compressor *c = calloc(1, sizeof(*c));
	int ret = c ? load(&c->lib, err) :
		  error_set(err, ENOMEM, "no memory to compress with");

	if (ret == 0)
		*out = c;
	else
		free(c);
	return ret;
}

void compressor_destroy(struct compressor *c)
{
	if (c && c->out)
		c->lib.freeCCtx(c->out);
	if (c && c->in)
		c->lib.freeDCtx(c->in);
	free(c);
}

size_t compress_bytes(struct compressor *c, int level, void *out, size_t room,
		      const void *in, size_t len)
{
	size_t n;

	if (!c->out)
		c->out = c->lib.createCCtx();
	if (!c->out)
		return 0;
	n = c->lib.compressCCtx(c->out, out, room, in, len, level);
	return c->lib.isError(n) ? 0 : n;
}

int decompress_bytes(struct compressor *c, void *out, size_t len,
		     const void *in, size_t in_len, struct error *err)
{
	size_t n;

	if (!c->in)
		c->in = c->lib.createDCtx();
	if (!c->in)
		return error_set(err, ENOMEM, "no memory to decompress with");
	n = c->lib.decompressDCtx(c->in, out, len, in, in_len);
	if (c->lib.isError(n) || n != len)
		return error_set(err, EBADMSG,
				 "%zu compressed bytes are not %zu bytes of memory",
				 in_len, len);
	return 0;
}
