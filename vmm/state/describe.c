/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Field tables for people: documentation, golden file, JSON. */
#include "vmm/state/state.h"

#include <inttypes.h>
#include <string.h>

#include "vmm/state/scalar.h"

static void type_name(const struct state_field *f, char *buf, size_t size)
{
	char count[24] = "";

	if (f->count > 1 || f->has_len)
		snprintf(count, sizeof(count), "[%s%u]", f->has_len ? "≤" : "",
			 f->count);
	if (f->kind == STATE_STRUCT)
		snprintf(buf, size, "%s%s", f->table->name, count);
	else if (f->kind == STATE_BYTES)
		snprintf(buf, size, "bytes%s", count);
	else
		snprintf(buf, size, "u%u%s", f->size * 8, count);
}

void state_print_markdown(FILE *out, const struct state_table *t)
{
	fprintf(out, "### %s\n\n%s\n\n| field | type | max | since | what |\n|---|---|---|---|---|\n",
		t->name, t->doc ? t->doc : "");
	for (unsigned int i = 0; i < t->nfields; i++) {
		const struct state_field *f = &t->fields[i];
		char type[64], max[24] = "";

		type_name(f, type, sizeof(type));
		if (f->max)
			snprintf(max, sizeof(max), "%" PRIu64, f->max);
		fprintf(out, "| %s | %s | %s | %u | %s |\n", f->name, type,
			max, f->since ? f->since : 1, f->doc ? f->doc : "");
	}
	fputc('\n', out);
	for (unsigned int i = 0; i < t->nfields; i++)
		if (t->fields[i].kind == STATE_STRUCT)
			state_print_markdown(out, t->fields[i].table);
}

static void golden(FILE *out, const struct state_table *t, const char *path)
{
	for (unsigned int i = 0; i < t->nfields; i++) {
		const struct state_field *f = &t->fields[i];
		char type[64], sub[256];

		type_name(f, type, sizeof(type));
		fprintf(out, "%s/%s %s max=%" PRIu64 " since=%u%s\n", path,
			f->name, type, f->max, f->since ? f->since : 1,
			f->optional ? " optional" : "");
		if (f->kind != STATE_STRUCT)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, f->name);
		golden(out, f->table, sub);
	}
}

void state_print_golden(FILE *out, const struct state_table *t)
{
	golden(out, t, t->name);
}

static void json_table(FILE *out, const struct state_table *t,
		       const char *obj);

static void json_element(FILE *out, const struct state_field *f,
			 const char *p)
{
	if (f->kind == STATE_STRUCT)
		json_table(out, f->table, p);
	else
		fprintf(out, "%" PRIu64, state_get_host(p, f->size));
}

static void json_field(FILE *out, const struct state_field *f,
		       const char *obj)
{
	bool array = f->count > 1 || f->has_len;
	uint32_t n = f->count;

	if (f->has_len) {
		memcpy(&n, obj + f->len_offset, sizeof(n));
		n = MIN(n, f->count);
	}
	fprintf(out, "\"%s\": %s", f->name, array ? "[" : "");
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			fputs(", ", out);
		json_element(out, f, obj + f->offset + (size_t)i * f->size);
	}
	if (array)
		fputc(']', out);
}

static void json_table(FILE *out, const struct state_table *t,
		       const char *obj)
{
	fputc('{', out);
	for (unsigned int i = 0; i < t->nfields; i++) {
		if (i)
			fputs(", ", out);
		json_field(out, &t->fields[i], obj);
	}
	fputc('}', out);
}

void state_print_json(FILE *out, const struct state_table *t, const void *obj)
{
	json_table(out, t, obj);
	fputc('\n', out);
}
