/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cmd/parse.h"
#include "vmm/base/util.h"

static void sizes_have_binary_suffixes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} t[] = {
		{ "1", MIB }, { "512", 512 * MIB }, { "4096B", 4096 },
		{ "64k", 64 * KIB }, { "64K", 64 * KIB }, { "64KiB", 64 * KIB },
		{ "3M", 3 * MIB }, { "3MiB", 3 * MIB }, { "2g", 2 * GIB },
		{ "2GiB", 2 * GIB }, { "1T", 1024 * GIB }, { "0", 0 },
	};
	struct error err = ERROR_INIT;
	uint64_t v;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		assert_int_equal(parse_size(t[i].text, MIB, &v, &err), 0);
		assert_int_equal(v, t[i].bytes);
	}
}

static void sizes_that_are_none_are_refused(void **state)
{
	static const char *const t[] = {
		"", "K", "-1", "+1", " 1", "1 K", "1Q", "4GB", "1.5G", "1Ki",
		"1KiBx", "0x10", "99999999999999999999", "16777216T",
	};
	struct error err;
	uint64_t v;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		error_clear(&err);
		assert_true(parse_size(t[i], 1, &v, &err) < 0);
		assert_true(strlen(err.msg) > 5);
	}
}

static void an_unknown_unit_is_named_with_what_is_accepted(void **state)
{
	struct error err = ERROR_INIT;
	uint64_t v;

	assert_int_equal(parse_size("12Q", 1, &v, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "'Q'"));
	assert_non_null(strstr(err.msg, "GiB"));
}

static void numbers_out_of_range_name_the_range(void **state)
{
	struct error err = ERROR_INIT;
	uint64_t v;

	assert_int_equal(parse_number("65", 1, 64, &v, &err), -ERANGE);
	assert_string_equal(err.msg, "not from 1 to 64");
	assert_int_equal(parse_number("64", 1, 64, &v, &err), 0);
	assert_int_equal(v, 64);
}

static void macs_are_six_pairs_and_no_group(void **state)
{
	static const char *const bad[] = {
		"", "52:54:00:12:34", "52:54:00:12:34:56:78", "52-54-00-12-34-56",
		"5:54:00:12:34:56", "52:54:00:12:34:5g", "01:00:5e:00:00:01",
	};
	struct error err = ERROR_INIT;
	uint8_t mac[6];
	unsigned int i;

	assert_int_equal(parse_mac("52:54:00:aB:34:56", mac, &err), 0);
	assert_int_equal(mac[3], 0xab);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(parse_mac(bad[i], mac, &err) < 0);
}

static void names_are_safe_as_file_names(void **state)
{
	static const char *const bad[] = {
		"", ".", "..", "-x", "a/b", "a b", "a\n", "\xc3\xa9",
		"123456789012345678901234567890123456789012345678",
	};
	struct error err = ERROR_INIT;
	unsigned int i;

	assert_int_equal(parse_name("web-1.example_2", &err), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(parse_name(bad[i], &err) < 0);
}

static void lists_split_at_single_commas(void **state)
{
	char text[] = "nbd+unix:///a,,b?socket=/x,id=d0,readonly=on,";
	char *cursor = text, *key, *value;

	assert_true(parse_list_next(&cursor, &key, &value));
	assert_null(key);
	assert_string_equal(value, "nbd+unix:///a,b?socket=/x");
	assert_true(parse_list_next(&cursor, &key, &value));
	assert_string_equal(key, "id");
	assert_string_equal(value, "d0");
	assert_true(parse_list_next(&cursor, &key, &value));
	assert_string_equal(key, "readonly");
	assert_true(parse_list_next(&cursor, &key, &value));
	assert_string_equal(value, "");
	assert_false(parse_list_next(&cursor, &key, &value));
}

static void dirty_tracking_is_a_word_and_a_size(void **state)
{
	static const char *const bad[] = {
		"", "rings", "ring,entries=1000", "ring,entries=512",
		"ring,entries=131072", "ring,entries=", "ring,size=4096",
	};
	struct error err = ERROR_INIT;
	struct dirty_config d = { 0 };
	unsigned int i;

	assert_int_equal(parse_dirty("ring", &d, &err), 0);
	assert_int_equal(d.how, DIRTY_RING);
	assert_int_equal(d.entries, 0);
	assert_int_equal(parse_dirty("auto,entries=4096", &d, &err), 0);
	assert_int_equal(d.how, DIRTY_AUTO);
	assert_int_equal(d.entries, 4096);
	assert_int_equal(parse_dirty("bitmap", &d, &err), 0);
	assert_int_equal(d.how, DIRTY_BITMAP);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(parse_dirty(bad[i], &d, &err) < 0);
}

static void edits_are_counted(void **state)
{
	assert_int_equal(edit_distance("memory", "memory"), 0);
	assert_int_equal(edit_distance("memroy", "memory"), 2);
	assert_int_equal(edit_distance("kernal", "kernel"), 1);
	assert_int_equal(edit_distance("", "abc"), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_have_binary_suffixes),
		cmocka_unit_test(sizes_that_are_none_are_refused),
		cmocka_unit_test(an_unknown_unit_is_named_with_what_is_accepted),
		cmocka_unit_test(numbers_out_of_range_name_the_range),
		cmocka_unit_test(macs_are_six_pairs_and_no_group),
		cmocka_unit_test(names_are_safe_as_file_names),
		cmocka_unit_test(lists_split_at_single_commas),
		cmocka_unit_test(dirty_tracking_is_a_word_and_a_size),
		cmocka_unit_test(edits_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
