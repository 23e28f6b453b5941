/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A by its data sheet, as a driver sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tests/lib/device_rig.h"
#include "tests/lib/move.h"

#define BASE 0x3f8
#define GSI 4
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define FCR IIR
#define OUT2 0x08
#define LOOP 0x10

static int setup(void **state)
{
	struct rig *r = rig_new("isa", "ns16550a", BASE, 8, GSI);
	struct error err = ERROR_INIT;

	r->dev->class->start(r->dev, &err);
	*state = r;
	return 0;
}

static void out(struct rig *r, unsigned int reg, uint8_t v)
{
	fake_write(&r->env.pio, BASE + reg, 1, v);
}

static unsigned int in(struct rig *r, unsigned int reg)
{
	return (unsigned int)fake_read(&r->env.pio, BASE + reg, 1);
}

static int level(struct rig *r)
{
	return r->env.level[GSI];
}

static size_t type(struct rig *r, const char *text)
{
	struct chardev *chr = &r->env.chr.chr;

	return chr->receive(chr->receive_arg, text, strlen(text));
}

static void written_bytes_reach_the_chardev(void **state)
{
	struct rig *r = *state;

	out(r, DATA, 'h');
	out(r, DATA, 'i');
	assert_int_equal(r->env.chr.out_len, 2);
	assert_memory_equal(r->env.chr.out, "hi", 2);
	assert_int_equal(in(r, LSR), 0x60);
}

static void dlab_selects_the_divisor(void **state)
{
	struct rig *r = *state;

	out(r, LCR, 0x83);
	out(r, DATA, 0x12);
	out(r, IER, 0x34);
	assert_int_equal(in(r, DATA), 0x12);
	assert_int_equal(in(r, IER), 0x34);
	out(r, LCR, 0x03);
	assert_int_equal(in(r, IER), 0);
	assert_int_equal(r->env.chr.out_len, 0);
}

static void scratch_keeps_its_byte(void **state)
{
	struct rig *r = *state;

	out(r, SCR, 0xa5);
	assert_int_equal(in(r, SCR), 0xa5);
}

static void enabling_thre_raises_it_and_reading_iir_clears_it(void **state)
{
	struct rig *r = *state;

	out(r, MCR, OUT2);
	out(r, IER, 0x02);
	assert_int_equal(level(r), 1);
	assert_int_equal(in(r, IIR), 0x02);
	assert_int_equal(level(r), 0);
	assert_int_equal(in(r, IIR), 0x01);
}

static void sending_a_byte_raises_thre_again(void **state)
{
	struct rig *r = *state;

	out(r, MCR, OUT2);
	out(r, IER, 0x02);
	in(r, IIR);
	out(r, DATA, 'x');
	assert_int_equal(level(r), 1);
	assert_int_equal(in(r, IIR), 0x02);
}

static void without_out2_no_interrupt_reaches_the_line(void **state)
{
	struct rig *r = *state;

	out(r, IER, 0x02);
	assert_int_equal(level(r), 0);
	out(r, MCR, OUT2);
	assert_int_equal(level(r), 1);
}

static void received_data_interrupts_until_read(void **state)
{
	struct rig *r = *state;

	out(r, MCR, OUT2);
	out(r, IER, 0x01);
	assert_int_equal(type(r, "q"), 1);
	assert_int_equal(level(r), 1);
	assert_int_equal(in(r, IIR), 0x04);
	assert_int_equal(in(r, LSR) & 1, 1);
	assert_int_equal(in(r, DATA), 'q');
	assert_int_equal(level(r), 0);
	assert_int_equal(in(r, LSR) & 1, 0);
}

static void below_the_trigger_it_is_a_timeout(void **state)
{
	struct rig *r = *state;

	out(r, FCR, 0x81);	/* FIFO, trigger 8 */
	out(r, IER, 0x01);
	type(r, "1234567");
	assert_int_equal(in(r, IIR), 0xcc);
	type(r, "8");
	assert_int_equal(in(r, IIR), 0xc4);
}

static void line_status_has_priority_over_data(void **state)
{
	struct rig *r = *state;

	out(r, MCR, LOOP);
	out(r, IER, 0x0f);
	out(r, DATA, 'a');
	out(r, DATA, 'b');	/* no FIFO: overrun */
	assert_int_equal(in(r, IIR), 0x06);
	assert_int_equal(in(r, LSR) & 0x03, 0x03);
	assert_int_equal(in(r, IIR), 0x04);
	assert_int_equal(in(r, DATA), 'a');
	assert_int_equal(in(r, IIR), 0x02);
}

