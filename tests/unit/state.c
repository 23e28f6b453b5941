/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Field tables: what is saved is what is loaded, and nothing hostile gets in. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/byteorder.h"
#include "vmm/state/state.h"

struct inner {
	uint16_t a;
	uint8_t b;
};

struct thing {
	void *host_pointer;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	bool flag;
	uint32_t len;
	uint8_t bytes[16];
	uint16_t words[3];
	struct inner one;
	uint32_t many_len;
	struct inner many[4];
	uint32_t newer;
	unsigned int post_loads;
};

static const struct state_table inner_table = {
	.name = "inner",
	.size = sizeof(struct inner),
	STATE_FIELDS(STATE_U16(struct inner, a),
		     STATE_U8(struct inner, b, .max = 9)),
};

static int thing_validate(const void *obj, struct error *err)
{
	const struct thing *t = obj;

	return t->u16 == 666 ? error_set(err, EINVAL, "u16 is 666") : 0;
}

static int thing_post_load(void *obj, struct error *err)
{
	struct thing *t = obj;

	t->post_loads++;
	return 0;
}

static const struct state_table thing_table = {
	.name = "thing",
	.doc = "A thing.",
	.size = sizeof(struct thing),
	STATE_FIELDS(
		STATE_U8(struct thing, u8), STATE_U16(struct thing, u16),
		STATE_U32(struct thing, u32), STATE_U64(struct thing, u64),
		STATE_BOOL(struct thing, flag),
		STATE_RAW_LEN(struct thing, bytes, len),
		STATE_UINT_ARRAY(struct thing, words, .max = 1000),
		STATE_SUB(struct thing, one, &inner_table),
		STATE_SUB_ARRAY_LEN(struct thing, many, many_len,
				    &inner_table),
		STATE_U32(struct thing, newer, .since = STATE_VERSION + 1)),
	.validate = thing_validate,
	.post_load = thing_post_load,
};

static const struct thing sample = {
	.u8 = 0x12, .u16 = 0x3456, .u32 = 0x789abcde,
	.u64 = 0x0102030405060708, .flag = true, .len = 5,
	.bytes = "hello", .words = { 1, 2, 1000 }, .one = { 7, 8 },
	.many_len = 2, .many = { { 1, 2 }, { 3, 4 } }, .newer = 99,
};

static void *save(struct thing *t, size_t *len)
{
	struct error err = ERROR_INIT;
	struct state_writer w;
	void *fdt;

	assert_int_equal(state_writer_init(&w, &err), 0);
	assert_int_equal(state_save(&w, "thing@1", &thing_table, t, &err), 0);
	assert_int_equal(state_writer_finish(&w, &fdt, len, &err), 0);
	assert_int_equal(state_check(fdt, *len, &err), 0);
	return fdt;
}

/* A writable copy with room to spoil it. */
static void *editable(void)
{
	struct thing t = sample;
	size_t len;
	void *fdt = save(&t, &len), *big = malloc(len + 4096);

	assert_int_equal(fdt_open_into(fdt, big, (int)len + 4096), 0);
	free(fdt);
	return big;
}

static void assert_refused(void *fdt, const char *expect)
{
	struct error err = ERROR_INIT;
	struct thing t, before;

	memset(&t, 0x5a, sizeof(t));
	before = t;
	assert_true(state_load(fdt, "thing@1", &thing_table, &t, &err) < 0);
	if (!strstr(err.msg, expect))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, expect);
	assert_memory_equal(&t, &before, sizeof(t));
	free(fdt);
}

static int node_of(const void *fdt)
{
	return fdt_path_offset(fdt, "/thing@1");
}

static void loads_what_was_saved(void **state)
{
	struct thing t = sample, back = { .host_pointer = &t };
	struct error err = ERROR_INIT;
	size_t len;
	void *fdt = save(&t, &len);

	assert_int_equal(state_load(fdt, "thing@1", &thing_table, &back, &err),
			 0);
	assert_ptr_equal(back.host_pointer, &t);
	assert_int_equal(back.post_loads, 1);
	back.host_pointer = NULL;
	back.post_loads = 0;
	assert_memory_equal(&back, &t, sizeof(t));
	free(fdt);
}

static void scalars_are_big_endian_of_their_size(void **state)
{
	struct thing t = sample;
	size_t len;
	void *fdt = save(&t, &len);
	int n;
	const void *p = fdt_getprop(fdt, node_of(fdt), "u32", &n);

	assert_int_equal(n, 4);
	assert_memory_equal(p, "\x78\x9a\xbc\xde", 4);
	p = fdt_getprop(fdt, node_of(fdt), "words", &n);
	assert_int_equal(n, 6);
	assert_memory_equal(p, "\0\1\0\2\3\xe8", 6);
	free(fdt);
}

