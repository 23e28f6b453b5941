/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-console as a driver sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/virtio_guest.h"

#define BUF GUEST_DATA
#define WRITE VRING_DESC_F_WRITE
enum { RX, TX, QUEUES };

static int setup(void **state)
{
	*state = guest_boot("godwit,virtio-console", NULL, NULL, 0, QUEUES);
	return 0;
}

static int teardown(void **state)
{
	guest_destroy(*state);
	return 0;
}

static void add_rx(struct guest *g, gpa_t addr, uint32_t len)
{
	guest_add(g, RX, &(struct guest_buf){ addr, len, WRITE }, 1);
}

/* Type at the console: how much it took. */
static size_t type(struct guest *g, const char *text)
{
	struct chardev *chr = &g->env.chr.chr;
	size_t n = chr->receive(chr->receive_arg, text, strlen(text));

	guest_settle(g);
	return n;
}

static void output_reaches_the_host(void **state)
{
	struct guest *g = *state;
	struct guest_buf chain[] = { { BUF, 3, 0 }, { BUF + 100, 3, 0 } };

	guest_put(g, BUF, "god", 3);
	guest_put(g, BUF + 100, "wit", 3);
	guest_add(g, TX, chain, 2);
	guest_do(g, TX);
	assert_int_equal(g->env.chr.out_len, 6);
	assert_memory_equal(g->env.chr.out, "godwit", 6);
}

static void input_reaches_the_guest(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;
	char got[5];

	add_rx(g, BUF, 64);
	guest_track(g);
	assert_int_equal(type(g, "hello"), 5);
	assert_true(guest_used(g, RX, &id, &len));
	assert_int_equal(len, 5);
	guest_get(g, BUF, got, sizeof(got));
	assert_memory_equal(got, "hello", 5);
	assert_true(guest_dirty(g, BUF));
}

static void input_without_buffers_is_refused(void **state)
{
	assert_int_equal(type(*state, "hello"), 0);
}

static void input_is_taken_in_part(void **state)
{
	struct guest *g = *state;

	add_rx(g, BUF, 2);
	add_rx(g, BUF + 16, 1);
	assert_int_equal(type(g, "hello"), 3);
}

static void refused_input_is_asked_for_again(void **state)
{
	struct guest *g = *state;

	type(g, "hello");
	assert_int_equal(g->env.chr.accepts, 0);
	add_rx(g, BUF, 64);
	guest_notify(g, RX);
	guest_settle(g);
	assert_int_equal(g->env.chr.accepts, 1);
}

static void buffer_that_can_t_be_written_survives(void **state)
{
	struct guest *g = *state;

	guest_add(g, RX, &(struct guest_buf){ BUF, 8, 0 }, 1);
	assert_int_equal(type(g, "hello"), 0);
	assert_false(guest_needs_reset(g));
}

static size_t written;		/* by the console, in the test below */

static void count_write(struct chardev *chr, const void *buf, size_t len)
{
	written += len;
}

static void nop(struct chardev *chr)
{
}

static const struct chardev_ops counting = {
	.write = count_write, .accept_input = nop, .destroy = nop,
};

static void endless_output_is_cut(void **state)
{
	struct guest *g = *state;

	g->env.chr.chr.ops = &counting;
	guest_add(g, TX, &(struct guest_buf){ BUF, 2 * MIB, 0 }, 1);
	guest_do(g, TX);
	assert_int_equal(written, MIB);
	assert_false(guest_needs_reset(g));
}

static void state_round_trips(void **state)
{
	struct guest *g = *state;
	struct guest *h = guest_create("godwit,virtio-console", NULL, NULL);
	struct error err = ERROR_INIT;
	size_t len, len2;
	void *a, *b;

	add_rx(g, BUF, 64);
	type(g, "hello");
	a = guest_save(g, &len);
	assert_int_equal(guest_load(h, a, &err), 0);
	b = guest_save(h, &len2);
	assert_int_equal(len, len2);
	assert_memory_equal(a, b, len);
	free(a);
	free(b);
	guest_destroy(h);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(output_reaches_the_host),
		T(input_reaches_the_guest),
		T(input_without_buffers_is_refused),
		T(input_is_taken_in_part),
		T(refused_input_is_asked_for_again),
		T(buffer_that_can_t_be_written_survives),
		T(endless_output_is_cut),
		T(state_round_trips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
