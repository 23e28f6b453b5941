/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/base/library.h"

/* A library that every machine has. */
#define SONAME "libm.so.6"

struct maths {
	long before;
	double (*root)(double);
};

static void functions_are_put_where_they_belong(void **state)
{
	const struct library_function f = { "sqrt", offsetof(struct maths, root) };
	struct maths m = { .before = 5 };
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(library_load(&m, SONAME, "roots", &f, 1, &err), 0);
	assert_true(m.root(9) > 2.9 && m.root(9) < 3.1 && m.before == 5);
}

static void a_library_that_is_not_there_is_named_with_who_wants_it(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(library_load(NULL, "libnone.so.7", "dreams need libnone",
				      NULL, 0, &err), -ENOSYS);
	assert_non_null(strstr(err.msg, "dreams need libnone: libnone.so.7"));
}

static void a_function_that_is_not_there_is_named(void **state)
{
	const struct library_function f = { "square_root", 0 };
	struct error err = ERROR_INIT;
	struct maths m;

	(void)state;
	assert_int_equal(library_load(&m, SONAME, "roots", &f, 1, &err), -ENOSYS);
	assert_string_equal(err.msg, SONAME " has no square_root");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(functions_are_put_where_they_belong),
		cmocka_unit_test(
			a_library_that_is_not_there_is_named_with_who_wants_it),
		cmocka_unit_test(a_function_that_is_not_there_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