static void a_large_object_grows_the_tree(void **state)
{
	static uint8_t big[200000];
	const struct state_table table = {
		.name = "big",
		.size = sizeof(big),
		.fields = &(struct state_field){
			.name = "all", .kind = STATE_BYTES, .size = 1,
			.count = sizeof(big) },
		.nfields = 1,
	};
	struct error err = ERROR_INIT;
	struct state_writer w;
	size_t len;
	void *fdt;

	memset(big, 7, sizeof(big));
	assert_int_equal(state_writer_init(&w, &err), 0);
	assert_int_equal(state_save(&w, "big", &table, big, &err), 0);
	assert_int_equal(state_writer_finish(&w, &fdt, &len, &err), 0);
	memset(big, 0, sizeof(big));
	assert_int_equal(state_load(fdt, "big", &table, big, &err), 0);
	assert_int_equal(big[199999], 7);
	free(fdt);
}

static void a_value_above_its_limit_is_refused(void **state)
{
	void *fdt = editable();

	fdt_setprop(fdt, node_of(fdt), "words", "\0\1\0\2\3\xe9", 6);
	assert_refused(fdt, "words is 1001, limit 1000");
}

static void too_many_bytes_are_refused(void **state)
{
	void *fdt = editable();

	fdt_setprop(fdt, node_of(fdt), "bytes", "12345678901234567", 17);
	assert_refused(fdt, "bytes has 17 elements, limit 16");
}

static void a_wrong_width_is_refused(void **state)
{
	void *fdt = editable();

	fdt_setprop(fdt, node_of(fdt), "u32", "abc", 3);
	assert_refused(fdt, "u32 has 3 bytes");
}

static void a_missing_field_is_refused(void **state)
{
	void *fdt = editable();

	fdt_delprop(fdt, node_of(fdt), "u64");
	assert_refused(fdt, "u64 is missing");
}

static void a_missing_field_newer_than_the_stream_keeps_its_default(void **s)
{
	struct thing t = { .newer = 5 };
	struct error err = ERROR_INIT;
	void *fdt = editable();

	fdt_delprop(fdt, node_of(fdt), "newer");
	assert_int_equal(state_load(fdt, "thing@1", &thing_table, &t, &err), 0);
	assert_int_equal(t.newer, 5);
	free(fdt);
}

static void an_unknown_field_is_refused(void **state)
{
	void *fdt = editable();

	fdt_setprop_u32(fdt, node_of(fdt), "surprise", 1);
	assert_refused(fdt, "unknown field surprise");
}

static void an_unknown_field_marked_optional_is_skipped(void **state)
{
	struct error err = ERROR_INIT;
	struct thing t = { 0 };
	void *fdt = editable();

	fdt_setprop_u32(fdt, node_of(fdt), "?surprise", 1);
	assert_int_equal(state_load(fdt, "thing@1", &thing_table, &t, &err), 0);
	free(fdt);
}

static void an_extra_element_of_a_struct_array_is_refused(void **state)
{
	void *fdt = editable();

	fdt_add_subnode(fdt, node_of(fdt), "many@7");
	assert_refused(fdt, "unknown field many@7");
}

static void a_gap_in_a_struct_array_is_refused(void **state)
{
	void *fdt = editable();

	fdt_set_name(fdt, fdt_path_offset(fdt, "/thing@1/many@1"), "many@2");
	assert_refused(fdt, "many@2 where many@1 was expected");
}

static void a_field_that_is_there_twice_is_refused(void **state)
{
	void *fdt = editable();
	struct fdt_property *again;

	fdt_setprop(fdt, node_of(fdt), "?again", "\x01\x02", 2);
	again = fdt_get_property_w(fdt, node_of(fdt), "?again", NULL);
	again->nameoff = fdt_get_property(fdt, node_of(fdt), "u16",
					  NULL)->nameoff;
	assert_refused(fdt, "field u16 is there twice");
}

static void a_struct_that_is_there_twice_is_refused(void **state)
{
	void *fdt = editable();

	fdt_set_name(fdt, fdt_path_offset(fdt, "/thing@1/many@1"), "one");
	assert_refused(fdt, "field one is there twice");
}

