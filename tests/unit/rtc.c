/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MC146818 against the host's clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "tests/lib/device_rig.h"
#include "tests/lib/move.h"

static int setup(void **state)
{
	*state = rig_new("isa", "motorola,mc146818", 0x70, 2, 8);
	return 0;
}

static void set(struct rig *r, uint8_t index, uint8_t value)
{
	fake_write(&r->env.pio, 0x70, 1, index);
	fake_write(&r->env.pio, 0x71, 1, value);
}

static int get(struct rig *r, uint8_t index)
{
	fake_write(&r->env.pio, 0x70, 1, index);
	return (int)fake_read(&r->env.pio, 0x71, 1);
}

static int bcd(int v)
{
	return (v >> 4) * 10 + (v & 15);
}

/* What a driver does: wait until no update is under way, read all, repeat
 * if the second changed meanwhile. */
static time_t read_clock(struct rig *r)
{
	struct tm tm;
	int sec;

	do {
		while (get(r, 0x0a) & 0x80)
			;
		sec = get(r, 0x00);
		tm = (struct tm){
			.tm_sec = bcd(sec), .tm_min = bcd(get(r, 0x02)),
			.tm_hour = bcd(get(r, 0x04)),
			.tm_mday = bcd(get(r, 0x07)),
			.tm_mon = bcd(get(r, 0x08)) - 1,
			.tm_year = bcd(get(r, 0x32)) * 100 +
				   bcd(get(r, 0x09)) - 1900,
		};
	} while (sec != get(r, 0x00));
	return timegm(&tm);
}

static void it_tells_the_host_s_time(void **state)
{
	time_t before = time(NULL), seen = read_clock(*state);

	/* time() may lag behind clock_gettime() by a tick */
	assert_in_range(seen, before, time(NULL) + 1);
}

static void set_clock(struct rig *r)
{
	set(r, 0x0b, 0x82);
	set(r, 0x00, 0x56);
	set(r, 0x02, 0x34);
	set(r, 0x04, 0x12);
	set(r, 0x07, 0x31);
	set(r, 0x08, 0x12);
	set(r, 0x09, 0x99);
	set(r, 0x32, 0x19);
	set(r, 0x0b, 0x02);
}

static void it_goes_on_from_where_it_is_set(void **state)
{
	time_t set_at = 946643696;	/* 1999-12-31 12:34:56 UTC */

	set_clock(*state);
	assert_in_range(read_clock(*state), set_at, set_at + 5);
}

static void a_set_clock_survives_a_move(void **state)
{
	time_t set_at = 946643696;
	struct rig *r = *state, *to;
	void *other;

	set_clock(r);
	setup(&other);
	to = other;
	move_state(r->dev, to->dev);
	assert_in_range(read_clock(to), set_at, set_at + 5);
	teardown(&other);
}

static void twelve_hour_mode_marks_the_afternoon(void **state)
{
	struct rig *r = *state;

	set(r, 0x0b, 0x80);
	set(r, 0x00, 0x00);
	set(r, 0x02, 0x30);
	set(r, 0x04, 0x83);
	set(r, 0x0b, 0x00);
	assert_int_equal(get(r, 0x04), 0x83);
	set(r, 0x0b, 0x02);
	assert_int_equal(get(r, 0x04), 0x15);
}

static void binary_mode_counts_in_binary(void **state)
{
	struct rig *r = *state;

	set_clock(r);
	set(r, 0x0b, 0x06);
	assert_int_equal(get(r, 0x09), 99);
	assert_int_equal(get(r, 0x32), 19);
}

static void cmos_ram_keeps_bytes_over_reset(void **state)
{
	struct rig *r = *state;

	set(r, 0x40, 0xa5);
	r->dev->class->reset(r->dev);
	assert_int_equal(get(r, 0x40), 0xa5);
}

static void the_battery_is_good(void **state)
{
	assert_int_equal(get(*state, 0x0d), 0x80);
}

static void nonsense_in_the_calendar_is_survived(void **state)
{
	struct rig *r = *state;

	for (uint8_t i = 0; i < 0x80; i++)
		set(r, i, 0xff);
	set(r, 0x0b, 0x02);
	for (uint8_t i = 0; i < 0x80; i++)
		get(r, i);
	assert_int_equal(get(r, 0x0d), 0x80);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_tells_the_host_s_time),
		TEST(it_goes_on_from_where_it_is_set),
		TEST(a_set_clock_survives_a_move),
		TEST(twelve_hour_mode_marks_the_afternoon),
		TEST(binary_mode_counts_in_binary),
		TEST(cmos_ram_keeps_bytes_over_reset),
		TEST(the_battery_is_good),
		TEST(nonsense_in_the_calendar_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
