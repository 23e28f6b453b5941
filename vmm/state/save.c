/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects into a state tree. */
#include "vmm/state/state.h"

#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/state/scalar.h"

#define FIRST_BYTES (64 * 1024)
#define MAX_BYTES (64 * 1024 * 1024)

static int grow(struct state_writer *w, struct error *err)
{
	size_t size = w->size * 2;
	void *bigger;

	if (size > MAX_BYTES)
		return error_set(err, EFBIG, "state tree over %d MiB",
				 MAX_BYTES >> 20);
	bigger = malloc(size);
	if (!bigger || fdt_resize(w->fdt, bigger, (int)size)) {
		free(bigger);
		return error_set(err, ENOMEM, "no memory for a state tree of %zu bytes",
				 size);
	}
	free(w->fdt);
	w->fdt = bigger;
	w->size = size;
	return 0;
}

/* Run a sequential-write call of libfdt, in a larger buffer if need be. */
#define WRITE(w, err, call)						\
	({								\
		int ret_ = (call);					\
									\
		while (ret_ == -FDT_ERR_NOSPACE) {			\
			ret_ = grow(w, err);				\
			if (ret_ == 0)					\
				ret_ = (call);				\
			else						\
				break;					\
		}							\
		ret_ == 0 || (err)->code ? ret_ :			\
			error_set(err, EINVAL, "state tree: %s",	\
				  fdt_strerror(ret_));			\
	})

int state_writer_init(struct state_writer *w, struct error *err)
{
	w->size = FIRST_BYTES;
	w->fdt = malloc(w->size);
	if (!w->fdt)
		return error_set(err, ENOMEM, "no memory for a state tree");
	/* to look for each name among all others takes as long as the rest */
	fdt_create_with_flags(w->fdt, (int)w->size,
			      FDT_CREATE_FLAG_NO_NAME_DEDUP);
	fdt_finish_reservemap(w->fdt);
	fdt_begin_node(w->fdt, "");
	fdt_property_u32(w->fdt, "version", STATE_VERSION);
	return 0;
}

static uint32_t elements(const struct state_field *f, const void *obj)
{
	uint32_t len;

	if (!f->has_len)
		return f->count;
	memcpy(&len, (const char *)obj + f->len_offset, sizeof(len));
	return MIN(len, f->count);
}

static int save_fields(struct state_writer *w, const struct state_table *t,
		       const void *obj, struct error *err);

static int save_structs(struct state_writer *w, const struct state_field *f,
			const void *obj, struct error *err)
{
	uint32_t n = elements(f, obj);
	bool array = f->count > 1 || f->has_len;
	char name[64];

	for (uint32_t i = 0; i < n; i++) {
		const char *elem = (const char *)obj + f->offset +
				   (size_t)i * f->size;
		int ret;

		state_node_name(name, f->name, i, array);
		ret = WRITE(w, err, fdt_begin_node(w->fdt, name));
		if (!ret)
			ret = save_fields(w, f->table, elem, err);
		if (!ret)
			ret = WRITE(w, err, fdt_end_node(w->fdt));
		if (ret)
			return ret;
	}
	return 0;
}

static int save_uints(struct state_writer *w, const struct state_field *f,
		      const void *obj, struct error *err)
{
	uint32_t n = elements(f, obj);
	const char *src = (const char *)obj + f->offset;
	void *dst;
	int ret = WRITE(w, err, fdt_property_placeholder(w->fdt, f->name,
							 (int)(n * f->size),
							 &dst));

	if (ret)
		return ret;
	for (uint32_t i = 0; i < n; i++)
		state_put_be((uint8_t *)dst + i * f->size, f->size,
			     state_get_host(src + i * f->size, f->size));
	return 0;
}

static int save_bytes(struct state_writer *w, const struct state_field *f,
		      const void *obj, struct error *err)
{
	return WRITE(w, err, fdt_property(w->fdt, f->name,
					  (const char *)obj + f->offset,
					  (int)elements(f, obj)));
}

/* Properties first, subnodes after, as the format demands. */
static int save_fields(struct state_writer *w, const struct state_table *t,
		       const void *obj, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < t->nfields && !ret; i++) {
		const struct state_field *f = &t->fields[i];

		if (f->kind == STATE_BYTES)
			ret = save_bytes(w, f, obj, err);
		else if (f->kind != STATE_STRUCT)
			ret = save_uints(w, f, obj, err);
	}
	for (unsigned int i = 0; i < t->nfields && !ret; i++)
		if (t->fields[i].kind == STATE_STRUCT)
			ret = save_structs(w, &t->fields[i], obj, err);
	return ret;
}

int state_save(struct state_writer *w, const char *node,
	       const struct state_table *table, void *obj, struct error *err)
{
	int ret;

	if (table->pre_save)
		table->pre_save(obj);
	ret = WRITE(w, err, fdt_begin_node(w->fdt, node));
	if (!ret)
		ret = WRITE(w, err, fdt_property_string(w->fdt, "table",
							table->name));
	if (!ret)
		ret = save_fields(w, table, obj, err);
	if (!ret)
		ret = WRITE(w, err, fdt_end_node(w->fdt));
	if (ret)
		error_prefix(err, "saving %s", node);
	return ret;
}

int state_writer_finish(struct state_writer *w, void **fdt, size_t *len,
			struct error *err)
{
	int ret = WRITE(w, err, fdt_end_node(w->fdt));

	if (!ret)
		ret = WRITE(w, err, fdt_finish(w->fdt));
	if (ret) {
		state_writer_abort(w);
		return ret;
	}
	*fdt = w->fdt;
	*len = fdt_totalsize(w->fdt);
	w->fdt = NULL;
	return 0;
}

void state_writer_abort(struct state_writer *w)
{
	free(w->fdt);
	w->fdt = NULL;
}
