/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A state tree into objects. Everything in the tree is untrusted: decode into
 * a scratch copy, check, validate, and only then commit.
 */
#include "vmm/state/state.h"

#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/state/scalar.h"

struct loader {
	const void *fdt;
	uint32_t version;	/* of the stream */
	struct error *err;
};

static int load_fields(struct loader *l, int node,
		       const struct state_table *t, void *obj);

/* fdt_next_tag() of 1.6.1 takes a length that wraps around for the way back, and
 * fdt_check_full() then walks in a circle (a fuzzer found it). */
static bool goes_forward(const void *fdt)
{
	uint32_t tag;
	int at, next = 0;

	do {
		at = next;
		tag = fdt_next_tag(fdt, at, &next);
	} while (next > at && tag != FDT_END);
	return next > at;
}

/*
 * libfdt reads older layouts too, and with less care: fdt_check_full() of 1.6.1
 * follows a null name in one that says version 6 (a fuzzer found it). We only
 * ever write 17.
 */
int state_fdt_check(const void *fdt, size_t len)
{
	int ret;

	if (len < sizeof(struct fdt_header))
		return -FDT_ERR_TRUNCATED;
	/* by the byte: a tree inside of a message may lie unaligned */
	if (get_be32(fdt) == FDT_MAGIC &&
	    get_be32((const uint8_t *)fdt +
		     offsetof(struct fdt_header, version)) != 17)
		return -FDT_ERR_BADVERSION;
	ret = fdt_check_header(fdt);
	if (ret == 0 && fdt_totalsize(fdt) > len)
		ret = -FDT_ERR_TRUNCATED;
	if (ret == 0 && !goes_forward(fdt))
		ret = -FDT_ERR_BADSTRUCTURE;
	return ret ? ret : fdt_check_full(fdt, len);
}

int state_check(const void *fdt, size_t len, struct error *err)
{
	int ret = state_fdt_check(fdt, len);
	const void *p;
	int n;

	if (ret)
		return error_set(err, EINVAL, "state tree of %zu bytes is damaged: %s",
				 len, fdt_strerror(ret));
	p = fdt_getprop(fdt, 0, "version", &n);
	if (!p || n != 4)
		return error_set(err, EINVAL, "state tree has no version");
	if (get_be32(p) < 1 || get_be32(p) > STATE_VERSION)
		return error_set(err, EPROTO, "state version %u, this godwit reads 1 to %u: use the same or a newer godwit here",
				 get_be32(p), STATE_VERSION);
	return 0;
}

/* May a field be missing in this stream? Then it keeps its value after reset. */
static int missing(struct loader *l, const struct state_field *f)
{
	if (f->since > l->version)
		return 0;
	return error_set(l->err, EINVAL, "field %s is missing", f->name);
}

static int store_len(struct loader *l, const struct state_field *f, void *obj,
		     uint32_t n)
{
	if (n > f->count)
		return error_set(l->err, EINVAL, "field %s has %u elements, limit %u",
				 f->name, n, f->count);
	if (f->has_len)
		memcpy((char *)obj + f->len_offset, &n, sizeof(n));
	else if (n != f->count)
		return error_set(l->err, EINVAL, "field %s has %u elements, expected %u",
				 f->name, n, f->count);
	return 0;
}

static int load_scalars(struct loader *l, const struct state_field *f,
			const uint8_t *p, uint32_t n, char *dst)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t v = state_get_be(p + i * f->size, f->size);

		if (f->max && v > f->max)
			return error_set(l->err, ERANGE, "field %s is %llu, limit %llu",
					 f->name, (unsigned long long)v,
					 (unsigned long long)f->max);
		state_put_host(dst + i * f->size, f->size, v);
	}
	return 0;
}

static int load_property(struct loader *l, const struct state_field *f,
			 const void *p, uint32_t len, void *obj)
{
	char *dst = (char *)obj + f->offset;
	int ret;

	if (len % f->size)
		return error_set(l->err, EINVAL, "field %s has %u bytes, not a multiple of %u",
				 f->name, len, f->size);
	ret = store_len(l, f, obj, len / f->size);
	if (ret)
		return ret;
	if (f->kind != STATE_BYTES)
		return load_scalars(l, f, p, len / f->size, dst);
	memcpy(dst, p, len);
	return 0;
}

/* A table's rows as they are met in a node. */
struct rows {
	const struct state_table *t;
	unsigned int next;	/* where the next one likely is */
	uint32_t met[STATE_MAX_FIELDS];
};

/* The row called @name[0..len), or NULL. The node has them in the order in which
 * they were written, so that the search ends where it begins. */
static const struct state_field *row_named(struct rows *rows, const char *name,
					   size_t len)
{
	for (unsigned int i = 0; i < rows->t->nfields; i++) {
		unsigned int at = (rows->next + i) % rows->t->nfields;
		const struct state_field *f = &rows->t->fields[at];

		if (strncmp(f->name, name, len) || f->name[len])
			continue;
		rows->next = at + 1;
		return f;
	}
	return NULL;
}

