/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices of an arm64 board: PL031 clock, PL061 with the power key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "tests/lib/device_rig.h"

#define BASE 0x9010000
#define GSI 5
#define LINE3 0x20		/* data address of line 3 alone: 1 << 3 << 2 */

static int setup_clock(void **state)
{
	*state = rig_new("platform", "arm,pl031", BASE, 0x1000, GSI);
	return 0;
}

static int setup_gpio(void **state)
{
	*state = rig_new("platform", "arm,pl061", BASE, 0x1000, GSI);
	return 0;
}

static uint32_t get(struct rig *r, uint64_t reg)
{
	return (uint32_t)fake_read(&r->env.mmio, BASE + reg, 4);
}

static void set(struct rig *r, uint64_t reg, uint32_t value)
{
	fake_write(&r->env.mmio, BASE + reg, 4, value);
}

static void the_clock_is_the_hosts(void **state)
{
	uint32_t before = (uint32_t)time(NULL);
	uint32_t now = get(*state, 0);

	assert_in_range(now, before, (uint32_t)time(NULL));
}

static void a_clock_that_is_set_goes_on_from_there(void **state)
{
	uint32_t before = (uint32_t)time(NULL), passed;

	set(*state, 8, 1000);
	passed = (uint32_t)time(NULL) - before;
	assert_in_range(get(*state, 0), 1000, 1000 + passed + 1);
}

static void drivers_find_the_clock_by_its_id(void **state)
{
	assert_int_equal(get(*state, 0xfe0), 0x31);
	assert_int_equal(get(*state, 0xff0), 0x0d);
	assert_int_equal(get(*state, 0xffc), 0xb1);
}

static void the_alarm_registers_are_kept(void **state)
{
	set(*state, 4, 77);
	set(*state, 0x10, 1);
	assert_int_equal(get(*state, 4), 77);
	assert_int_equal(get(*state, 0x10), 1);
}

static bool is_up(void *arg)
{
	return !(get(arg, LINE3) & 8);
}

static void the_power_key_interrupts_and_comes_up_again(void **state)
{
	struct rig *r = *state;

	set(r, 0x408, 8);	/* both edges */
	set(r, 0x410, 8);
	r->dev->class->power_button(r->dev);
	assert_int_equal(get(r, LINE3), 8);
	assert_int_equal(r->env.level[GSI], 1);
	set(r, 0x41c, 8);
	assert_int_equal(r->env.level[GSI], 0);
	fake_run_until(&r->env, is_up, r);
	assert_int_equal(r->env.level[GSI], 1);
}

static void a_masked_key_is_silent_and_remembered(void **state)
{
	struct rig *r = *state;

	set(r, 0x408, 8);
	r->dev->class->power_button(r->dev);
	assert_int_equal(r->env.level[GSI], 0);
	assert_int_equal(get(r, 0x414), 8);
	assert_int_equal(get(r, 0x418), 0);
	set(r, 0x410, 8);
	assert_int_equal(r->env.level[GSI], 1);
}

static void a_falling_edge_counts_only_where_it_was_asked_for(void **state)
{
	struct rig *r = *state;

	set(r, 0x410, 8);	/* IBE and IEV clear: falling */
	r->dev->class->power_button(r->dev);
	assert_int_equal(r->env.level[GSI], 0);
	fake_run_until(&r->env, is_up, r);
	assert_int_equal(r->env.level[GSI], 1);
}

static void outputs_are_what_was_written_and_inputs_are_not(void **state)
{
	set(*state, 0x400, 0x0f);
	set(*state, 0x3fc, 0xff);
	assert_int_equal(get(*state, 0x3fc), 0x0f);
	set(*state, 1 << 2, 0);		/* line 0 alone */
	assert_int_equal(get(*state, 0x3fc), 0x0e);
}

static void a_pressed_key_comes_up_where_the_vm_arrives(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	set(r, 0x408, 8);
	set(r, 0x410, 8);
	r->dev->class->power_button(r->dev);
	r->dev->class->stop(r->dev);
	assert_int_equal(r->dev->class->start(r->dev, &err), 0);
	fake_run_until(&r->env, is_up, r);
	assert_int_equal(get(r, 0x414), 8);
}

#define CLOCK(f) cmocka_unit_test_setup_teardown(f, setup_clock, teardown)
#define GPIO(f) cmocka_unit_test_setup_teardown(f, setup_gpio, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLOCK(the_clock_is_the_hosts),
		CLOCK(a_clock_that_is_set_goes_on_from_there),
		CLOCK(drivers_find_the_clock_by_its_id),
		CLOCK(the_alarm_registers_are_kept),
		GPIO(the_power_key_interrupts_and_comes_up_again),
		GPIO(a_masked_key_is_silent_and_remembered),
		GPIO(a_falling_edge_counts_only_where_it_was_asked_for),
		GPIO(outputs_are_what_was_written_and_inputs_are_not),
		GPIO(a_pressed_key_comes_up_where_the_vm_arrives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