static void a_full_receiver_refuses_and_asks_again(void **state)
{
	struct rig *r = *state;
	unsigned int before = r->env.chr.accepts;

	out(r, FCR, 0x01);
	assert_int_equal(type(r, "0123456789abcdefXYZ"), 16);
	assert_int_equal(type(r, "X"), 0);
	assert_int_equal(in(r, DATA), '0');
	loop_run_once(&r->env.loop, 1000);
	assert_int_equal(r->env.chr.accepts, before + 1);
	assert_int_equal(type(r, "X"), 1);
}

static void clearing_the_receive_fifo_empties_it(void **state)
{
	struct rig *r = *state;

	out(r, FCR, 0x01);
	type(r, "abc");
	out(r, FCR, 0x03);
	assert_int_equal(in(r, LSR) & 1, 0);
}

static void loopback_returns_bytes_and_modem_lines(void **state)
{
	struct rig *r = *state;

	out(r, MCR, LOOP);
	in(r, MSR);
	out(r, DATA, 0x5a);
	assert_int_equal(r->env.chr.out_len, 0);
	assert_int_equal(in(r, DATA), 0x5a);
	out(r, MCR, LOOP | 0x0a);	/* what Linux's autoconfig does */
	assert_int_equal(in(r, MSR), 0x99);
	assert_int_equal(in(r, MSR), 0x90);
}

static void ring_indicator_reports_its_trailing_edge(void **state)
{
	struct rig *r = *state;

	out(r, MCR, LOOP);
	in(r, MSR);
	out(r, MCR, LOOP | 0x04);
	assert_int_equal(in(r, MSR), 0x40);
	out(r, MCR, LOOP);
	assert_int_equal(in(r, MSR), 0x04);
}

static void a_wide_access_is_unhandled(void **state)
{
	struct rig *r = *state;

	assert_int_equal(fake_read(&r->env.pio, BASE, 2), 0xffff);
	assert_int_equal(atomic_load(&r->env.pio.unhandled), 1);
}

static void a_stopped_port_takes_no_input(void **state)
{
	struct rig *r = *state;

	r->dev->class->stop(r->dev);
	assert_int_equal(type(r, "x"), 0);
}

static void reset_returns_registers_to_power_on(void **state)
{
	struct rig *r = *state;

	out(r, MCR, OUT2);
	out(r, IER, 0x02);
	type(r, "x");
	r->dev->class->reset(r->dev);
	assert_int_equal(level(r), 0);
	assert_int_equal(in(r, IER), 0);
	assert_int_equal(in(r, MCR), 0);
	assert_int_equal(in(r, LSR), 0x60);
}

static void move(struct rig *from, struct rig *to)
{
	move_state(from->dev, to->dev);
}

static void pending_thre_survives_a_move(void **state)
{
	struct rig *r = *state;
	void *other;

	out(r, MCR, OUT2);
	out(r, IER, 0x02);
	setup(&other);
	move(r, other);
	assert_int_equal(level(other), 1);
	assert_int_equal(in(other, IIR), 0x02);
	teardown(&other);
}

static void received_bytes_survive_a_move(void **state)
{
	struct rig *r = *state;
	void *other;

	out(r, FCR, 0x01);
	type(r, "abc");
	in(r, DATA);
	setup(&other);
	move(r, other);
	assert_int_equal(in(other, DATA), 'b');
	assert_int_equal(in(other, DATA), 'c');
	assert_int_equal(in(other, LSR) & 1, 0);
	teardown(&other);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(written_bytes_reach_the_chardev),
		TEST(dlab_selects_the_divisor),
		TEST(scratch_keeps_its_byte),
		TEST(enabling_thre_raises_it_and_reading_iir_clears_it),
		TEST(sending_a_byte_raises_thre_again),
		TEST(without_out2_no_interrupt_reaches_the_line),
		TEST(received_data_interrupts_until_read),
		TEST(below_the_trigger_it_is_a_timeout),
		TEST(line_status_has_priority_over_data),
		TEST(a_full_receiver_refuses_and_asks_again),
		TEST(clearing_the_receive_fifo_empties_it),
		TEST(loopback_returns_bytes_and_modem_lines),
		TEST(ring_indicator_reports_its_trailing_edge),
		TEST(a_wide_access_is_unhandled),
		TEST(a_stopped_port_takes_no_input),
		TEST(reset_returns_registers_to_power_on),
		TEST(pending_thre_survives_a_move),
		TEST(received_bytes_survive_a_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