/* A field that no row names carries state that would be lost: refuse. Names
 * that begin with '?' are optional (written so by a newer version). */
static int unknown(struct loader *l, const char *name)
{
	if (name[0] == '?')
		return 0;
	return error_set(l->err, EPROTO, "unknown field %s: the other side runs a newer godwit",
			 name);
}

static int twice(struct loader *l, const char *name)
{
	return error_set(l->err, EINVAL, "field %s is there twice", name);
}

static int load_properties(struct loader *l, int node, struct rows *rows,
			   void *obj)
{
	int at, len, ret = 0;

	fdt_for_each_property_offset(at, l->fdt, node) {
		const struct state_field *f;
		const char *name = "(damaged)";
		const void *p = fdt_getprop_by_offset(l->fdt, at, &name, &len);

		if (p && !strcmp(name, "table"))
			continue;
		f = p ? row_named(rows, name, strlen(name)) : NULL;
		if (!f || f->kind == STATE_STRUCT)
			ret = unknown(l, name);
		else if (rows->met[f - rows->t->fields]++)
			ret = twice(l, name);
		else
			ret = load_property(l, f, p, (uint32_t)len, obj);
		if (ret)
			return ret;
	}
	return 0;
}

/* The elements of an array come in their order, and none is left out. */
static int load_struct(struct loader *l, int node, struct rows *rows, void *obj)
{
	const char *name = fdt_get_name(l->fdt, node, NULL);
	const struct state_field *f;
	const char *at;
	char expected[64];
	uint32_t n;
	int ret;

	if (!name)
		return unknown(l, "(damaged)");
	f = row_named(rows, name, strcspn(name, "@"));
	at = strchr(name, '@');
	if (!f || f->kind != STATE_STRUCT ||
	    (at && strtoul(at + 1, NULL, 16) >= f->count))
		return unknown(l, name);
	n = rows->met[f - rows->t->fields]++;
	if (n >= f->count)
		return twice(l, name);
	state_node_name(expected, f->name, n, f->count > 1 || f->has_len);
	if (strcmp(name, expected))
		return error_set(l->err, EINVAL, "%s where %s was expected",
				 name, expected);
	ret = load_fields(l, node, f->table,
			  (char *)obj + f->offset + (size_t)n * f->size);
	if (ret)
		error_prefix(l->err, "%s", name);
	return ret;
}

static int all_met(struct loader *l, const struct rows *rows, void *obj)
{
	int ret = 0;

	for (unsigned int i = 0; i < rows->t->nfields && !ret; i++) {
		const struct state_field *f = &rows->t->fields[i];

		if (f->kind == STATE_STRUCT && (rows->met[i] || f->has_len))
			ret = store_len(l, f, obj, rows->met[i]);
		else if (!rows->met[i])
			ret = missing(l, f);
	}
	return ret;
}

static int load_fields(struct loader *l, int node,
		       const struct state_table *t, void *obj)
{
	struct rows rows = { .t = t };
	int sub, ret = load_properties(l, node, &rows, obj);

	rows.next = 0;
	fdt_for_each_subnode(sub, l->fdt, node)
		if (!ret)
			ret = load_struct(l, sub, &rows, obj);
	if (!ret)
		ret = all_met(l, &rows, obj);
	if (!ret && t->validate)
		ret = t->validate(obj, l->err);
	return ret;
}

/* Copy what the table names, and nothing else: host pointers stay. */
static void commit(const struct state_table *t, char *dst, const char *src)
{
	for (unsigned int i = 0; i < t->nfields; i++) {
		const struct state_field *f = &t->fields[i];

		if (f->has_len)
			memcpy(dst + f->len_offset, src + f->len_offset,
			       sizeof(uint32_t));
		if (f->kind != STATE_STRUCT) {
			memcpy(dst + f->offset, src + f->offset,
			       (size_t)f->size * f->count);
			continue;
		}
		for (uint32_t n = 0; n < f->count; n++)
			commit(f->table, dst + f->offset + (size_t)n * f->size,
			       src + f->offset + (size_t)n * f->size);
	}
}

int state_load(const void *fdt, const char *node,
	       const struct state_table *table, void *obj, struct error *err)
{
	struct loader l = { .fdt = fdt, .err = err };
	int off = fdt_subnode_offset(fdt, 0, node);
	int len, ret;
	const void *version = fdt_getprop(fdt, 0, "version", &len);
	void *scratch;

	if (off < 0 || !version || len != 4)
		return error_set(err, EINVAL, "state of %s is missing", node);
	l.version = get_be32(version);
	scratch = malloc(table->size);
	if (!scratch)
		return error_set(err, ENOMEM, "no memory to load %s", node);
	memcpy(scratch, obj, table->size);
	ret = load_fields(&l, off, table, scratch);
	if (!ret) {
		commit(table, obj, scratch);
		ret = table->post_load ? table->post_load(obj, err) : 0;
	}
	free(scratch);
	if (ret)
		error_prefix(err, "state of %s", node);
	return ret;
}
