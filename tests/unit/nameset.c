/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/base/nameset.h"

static int read_text(struct nameset *s, const char *text, struct error *err)
{
	FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	int ret;

	memset(s, 0, sizeof(*s));
	error_clear(err);
	ret = nameset_read(s, in, err);
	fclose(in);
	return ret;
}

static void names_are_sorted_and_each_once(void **state)
{
	struct error err = ERROR_INIT;
	struct nameset s;

	(void)state;
	assert_int_equal(read_text(&s, "b  a # no\nc\tb#x\n#d\na", &err), 0);
	assert_int_equal(s.n, 4);
	assert_string_equal(s.name[0], "a");
	assert_string_equal(s.name[1], "b");
	assert_string_equal(s.name[2], "b#x");
	assert_true(nameset_has(&s, "c"));
	assert_false(nameset_has(&s, "d"));
}

static void what_two_share_and_what_one_lacks(void **state)
{
	struct error err = ERROR_INIT;
	struct nameset a, b, missing;

	(void)state;
	assert_int_equal(read_text(&a, "p q r s", &err), 0);
	assert_int_equal(read_text(&b, "q s t", &err), 0);
	assert_int_equal(nameset_missing(&a, &b, &missing), 2);
	assert_string_equal(missing.name[1], "r");
	nameset_intersect(&a, &b);
	assert_int_equal(a.n, 2);
	assert_string_equal(a.name[0], "q");
	assert_string_equal(a.name[1], "s");
}

static void a_name_too_long_or_one_too_many_is_refused(void **state)
{
	char name[NAMESET_NAME + 2] = { 0 };
	struct error err = ERROR_INIT;
	struct nameset s;

	(void)state;
	memset(name, 'x', NAMESET_NAME);
	assert_int_equal(read_text(&s, name, &err), -ENAMETOOLONG);
	memset(&s, 0, sizeof(s));
	error_clear(&err);
	for (unsigned int i = 0; i < NAMESET_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(nameset_add(&s, name, &err), 0);
	}
	assert_int_equal(nameset_add(&s, "more", &err), -E2BIG);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_sorted_and_each_once),
		cmocka_unit_test(what_two_share_and_what_one_lacks),
		cmocka_unit_test(a_name_too_long_or_one_too_many_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
