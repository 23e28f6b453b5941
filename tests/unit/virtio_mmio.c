/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio-mmio registers and the rules of status, features and reset, on
 * the simplest device there is (entropy). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio.h"
#include "tests/lib/virtio_guest.h"

#define READY (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |	\
	       VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define BUFFER(bytes) &(struct guest_buf){ GUEST_DATA, bytes,		\
					   VRING_DESC_F_WRITE }, 1

static int setup(void **state)
{
	*state = guest_boot("godwit,virtio-rng", NULL, NULL, 0, 1);
	return 0;
}

static int teardown(void **state)
{
	guest_destroy(*state);
	return 0;
}

static void identity_is_virtio_mmio_2(void **state)
{
	struct guest *g = *state;

	assert_int_equal(guest_reg(g, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_DEVICE_ID), 4);
}

static void ring_features_are_offered(void **state)
{
	assert_int_equal(guest_offered(*state), 1ull << VIRTIO_F_VERSION_1 |
			 EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC);
}

static void narrow_register_access_is_unhandled(void **state)
{
	struct guest *g = *state;

	fake_read(&g->env.mmio, GUEST_MMIO, 2);
	assert_int_equal(g->env.mmio.unhandled, 1);
}

static void unknown_register_is_unhandled(void **state)
{
	struct guest *g = *state;

	guest_reg(g, 0x0d0);
	guest_set(g, 0x0d0, 1);
	assert_int_equal(g->env.mmio.unhandled, 2);
}

