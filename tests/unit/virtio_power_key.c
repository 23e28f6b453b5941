/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio power key as a driver sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/input-event-codes.h>
#include <linux/virtio_input.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/virtio_guest.h"

#define COMPATIBLE "godwit,virtio-power-key"
#define CONFIG (GUEST_MMIO + VIRTIO_MMIO_CONFIG)
enum { EVENTS, STATUS, QUEUES };

static int setup(void **state)
{
	*state = guest_boot(COMPATIBLE, NULL, NULL, 0, QUEUES);
	return 0;
}

static int teardown(void **state)
{
	guest_destroy(*state);
	return 0;
}

static void add_buffers(struct guest *g, unsigned int n, uint32_t len)
{
	for (unsigned int i = 0; i < n; i++)
		guest_add(g, EVENTS, &(struct guest_buf){
			GUEST_DATA + 64 * i, len, VRING_DESC_F_WRITE }, 1);
	guest_notify(g, EVENTS);
	guest_settle(g);
}

static void press(struct guest *g)
{
	g->dev->class->power_button(g->dev);
	guest_settle(g);
}

static unsigned int count_used(struct guest *g)
{
	uint32_t id, len;
	unsigned int n = 0;

	while (guest_used(g, EVENTS, &id, &len))
		n++;
	return n;
}

static void expect_event(struct guest *g, unsigned int i, uint16_t type,
			 uint16_t code, uint16_t value)
{
	assert_int_equal(guest_get16(g, GUEST_DATA + 64 * i), type);
	assert_int_equal(guest_get16(g, GUEST_DATA + 64 * i + 2), code);
	assert_int_equal(guest_get16(g, GUEST_DATA + 64 * i + 4), value);
}

static void a_press_is_down_and_up(void **state)
{
	struct guest *g = *state;

	add_buffers(g, 8, 8);
	press(g);
	assert_int_equal(count_used(g), 4);
	expect_event(g, 0, EV_KEY, KEY_POWER, 1);
	expect_event(g, 1, EV_SYN, SYN_REPORT, 0);
	expect_event(g, 2, EV_KEY, KEY_POWER, 0);
	expect_event(g, 3, EV_SYN, SYN_REPORT, 0);
}

static void events_wait_for_buffers(void **state)
{
	struct guest *g = *state;

	add_buffers(g, 1, 8);
	press(g);
	assert_int_equal(count_used(g), 1);
	add_buffers(g, 8, 8);
	assert_int_equal(count_used(g), 3);
}

static void a_second_press_during_the_first_is_the_same(void **state)
{
	struct guest *g = *state;

	press(g);
	press(g);
	add_buffers(g, 8, 8);
	assert_int_equal(count_used(g), 4);
}

static void a_press_before_the_driver_is_lost(void **state)
{
	struct guest *g = *state;

	guest_set(g, VIRTIO_MMIO_STATUS, 0);
	press(g);
	guest_driver(g, 0, QUEUES);
	add_buffers(g, 8, 8);
	assert_int_equal(count_used(g), 0);
}

static void a_press_under_way_travels(void **state)
{
	struct guest *g = *state, *there = guest_create(COMPATIBLE, NULL, NULL);
	struct error err = ERROR_INIT;
	size_t len;
	void *fdt, *again;

	press(g);
	fdt = guest_save(g, &len);
	assert_int_equal(guest_load(there, fdt, &err), 0);
	again = guest_save(there, &len);
	assert_memory_equal(fdt, again, len);
	free(fdt);
	free(again);
	guest_destroy(there);
}

static void the_driver_finds_a_power_key_and_no_other(void **state)
{
	struct guest *g = *state;
	unsigned int keys = 0;

	fake_write(&g->env.mmio, CONFIG, 1, VIRTIO_INPUT_CFG_EV_BITS);
	fake_write(&g->env.mmio, CONFIG + 1, 1, EV_KEY);
	assert_int_equal(fake_read(&g->env.mmio, CONFIG + 2, 1),
			 KEY_POWER / 8 + 1);
	for (unsigned int i = 0; i <= KEY_POWER / 8; i++)
		keys += (unsigned int)__builtin_popcount((unsigned int)
			fake_read(&g->env.mmio, CONFIG + 8 + i, 1));
	assert_int_equal(keys, 1);
	assert_int_equal(fake_read(&g->env.mmio, CONFIG + 8 + KEY_POWER / 8, 1),
			 1 << KEY_POWER % 8);
	fake_write(&g->env.mmio, CONFIG + 1, 1, EV_LED);
	assert_int_equal(fake_read(&g->env.mmio, CONFIG + 2, 1), 0);
}

static void a_short_buffer_gets_what_fits(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	add_buffers(g, 1, 3);
	press(g);
	assert_true(guest_used(g, EVENTS, &id, &len));
	assert_int_equal(len, 3);
}

static void lights_are_answered(void **state)
{
	struct guest *g = *state;

	guest_add(g, STATUS, &(struct guest_buf){ GUEST_DATA, 8, 0 }, 1);
	assert_int_equal(guest_do(g, STATUS), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_press_is_down_and_up),
		T(events_wait_for_buffers),
		T(a_second_press_during_the_first_is_the_same),
		T(a_press_before_the_driver_is_lost),
		T(a_press_under_way_travels),
		T(the_driver_finds_a_power_key_and_no_other),
		T(a_short_buffer_gets_what_fits),
		T(lights_are_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
