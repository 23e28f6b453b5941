/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The escape key of the terminal: bytes in, actions out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "cmd/escape.h"

/* Feed all of @text; the last action. */
static enum escape_action feed(struct escape *e, const char *text)
{
	enum escape_action a = ESCAPE_NONE;

	for (; *text; text++)
		a = escape_feed(e, (unsigned char)*text);
	return a;
}

static void ordinary_bytes_are_the_guests(void **state)
{
	struct escape e = { .pending = false };
	int byte;

	for (byte = 0; byte < 256; byte++)
		if (byte != ESCAPE_KEY)
			assert_int_equal(escape_feed(&e, (unsigned char)byte),
					 ESCAPE_PASS);
}

static void the_key_itself_is_held_back(void **state)
{
	struct escape e = { .pending = false };

	assert_int_equal(feed(&e, "\x01"), ESCAPE_NONE);
}

static void key_x_quits(void **state)
{
	struct escape e = { .pending = false };

	assert_int_equal(feed(&e, "\x01x"), ESCAPE_QUIT);
}

static void key_h_helps_and_goes_back_to_the_guest(void **state)
{
	struct escape e = { .pending = false };

	assert_int_equal(feed(&e, "\x01h"), ESCAPE_HELP);
	assert_int_equal(feed(&e, "h"), ESCAPE_PASS);
}

static void the_key_twice_sends_it_once(void **state)
{
	struct escape e = { .pending = false };

	assert_int_equal(feed(&e, "\x01\x01"), ESCAPE_PASS);
	assert_int_equal(feed(&e, "x"), ESCAPE_PASS);
}

static void an_unknown_letter_after_the_key_is_swallowed(void **state)
{
	struct escape e = { .pending = false };

	assert_int_equal(feed(&e, "\x01q"), ESCAPE_NONE);
	assert_int_equal(feed(&e, "x"), ESCAPE_PASS);
}

static void key_c_opens_and_closes_the_monitor(void **state)
{
	struct escape e = { .pending = false };

	assert_int_equal(feed(&e, "\x01" "c"), ESCAPE_ENTER);
	assert_int_equal(feed(&e, "x"), ESCAPE_ECHO);
	assert_int_equal(feed(&e, "\x01" "c"), ESCAPE_LEAVE);
	assert_int_equal(feed(&e, "x"), ESCAPE_PASS);
}

static void the_monitor_edits_a_line(void **state)
{
	struct escape e = { .pending = false };

	feed(&e, "\x01" "cinfx");
	assert_int_equal(feed(&e, "\x7f"), ESCAPE_ERASE);
	assert_int_equal(feed(&e, "o\r"), ESCAPE_COMMAND);
	assert_string_equal(e.line, "info");
	assert_int_equal(feed(&e, "\x7f"), ESCAPE_NONE);
	assert_int_equal(feed(&e, "\r"), ESCAPE_COMMAND);
	assert_string_equal(e.line, "");
}

static void an_endless_line_stays_within_bounds(void **state)
{
	struct escape e = { .pending = false };
	int i;

	feed(&e, "\x01" "c");
	for (i = 0; i < 10 * ESCAPE_LINE; i++)
		escape_feed(&e, 'a');
	assert_int_equal(feed(&e, "\r"), ESCAPE_COMMAND);
	assert_int_equal(strlen(e.line), ESCAPE_LINE - 1);
}

static void quitting_works_from_the_monitor(void **state)
{
	struct escape e = { .pending = false };

	assert_int_equal(feed(&e, "\x01" "cabc\x01x"), ESCAPE_QUIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_bytes_are_the_guests),
		cmocka_unit_test(the_key_itself_is_held_back),
		cmocka_unit_test(key_x_quits),
		cmocka_unit_test(key_h_helps_and_goes_back_to_the_guest),
		cmocka_unit_test(the_key_twice_sends_it_once),
		cmocka_unit_test(an_unknown_letter_after_the_key_is_swallowed),
		cmocka_unit_test(key_c_opens_and_closes_the_monitor),
		cmocka_unit_test(the_monitor_edits_a_line),
		cmocka_unit_test(an_endless_line_stays_within_bounds),
		cmocka_unit_test(quitting_works_from_the_monitor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
