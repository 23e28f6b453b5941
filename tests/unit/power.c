/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware, the ways to reset, and the debug exit port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/device_rig.h"
#include "tests/lib/move.h"

#define PM 0x600
#define SCI 9
#define STS (PM + 0)
#define EN (PM + 2)
#define CNT (PM + 4)
#define TMR (PM + 8)
#define PWRBTN 0x100

static int setup_pm(void **state)
{
	*state = rig_new("isa", "godwit,acpi-pm", PM, 16, SCI);
	return 0;
}

static int setup_reset(void **state)
{
	*state = rig_new("isa", "godwit,reset", 0xcf9, 1, SCI);
	return 0;
}

static int setup_i8042(void **state)
{
	*state = rig_new("isa", "godwit,i8042", 0x60, 5, SCI);
	return 0;
}

static int setup_exit(void **state)
{
	*state = rig_new("isa", "godwit,debug-exit", 0x501, 1, SCI);
	return 0;
}

static void out(struct rig *r, uint64_t port, unsigned int len, uint64_t v)
{
	fake_write(&r->env.pio, port, len, v);
}

static uint64_t in(struct rig *r, uint64_t port, unsigned int len)
{
	return fake_read(&r->env.pio, port, len);
}

static void press(struct rig *r)
{
	r->dev->class->power_button(r->dev);
}

static void the_machine_is_in_acpi_mode(void **state)
{
	assert_int_equal(in(*state, CNT, 2) & 1, 1);
}

static void an_enabled_button_raises_sci_until_cleared(void **state)
{
	struct rig *r = *state;

	out(r, EN, 2, PWRBTN);
	press(r);
	assert_int_equal(r->env.level[SCI], 1);
	assert_int_equal(in(r, STS, 2), PWRBTN);
	out(r, STS, 2, PWRBTN);
	assert_int_equal(in(r, STS, 2), 0);
	assert_int_equal(r->env.level[SCI], 0);
}

static void a_disabled_button_waits_for_its_enable(void **state)
{
	struct rig *r = *state;

	press(r);
	assert_int_equal(r->env.level[SCI], 0);
	out(r, EN, 2, PWRBTN);
	assert_int_equal(r->env.level[SCI], 1);
}

static void writing_enable_clears_no_status(void **state)
{
	struct rig *r = *state;

	press(r);
	out(r, EN, 2, PWRBTN);
	assert_int_equal(in(r, STS, 2), PWRBTN);
}

static void status_and_enable_can_be_written_at_once(void **state)
{
	struct rig *r = *state;

	press(r);
	out(r, STS, 4, (uint64_t)PWRBTN << 16 | PWRBTN);
	assert_int_equal(in(r, STS, 4), (uint64_t)PWRBTN << 16);
}

static void s5_powers_off(void **state)
{
	struct rig *r = *state;

	out(r, CNT, 2, 5 << 10);
	assert_int_equal(r->env.last_request, 0);
	out(r, CNT, 2, 5 << 10 | 1 << 13);
	assert_int_equal(r->env.last_request, VM_REQUEST_POWEROFF);
}

static void another_sleep_state_does_nothing(void **state)
{
	struct rig *r = *state;

	out(r, CNT, 2, 1 << 10 | 1 << 13);
	assert_int_equal(r->env.last_request, 0);
}

static void s5_by_bytes_powers_off(void **state)
{
	struct rig *r = *state;

	out(r, CNT + 1, 1, 0x34);
	assert_int_equal(r->env.last_request, VM_REQUEST_POWEROFF);
}

static uint64_t ticks(uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * 3579545 / NSEC_PER_SEC);
}

/* Reads the timer twice around @between; what went by is within bounds. */
static void the_timer_counts_at_its_rate(void **state)
{
	struct rig *r = *state;
	uint64_t outer = now_ns(), inner, first, second;

	first = in(r, TMR, 4);
	inner = now_ns();
	while (now_ns() - inner < 2 * NSEC_PER_MSEC)
		;
	inner = now_ns() - inner;
	second = in(r, TMR, 4);
	outer = now_ns() - outer;
	assert_true(second - first + 1 >= ticks(inner));
	assert_true(second - first <= ticks(outer) + 1);
}

static void a_move_never_turns_the_timer_back(void **state)
{
	struct rig *r = *state;
	void *other;
	uint64_t before = in(r, TMR, 4);

	setup_pm(&other);
	move_state(r->dev, ((struct rig *)other)->dev);
	assert_true(in(other, TMR, 4) >= before);
	teardown(&other);
}

static void a_pressed_button_survives_a_move(void **state)
{
	struct rig *r = *state;
	struct rig *to;
	void *other;

	out(r, EN, 2, PWRBTN);
	press(r);
	setup_pm(&other);
	to = other;
	move_state(r->dev, to->dev);
	assert_int_equal(to->env.level[SCI], 1);
	teardown(&other);
}

static void reset_clears_the_registers(void **state)
{
	struct rig *r = *state;

	out(r, EN, 2, PWRBTN);
	press(r);
	r->dev->class->reset(r->dev);
	assert_int_equal(in(r, STS, 4), 0);
	assert_int_equal(r->env.level[SCI], 0);
}

static void cf9_resets_the_system(void **state)
{
	struct rig *r = *state;

	out(r, 0xcf9, 1, 0x02);
	assert_int_equal(r->env.last_request, 0);
	assert_int_equal(in(r, 0xcf9, 1), 0x02);
	out(r, 0xcf9, 1, 0x06);
	assert_int_equal(r->env.last_request, VM_REQUEST_RESET);
}

static void the_keyboard_controller_resets(void **state)
{
	struct rig *r = *state;

	out(r, 0x64, 1, 0x20);
	assert_int_equal(r->env.last_request, 0);
	out(r, 0x64, 1, 0xfe);
	assert_int_equal(r->env.last_request, VM_REQUEST_RESET);
}

/* Linux drains the output 16 times, then says "No controller found". */
static void the_keyboard_controller_is_not_found(void **state)
{
	struct rig *r = *state;

	for (int i = 0; i < 17; i++) {
		assert_int_equal(in(r, 0x64, 1) & 1, 1);
		in(r, 0x60, 1);
	}
	assert_int_equal(in(r, 0x64, 1) & 2, 0);
}

static void debug_exit_hands_over_its_value(void **state)
{
	struct rig *r = *state;

	out(r, 0x501, 1, 42);
	assert_int_equal(r->env.last_request, VM_REQUEST_EXIT);
	assert_int_equal(r->env.last_value, 42);
}

#define TEST(f, dev) cmocka_unit_test_setup_teardown(f, setup_##dev, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_machine_is_in_acpi_mode, pm),
		TEST(an_enabled_button_raises_sci_until_cleared, pm),
		TEST(a_disabled_button_waits_for_its_enable, pm),
		TEST(writing_enable_clears_no_status, pm),
		TEST(status_and_enable_can_be_written_at_once, pm),
		TEST(s5_powers_off, pm),
		TEST(another_sleep_state_does_nothing, pm),
		TEST(s5_by_bytes_powers_off, pm),
		TEST(the_timer_counts_at_its_rate, pm),
		TEST(a_move_never_turns_the_timer_back, pm),
		TEST(a_pressed_button_survives_a_move, pm),
		TEST(reset_clears_the_registers, pm),
		TEST(cf9_resets_the_system, reset),
		TEST(the_keyboard_controller_resets, i8042),
		TEST(the_keyboard_controller_is_not_found, i8042),
		TEST(debug_exit_hands_over_its_value, exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
