/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every table that is linked in: of all device classes and of the
 * architecture. With an argument "golden" it prints the golden file; with
 * "markdown", the tables of PROTOCOL.md.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "vmm/device.h"

#define MAX_TABLES 64

struct tables {
	const struct state_table *t[MAX_TABLES];
	unsigned int n;
};

static int by_name(const void *a, const void *b)
{
	const struct state_table *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void collect(struct tables *all)
{
	const struct device_class *const *c;

	all->n = 0;
	all->t[all->n++] = &arch_vm_table;
	all->t[all->n++] = &arch_vcpu_table;
	for (c = device_class_first(); c < device_class_end(); c++)
		if ((*c)->state && all->n < MAX_TABLES)
			all->t[all->n++] = (*c)->state;
	qsort(all->t, all->n, sizeof(all->t[0]), by_name);
}

static void print(FILE *out, void (*fn)(FILE *out, const struct state_table *t))
{
	struct tables all;

	collect(&all);
	for (unsigned int i = 0; i < all.n; i++)
		if (!i || strcmp(all.t[i]->name, all.t[i - 1]->name))
			fn(out, all.t[i]);
}

static void for_all(void (*check)(const struct state_table *t))
{
	struct tables all;

	collect(&all);
	assert_true(all.n > 5);
	for (unsigned int i = 0; i < all.n; i++)
		check(all.t[i]);
}

static void check_fits(const struct state_table *t)
{
	assert_in_range(t->nfields, 0, STATE_MAX_FIELDS);
	for (unsigned int i = 0; i < t->nfields; i++) {
		const struct state_field *f = &t->fields[i];
		uint64_t end = f->offset + (uint64_t)f->size * f->count;

		if (end > t->size)
			fail_msg("%s.%s ends at %llu of %u", t->name, f->name,
				 (unsigned long long)end, t->size);
		if (f->kind == STATE_STRUCT)
			check_fits(f->table);
	}
}

static void every_field_lies_in_its_object(void **state)
{
	for_all(check_fits);
}

static void check_names(const struct state_table *t)
{
	for (unsigned int i = 0; i < t->nfields; i++) {
		const char *p = t->fields[i].name;

		for (unsigned int j = 0; j < i; j++)
			if (!strcmp(p, t->fields[j].name))
				fail_msg("%s.%s is there twice", t->name, p);
		for (; *p; p++)
			if (!islower(*p) && !isdigit(*p) && *p != '_')
				fail_msg("%s.%s: bad name", t->name,
					 t->fields[i].name);
		if (t->fields[i].kind == STATE_STRUCT)
			check_names(t->fields[i].table);
	}
}

static void every_name_is_unique_and_plain(void **state)
{
	for_all(check_names);
}

/* Mark what rows cover; a length member counts as covered by its array. */
static void cover(const struct state_table *t, uint8_t *bytes)
{
	for (unsigned int i = 0; i < t->nfields; i++) {
		const struct state_field *f = &t->fields[i];

		if (f->has_len)
			memset(bytes + f->len_offset, 1, sizeof(uint32_t));
		if (f->kind != STATE_STRUCT)
			memset(bytes + f->offset, 1,
			       (size_t)f->size * f->count);
		for (uint32_t n = 0; f->kind == STATE_STRUCT && n < f->count;
		     n++)
			memset(bytes + f->offset + n * f->size, 1, f->size);
	}
}

static bool says_visible(const struct state_table *t)
{
	for (unsigned int i = 0; i < t->nfields; i++)
		if (t->fields[i].kind == STATE_STRUCT &&
		    says_visible(t->fields[i].table))
			return true;
	return t->visible_to != 0;
}

/*
 * A byte of the guest-visible group that no row names must be padding: fewer
 * bytes than a word, up to an aligned member.
 */
static void check_complete(const struct state_table *t)
{
	uint8_t *bytes = calloc(1, t->size);
	uint32_t hole = 0;

	/* a device that has rows must say so; KVM's structs have but rows */
	if (t->nfields && !says_visible(t))
		fail_msg("%s doesn't say what is guest-visible", t->name);
	cover(t, bytes);
	for (uint32_t i = t->visible_from; i < t->visible_to; i++) {
		hole = bytes[i] ? 0 : hole + 1;
		if (hole >= sizeof(uint64_t) ||
		    (hole && i + 1 < t->visible_to && bytes[i + 1] &&
		     (i + 1) % 2))
			fail_msg("%s: no row for byte %u (visible: %u to %u)",
				 t->name, i, t->visible_from, t->visible_to);
	}
	free(bytes);
	for (unsigned int i = 0; i < t->nfields; i++)
		if (t->fields[i].kind == STATE_STRUCT &&
		    says_visible(t->fields[i].table))
			check_complete(t->fields[i].table);
}

static void every_guest_visible_member_has_a_row(void **state)
{
	for_all(check_complete);
}

/* 0xa5 in every scalar that may hold it, the limit in the others. */
static void fill(const struct state_table *t, char *obj)
{
	for (unsigned int i = 0; i < t->nfields; i++) {
		const struct state_field *f = &t->fields[i];
		uint32_t n = f->count;

		if (f->has_len)
			memcpy(obj + f->len_offset, &n, sizeof(n));
		for (uint32_t k = 0; k < n; k++) {
			char *p = obj + f->offset + (size_t)k * f->size;

			memset(p, f->max ? 0 : 0xa5, f->size);
			if (f->kind == STATE_STRUCT)
				fill(f->table, p);
			else if (f->max)
				*p = 1;
		}
	}
}

static bool has_hooks(const struct state_table *t)
{
	for (unsigned int i = 0; i < t->nfields; i++)
		if (t->fields[i].kind == STATE_STRUCT &&
		    has_hooks(t->fields[i].table))
			return true;
	return t->validate || t->post_load || t->pre_save;
}

static void *save(const struct state_table *t, void *obj, size_t *len)
{
	struct error err = ERROR_INIT;
	struct state_writer w;
	void *fdt;

	assert_int_equal(state_writer_init(&w, &err), 0);
	assert_int_equal(state_save(&w, "x", t, obj, &err), 0);
	assert_int_equal(state_writer_finish(&w, &fdt, len, &err), 0);
	return fdt;
}

/* Hooks need the whole device; those tables are walked in the device tests. */
static void check_round_trip(const struct state_table *t)
{
	struct error err = ERROR_INIT;
	char *obj = calloc(1, t->size), *back = calloc(1, t->size);
	size_t len, len2;
	void *fdt, *fdt2;

	if (!has_hooks(t)) {
		fill(t, obj);
		fdt = save(t, obj, &len);
		if (state_load(fdt, "x", t, back, &err) < 0)
			fail_msg("%s", err.msg);
		fdt2 = save(t, back, &len2);
		assert_int_equal(len, len2);
		assert_memory_equal(fdt, fdt2, len);
		free(fdt);
		free(fdt2);
	}
	free(obj);
	free(back);
}

static void save_load_save_is_the_same(void **state)
{
	for_all(check_round_trip);
}

/* A changed table moves the stream format: decide on a version, then run
 * `make golden` and say so in CHANGES.md. */
static void tables_are_as_the_golden_file_says(void **state)
{
	char *now = NULL, *golden;
	size_t len = 0, got;
	FILE *out = open_memstream(&now, &len);
	FILE *in = fopen("tests/golden/state-" GOLDEN_ARCH ".txt", "r");

	print(out, state_print_golden);
	fclose(out);
	if (!in)
		fail_msg("no golden file: run make golden");
	golden = calloc(1, len + 1);
	got = fread(golden, 1, len + 1, in);
	fclose(in);
	if (got != len || memcmp(golden, now, len))
		fail_msg("tables differ from the golden file: is this a new STATE_VERSION? Then make golden");
	free(golden);
	free(now);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_lies_in_its_object),
		cmocka_unit_test(every_name_is_unique_and_plain),
		cmocka_unit_test(every_guest_visible_member_has_a_row),
		cmocka_unit_test(save_load_save_is_the_same),
		cmocka_unit_test(tables_are_as_the_golden_file_says),
	};

	if (argc > 1) {
		print(stdout, strcmp(argv[1], "golden") ?
			      state_print_markdown : state_print_golden);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
