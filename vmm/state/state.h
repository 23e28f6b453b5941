/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Field tables: what of an object travels.
 *
 * An object's guest-visible state is described once, as a table of fields. The
 * tables are walked into a flattened device tree (a node an object, a property
 * a field) and back; the same tables give the documentation, the golden file,
 * the fuzz seeds and the completeness test.
 *
 *   uint    property of `size` bytes, big-endian
 *   uints   `count` of those in a row; with a length member, that many
 *   bytes   raw bytes; with a length member, that many
 *   struct  subnode "name"; arrays of structs are subnodes "name@0", "name@1"...
 *
 * Loading decodes into a scratch copy of the object, checks every bound, runs
 * validate() and only then commits the fields: a refused stream leaves the
 * object as it was. No function here takes a lock or keeps a pointer.
 */
#ifndef GODWIT_STATE_STATE_H
#define GODWIT_STATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/base/error.h"
#include "vmm/base/util.h"

/* The version of all tables together. Raise it when a field is added. */
#define STATE_VERSION 1

enum state_kind {
	STATE_UINT = 1,		/* unsigned scalar of 1, 2, 4 or 8 bytes */
	STATE_UINTS,		/* array of such scalars */
	STATE_BYTES,		/* array of bytes */
	STATE_STRUCT,		/* nested table, or an array of it */
};

struct state_table;

struct state_field {
	const char *name;	/* property or subnode name, [a-z0-9_] */
	const char *doc;	/* one line for people */
	enum state_kind kind;
	uint32_t offset;	/* of the member in the object */
	uint32_t size;		/* of one element, bytes */
	uint32_t count;		/* elements the member holds: the bound */
	uint32_t len_offset;	/* of the length member (a uint32_t) */
	bool has_len;		/* a length member says how many are valid */
	uint64_t max;		/* STATE_UINT(S): largest value, 0 = any */
	uint32_t since;		/* first STATE_VERSION that had it, 0 = 1 */
	bool optional;		/* a reader that doesn't know it may skip it */
	const struct state_table *table;	/* STATE_STRUCT */
};

#define STATE_MAX_FIELDS 64	/* of one table */

struct state_table {
	const char *name;	/* stem of the object's kind */
	const char *doc;
	uint32_t size;		/* sizeof the object */
	const struct state_field *fields;
	unsigned int nfields;
	/* Bytes [from, to) of the object are guest-visible state, by
	 * STATE_VISIBLE: a test finds a member there that no row names. */
	uint32_t visible_from, visible_to;
	/*
	 * validate() sees a scratch copy: it may only read fields that the
	 * table names. post_load() re-derives the object's own host
	 * resources; it touches no other object and raises no interrupt.
	 */
	void (*pre_save)(void *obj);
	int (*validate)(const void *scratch, struct error *err);
	int (*post_load)(void *obj, struct error *err);
};

/* Compile-time check that member @m of @s is an unsigned scalar @type. */
#define STATE_TYPED_OFFSET(s, m, type)					\
	(offsetof(s, m) + 0 * sizeof(char[__builtin_types_compatible_p(	\
		__typeof__(((s *)0)->m), type) ? 1 : -1]))

#define STATE_SCALAR(s, m, type, ...)					\
	{ .name = #m, .kind = STATE_UINT, .size = sizeof(type), .count = 1, \
	  .offset = STATE_TYPED_OFFSET(s, m, type), __VA_ARGS__ }

#define STATE_U8(s, m, ...) STATE_SCALAR(s, m, uint8_t, __VA_ARGS__)
#define STATE_U16(s, m, ...) STATE_SCALAR(s, m, uint16_t, __VA_ARGS__)
#define STATE_U32(s, m, ...) STATE_SCALAR(s, m, uint32_t, __VA_ARGS__)
#define STATE_U64(s, m, ...) STATE_SCALAR(s, m, uint64_t, __VA_ARGS__)
#define STATE_BOOL(s, m, ...) \
	STATE_SCALAR(s, m, bool, .max = 1, __VA_ARGS__)

#define STATE_MEMBER_ELEM(s, m) sizeof(((s *)0)->m[0])
#define STATE_MEMBER_COUNT(s, m) \
	(sizeof(((s *)0)->m) / sizeof(((s *)0)->m[0]))