static void a_nested_value_above_its_limit_names_the_path(void **state)
{
	void *fdt = editable();

	fdt_setprop(fdt, fdt_path_offset(fdt, "/thing@1/many@1"), "b", "\x0a",
		    1);
	assert_refused(fdt, "state of thing@1: many@1: field b is 10, limit 9");
}

static void validate_refuses_before_anything_changes(void **state)
{
	void *fdt = editable();

	fdt_setprop(fdt, node_of(fdt), "u16", "\x02\x9a", 2);
	assert_refused(fdt, "u16 is 666");
}

static void a_missing_node_is_refused(void **state)
{
	void *fdt = editable();

	fdt_set_name(fdt, node_of(fdt), "thing@2");
	assert_refused(fdt, "thing@1 is missing");
}

static void a_truncated_tree_is_refused_at_every_length(void **state)
{
	struct error err = ERROR_INIT;
	struct thing t = sample;
	size_t len;
	char *fdt = save(&t, &len);

	for (size_t n = 0; n < len; n++) {
		char *cut = malloc(n ? n : 1);

		memcpy(cut, fdt, n);
		assert_true(state_check(cut, n, &err) < 0);
		free(cut);
	}
	free(fdt);
}

static void an_older_layout_is_refused_before_libfdt_trips_on_it(void **state)
{
	struct error err = ERROR_INIT;
	void *fdt = editable();

	fdt_set_version(fdt, 6);
	assert_true(state_check(fdt, fdt_totalsize(fdt), &err) < 0);
	free(fdt);
}

/* A length so large that the next tag would be its own, or one before it. */
static void a_length_that_wraps_around_is_refused(void **state)
{
	static const uint32_t len[] = { 0xfffffff4, 0xfffffff0, 0xffffffd0 };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(len); i++) {
		struct error err = ERROR_INIT;
		uint8_t *fdt = editable();
		int at = fdt_first_property_offset(fdt, 0);

		put_be32(fdt + fdt_off_dt_struct(fdt) + at + 4, len[i]);
		assert_true(state_check(fdt, fdt_totalsize(fdt), &err) < 0);
		free(fdt);
	}
}

static void a_newer_version_is_refused(void **state)
{
	struct error err = ERROR_INIT;
	void *fdt = editable();

	fdt_setprop_u32(fdt, 0, "version", STATE_VERSION + 1);
	assert_true(state_check(fdt, fdt_totalsize(fdt), &err) < 0);
	assert_non_null(strstr(err.msg, "newer godwit"));
	free(fdt);
}

static void json_has_every_field(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	state_print_json(out, &thing_table, &sample);
	fclose(out);
	assert_string_equal(text,
		"{\"u8\": 18, \"u16\": 13398, \"u32\": 2023406814, "
		"\"u64\": 72623859790382856, \"flag\": 1, "
		"\"bytes\": [104, 101, 108, 108, 111], "
		"\"words\": [1, 2, 1000], \"one\": {\"a\": 7, \"b\": 8}, "
		"\"many\": [{\"a\": 1, \"b\": 2}, {\"a\": 3, \"b\": 4}], "
		"\"newer\": 99}\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_what_was_saved),
		cmocka_unit_test(scalars_are_big_endian_of_their_size),
		cmocka_unit_test(a_large_object_grows_the_tree),
		cmocka_unit_test(a_value_above_its_limit_is_refused),
		cmocka_unit_test(too_many_bytes_are_refused),
		cmocka_unit_test(a_wrong_width_is_refused),
		cmocka_unit_test(a_missing_field_is_refused),
		cmocka_unit_test(
			a_missing_field_newer_than_the_stream_keeps_its_default),
		cmocka_unit_test(an_unknown_field_is_refused),
		cmocka_unit_test(an_unknown_field_marked_optional_is_skipped),
		cmocka_unit_test(an_extra_element_of_a_struct_array_is_refused),
		cmocka_unit_test(a_gap_in_a_struct_array_is_refused),
		cmocka_unit_test(a_field_that_is_there_twice_is_refused),
		cmocka_unit_test(a_struct_that_is_there_twice_is_refused),
		cmocka_unit_test(a_nested_value_above_its_limit_names_the_path),
		cmocka_unit_test(validate_refuses_before_anything_changes),
		cmocka_unit_test(a_missing_node_is_refused),
		cmocka_unit_test(a_truncated_tree_is_refused_at_every_length),
		cmocka_unit_test(
			an_older_layout_is_refused_before_libfdt_trips_on_it),
		cmocka_unit_test(a_length_that_wraps_around_is_refused),
		cmocka_unit_test(a_newer_version_is_refused),
		cmocka_unit_test(json_has_every_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
