/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every way to ask whether a page is zero gives the same answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migration/page_zero.h"

#define PAGE 4096

static _Alignas(PAGE) uint8_t space[3 * PAGE];

/* The page lies between two that are full, which must not count. */
static uint8_t *zero_page(void)
{
	memset(space, 0xff, sizeof(space));
	return memset(space + PAGE, 0, PAGE);
}

static void a_zero_page_is_zero(void **state)
{
	uint8_t *page = zero_page();
	const struct page_zero *way;

	(void)state;
	for (unsigned int n = 0; (way = page_zero_way(n)); n++)
		assert_true(way->test(page));
}

static void a_bit_is_found_at_each_place(void **state)
{
	uint8_t *page = zero_page();
	const struct page_zero *way;

	(void)state;
	for (unsigned int n = 0; (way = page_zero_way(n)); n++) {
		for (unsigned int i = 0; i < 8 * PAGE; i++) {
			page[i / 8] = (uint8_t)(1u << i % 8);
			if (way->test(page))
				fail_msg("%s overlooks bit %u", way->name, i);
			page[i / 8] = 0;
		}
	}
}

static void the_portable_way_is_the_last(void **state)
{
	unsigned int n = 0;

	(void)state;
	while (page_zero_cpu(n))
		n++;
	assert_string_equal(page_zero_way(n)->name, "portable");
	assert_null(page_zero_way(n + 1));
	assert_null(page_zero_way(1000));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_zero_page_is_zero),
		cmocka_unit_test(a_bit_is_found_at_each_place),
		cmocka_unit_test(the_portable_way_is_the_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