static void absent_queue_has_no_size(void **state)
{
	struct guest *g = *state;

	guest_set(g, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	guest_set(g, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_false(guest_needs_reset(g));
}

static void absent_shared_memory_reads_as_ones(void **state)
{
	assert_int_equal(guest_reg(*state, VIRTIO_MMIO_SHM_LEN_LOW),
			 UINT32_MAX);
}

static uint32_t negotiate(struct guest *g, uint64_t features)
{
	uint32_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	guest_set(g, VIRTIO_MMIO_STATUS, 0);
	for (uint32_t i = 0; i < 2; i++) {
		guest_set(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		guest_set(g, VIRTIO_MMIO_DRIVER_FEATURES,
			  (uint32_t)(features >> (32 * i)));
	}
	guest_set(g, VIRTIO_MMIO_STATUS, s | VIRTIO_CONFIG_S_FEATURES_OK);
	return guest_reg(g, VIRTIO_MMIO_STATUS);
}

static void feature_not_offered_is_refused(void **state)
{
	assert_false(negotiate(*state, 1ull << VIRTIO_F_VERSION_1 | 1) &
		     VIRTIO_CONFIG_S_FEATURES_OK);
}

static void legacy_driver_is_refused(void **state)
{
	assert_false(negotiate(*state, 0) & VIRTIO_CONFIG_S_FEATURES_OK);
}

static void driver_ok_needs_features_ok(void **state)
{
	struct guest *g = *state;

	guest_set(g, VIRTIO_MMIO_STATUS, 0);
	guest_set(g, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_STATUS), 0);
}

static void features_are_fixed_after_features_ok(void **state)
{
	struct guest *g = *state;
	struct virtio_device *v = container_of(g->dev, struct virtio_device,
					       dev);
	uint64_t before = v->driver_features;

	guest_set(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	guest_set(g, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
	assert_int_equal(v->driver_features, before);
}

static void reset_forgets_everything(void **state)
{
	struct guest *g = *state;

	guest_add(g, 0, BUFFER(16));
	guest_do(g, 0);
	guest_set(g, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void device_works_again_after_reset(void **state)
{
	struct guest *g = *state;

	guest_offer(g, 0, GUEST_QUEUE_SIZE);	/* no such descriptor */
	guest_notify(g, 0);
	guest_settle(g);
	assert_true(guest_needs_reset(g));
	guest_driver(g, 0, 1);
	guest_add(g, 0, BUFFER(16));
	assert_int_equal(guest_do(g, 0), 16);
}

static void broken_queue_asks_for_a_reset(void **state)
{
	struct guest *g = *state;
	unsigned int before = guest_pulses(g);

	guest_offer(g, 0, GUEST_QUEUE_SIZE);
	guest_notify(g, 0);
	guest_settle(g);
	assert_true(guest_needs_reset(g));
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(guest_pulses(g), before + 1);
}

static void queue_outside_memory_asks_for_a_reset(void **state)
{
	struct guest *g = *state;

	guest_set(g, VIRTIO_MMIO_QUEUE_SEL, 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_READY, 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_DESC_HIGH, 1);
	guest_set(g, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_true(guest_needs_reset(g));
}

static void queue_of_a_bad_size_asks_for_a_reset(void **state)
{
	struct guest *g = *state;

	guest_set(g, VIRTIO_MMIO_QUEUE_SEL, 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_READY, 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_NUM, 0x10010);
	guest_set(g, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_true(guest_needs_reset(g));
}

static void queue_in_use_keeps_its_address(void **state)
{
	struct guest *g = *state;

	guest_set(g, VIRTIO_MMIO_QUEUE_SEL, 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_USED_LOW, 0);
	guest_add(g, 0, BUFFER(16));
	assert_int_equal(guest_do(g, 0), 16);
}

static void nothing_is_served_before_driver_ok(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	guest_driver(g, 0, 1);
	guest_set(g, VIRTIO_MMIO_STATUS, 0);
	negotiate(g, 1ull << VIRTIO_F_VERSION_1);
	guest_add(g, 0, BUFFER(16));
	guest_notify(g, 0);
	guest_settle(g);
	assert_false(guest_used(g, 0, &id, &len));
}

static void nothing_is_served_after_stop(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	g->dev->class->stop(g->dev);
	guest_add(g, 0, BUFFER(16));
	guest_notify(g, 0);
	guest_settle(g);
	assert_false(guest_used(g, 0, &id, &len));
}

static void start_looks_at_the_queues_again(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	g->dev->class->stop(g->dev);
	guest_add(g, 0, BUFFER(16));
	guest_notify(g, 0);
	guest_settle(g);		/* the notification is gone */
	guest_start(g);
	guest_settle(g);
	assert_true(guest_used(g, 0, &id, &len));
}

static void start_repeats_an_interrupt_not_acknowledged(void **state)
{
	struct guest *g = *state;
	unsigned int before;

	guest_add(g, 0, BUFFER(16));
	guest_do(g, 0);
	before = guest_pulses(g);
	g->dev->class->stop(g->dev);
	guest_start(g);
	assert_int_equal(guest_pulses(g), before + 1);
}

static void interrupt_is_acknowledged_bit_by_bit(void **state)
{
	struct guest *g = *state;

	guest_add(g, 0, BUFFER(16));
	guest_do(g, 0);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_VRING);
	guest_set(g, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_VRING);
	guest_set(g, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(guest_reg(g, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void event_index_suppresses_interrupts(void **state)
{
	struct guest *g = *state;
	unsigned int before;

	guest_driver(g, EVENT_IDX, 1);
	guest_settle(g);
	before = guest_pulses(g);
	guest_put16(g, g->q[0].avail + 4 + 2 * GUEST_QUEUE_SIZE, 1);
	guest_add(g, 0, BUFFER(16));
	guest_do(g, 0);
	assert_int_equal(guest_pulses(g), before);
	guest_add(g, 0, BUFFER(16));
	guest_do(g, 0);
	assert_int_equal(guest_pulses(g), before + 1);
}

static void config_beyond_its_end_is_unhandled(void **state)
{
	struct guest *g = *state;

	fake_read(&g->env.mmio, GUEST_MMIO + VIRTIO_MMIO_CONFIG +
		  VIRTIO_CONFIG_BYTES - 2, 4);
	assert_int_equal(g->env.mmio.unhandled, 1);
}

static void entropy_fills_the_buffer(void **state)
{
	struct guest *g = *state;
	uint8_t a[64], zeroes[64] = { 0 };

	guest_track(g);
	guest_add(g, 0, BUFFER(64));
	assert_int_equal(guest_do(g, 0), 64);
	guest_get(g, GUEST_DATA, a, sizeof(a));
	assert_memory_not_equal(a, zeroes, sizeof(a));
	assert_true(guest_dirty(g, GUEST_DATA));
}

static void long_entropy_buffer_is_filled_in_part(void **state)
{
	struct guest *g = *state;

	guest_add(g, 0, BUFFER(MIB));
	assert_int_equal(guest_do(g, 0), 4096);
}

static void entropy_buffer_that_is_only_readable_survives(void **state)
{
	struct guest *g = *state;

	guest_add(g, 0, &(struct guest_buf){ GUEST_DATA, 16, 0 }, 1);
	assert_int_equal(guest_do(g, 0), 0);
	assert_false(guest_needs_reset(g));
}

static void state_round_trips(void **state)
{
	struct guest *g = *state;
	struct guest *h = guest_create("godwit,virtio-rng", NULL, NULL);
	struct error err = ERROR_INIT;
	size_t len, len2;
	void *a, *b;

	guest_add(g, 0, BUFFER(16));
	guest_do(g, 0);
	a = guest_save(g, &len);
	assert_int_equal(guest_load(h, a, &err), 0);
	b = guest_save(h, &len2);
	assert_int_equal(len, len2);
	assert_memory_equal(a, b, len);
	free(a);
	free(b);
	guest_destroy(h);
}

static void loaded_device_goes_on_where_it_was(void **state)
{
	struct guest *g = *state;
	struct guest *h = guest_create("godwit,virtio-rng", NULL, NULL);
	struct error err = ERROR_INIT;
	uint32_t id, used;
	size_t len;
	void *a;

	guest_add(g, 0, BUFFER(16));
	guest_do(g, 0);
	guest_add(g, 0, BUFFER(24));		/* not served any more */
	a = guest_save(g, &len);
	guest_put(h, 0, memory_ptr(&g->env.mem, 0, GUEST_MEM), GUEST_MEM);
	memcpy(h->q, g->q, sizeof(h->q));
	assert_int_equal(guest_load(h, a, &err), 0);
	guest_start(h);
	guest_settle(h);
	assert_true(guest_used(h, 0, &id, &used));
	assert_int_equal(used, 24);
	free(a);
	guest_destroy(h);
}

static void loaded_queue_outside_memory_asks_for_a_reset(void **state)
{
	struct guest *g = *state;
	struct virtio_device *v = container_of(g->dev, struct virtio_device,
					       dev);
	struct error err = ERROR_INIT;
	size_t len;
	void *a;

	v->queue[0].driver = UINT64_MAX - 1;
	a = guest_save(g, &len);
	assert_int_equal(guest_load(g, a, &err), 0);
	guest_start(g);
	guest_settle(g);
	assert_true(guest_needs_reset(g));
	free(a);
}

/* Save with a member changed, and expect a refusal that names it. */
static void expect_refused(struct guest *g, const char *what)
{
	struct error err = ERROR_INIT;
	size_t len;
	void *a = guest_save(g, &len);

	assert_true(guest_load(g, a, &err) < 0);
	if (!strstr(err.msg, what))
		fail_msg("\"%s\" has no \"%s\"", err.msg, what);
	free(a);
}

static void queue_size_of_no_power_of_two_is_refused(void **state)
{
	struct guest *g = *state;

	container_of(g->dev, struct virtio_device, dev)->queue[0].size = 3;
	expect_refused(g, "queue size");
}

static void queue_size_over_the_limit_is_refused(void **state)
{
	struct guest *g = *state;

	container_of(g->dev, struct virtio_device, dev)->queue[0].size = 128;
	expect_refused(g, "limit 64");
}

static void feature_that_is_lacking_is_refused(void **state)
{
	struct guest *g = *state;

	container_of(g->dev, struct virtio_device, dev)->driver_features |=
		1ull << 50;
	expect_refused(g, "features");
}

static void impossible_status_is_refused(void **state)
{
	struct guest *g = *state;

	container_of(g->dev, struct virtio_device, dev)->status = READY | 0x10;
	expect_refused(g, "status");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(identity_is_virtio_mmio_2),
		T(ring_features_are_offered),
		T(narrow_register_access_is_unhandled),
		T(unknown_register_is_unhandled),
		T(absent_queue_has_no_size),
		T(absent_shared_memory_reads_as_ones),
		T(feature_not_offered_is_refused),
		T(legacy_driver_is_refused),
		T(driver_ok_needs_features_ok),
		T(features_are_fixed_after_features_ok),
		T(reset_forgets_everything),
		T(device_works_again_after_reset),
		T(broken_queue_asks_for_a_reset),
		T(queue_outside_memory_asks_for_a_reset),
		T(queue_of_a_bad_size_asks_for_a_reset),
		T(queue_in_use_keeps_its_address),
		T(nothing_is_served_before_driver_ok),
		T(nothing_is_served_after_stop),
		T(start_looks_at_the_queues_again),
		T(start_repeats_an_interrupt_not_acknowledged),
		T(interrupt_is_acknowledged_bit_by_bit),
		T(event_index_suppresses_interrupts),
		T(config_beyond_its_end_is_unhandled),
		T(entropy_fills_the_buffer),
		T(long_entropy_buffer_is_filled_in_part),
		T(entropy_buffer_that_is_only_readable_survives),
		T(state_round_trips),
		T(loaded_device_goes_on_where_it_was),
		T(loaded_queue_outside_memory_asks_for_a_reset),
		T(queue_size_of_no_power_of_two_is_refused),
		T(queue_size_over_the_limit_is_refused),
		T(feature_that_is_lacking_is_refused),
		T(impossible_status_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