/* Fixed array of unsigned scalars. */
#define STATE_UINT_ARRAY(s, m, ...)					\
	{ .name = #m, .kind = STATE_UINTS, .offset = offsetof(s, m),	\
	  .size = STATE_MEMBER_ELEM(s, m),				\
	  .count = STATE_MEMBER_COUNT(s, m), __VA_ARGS__ }

/* Array of unsigned scalars of which the uint32_t member @len are valid. */
#define STATE_UINT_ARRAY_LEN(s, m, len, ...)				\
	STATE_UINT_ARRAY(s, m, .has_len = true,				\
		.len_offset = STATE_TYPED_OFFSET(s, len, uint32_t), __VA_ARGS__)

/* Fixed array of bytes (any array or struct member, taken raw). */
#define STATE_RAW(s, m, ...)						\
	{ .name = #m, .kind = STATE_BYTES, .offset = offsetof(s, m),	\
	  .size = 1, .count = sizeof(((s *)0)->m), __VA_ARGS__ }

/* Bytes of which the uint32_t member @len are valid. */
#define STATE_RAW_LEN(s, m, len, ...)					\
	STATE_RAW(s, m, .has_len = true,				\
		.len_offset = STATE_TYPED_OFFSET(s, len, uint32_t), __VA_ARGS__)

/* One nested struct. */
#define STATE_SUB(s, m, tab, ...)					\
	{ .name = #m, .kind = STATE_STRUCT, .offset = offsetof(s, m),	\
	  .size = sizeof(((s *)0)->m), .count = 1, .table = (tab), __VA_ARGS__ }

/* Array of nested structs, all of them or as many as @len says. */
#define STATE_SUB_ARRAY(s, m, tab, ...)					\
	{ .name = #m, .kind = STATE_STRUCT, .offset = offsetof(s, m),	\
	  .size = STATE_MEMBER_ELEM(s, m),				\
	  .count = STATE_MEMBER_COUNT(s, m), .table = (tab), __VA_ARGS__ }
#define STATE_SUB_ARRAY_LEN(s, m, len, tab, ...)			\
	STATE_SUB_ARRAY(s, m, tab, .has_len = true,			\
		.len_offset = STATE_TYPED_OFFSET(s, len, uint32_t), __VA_ARGS__)

#define STATE_FIELDS(...)						\
	.fields = (const struct state_field[]){ __VA_ARGS__ },		\
	.nfields = sizeof((const struct state_field[]){ __VA_ARGS__ }) / \
		   sizeof(struct state_field)

/* The group of guest-visible members: from @first to the end of @last. */
#define STATE_VISIBLE(s, first, last)					\
	.visible_from = offsetof(s, first),				\
	.visible_to = offsetof(s, last) + sizeof(((s *)0)->last)

/*
 * A state tree being written: a flattened device tree whose buffer grows.
 * Root property "version" holds STATE_VERSION.
 */
struct state_writer {
	void *fdt;		/* malloc'ed; owned until state_writer_finish */
	size_t size;
};

int state_writer_init(struct state_writer *w, struct error *err);
/* Append a subnode @node of the root that holds the fields of @obj. */
int state_save(struct state_writer *w, const char *node,
	       const struct state_table *table, void *obj, struct error *err);
/* Hands over the finished tree: *fdt is malloc'ed, *len its total size. */
int state_writer_finish(struct state_writer *w, void **fdt, size_t *len,
			struct error *err);
/* Drop an unfinished tree. */
void state_writer_abort(struct state_writer *w);

/* Are @len bytes at @fdt a whole flattened device tree? For trees from
 * elsewhere, before anything else reads them. 0 or a negative FDT_ERR_. */
int state_fdt_check(const void *fdt, size_t len);

/*
 * Check that @len bytes at @fdt are a state tree that this code can read:
 * structure, size, version. To be called once before state_load.
 */
int state_check(const void *fdt, size_t len, struct error *err);

/*
 * Load the subnode @node into @obj. The tree is hostile until proven
 * otherwise; on an error the object is unchanged and @err names node, field,
 * value and limit.
 */
int state_load(const void *fdt, const char *node,
	       const struct state_table *table, void *obj, struct error *err);

/* Print the tables as Markdown, for migration/PROTOCOL.md. */
void state_print_markdown(FILE *out, const struct state_table *table);
/* Print one line a field, for the golden file. */
void state_print_golden(FILE *out, const struct state_table *table);
/* Print the values of @obj as JSON. */
void state_print_json(FILE *out, const struct state_table *table,
		      const void *obj);

#endif
