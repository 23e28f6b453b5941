/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net as a driver sees it, on a network in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libfdt.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fake_net.h"
#include "tests/lib/virtio_guest.h"
#include "vmm/base/byteorder.h"

#define BUF GUEST_DATA
#define WRITE VRING_DESC_F_WRITE
#define F(bit) (1ull << VIRTIO_NET_F_##bit)
#define BASE (F(MAC) | F(STATUS) | F(CTRL_VQ) | F(GUEST_ANNOUNCE))
#define OFFLOADS (F(CSUM) | F(GUEST_CSUM) | F(HOST_TSO4) | F(HOST_TSO6) | \
		  F(GUEST_TSO4) | F(GUEST_TSO6))
enum { RX, TX, CTRL, QUEUES };

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

static void props(void *fdt, void *arg)
{
	fdt_property_string(fdt, "backend", arg ? arg : "fake:");
	fdt_property(fdt, "mac", mac, sizeof(mac));
	fdt_property_u32(fdt, "mtu", 1400);
}

static void *boot(void *backend, uint64_t features)
{
	return guest_boot("godwit,virtio-net", props, backend, features,
			  QUEUES);
}

static int setup(void **state)
{
	*state = boot(NULL, BASE);
	return 0;
}

static int setup_merge(void **state)
{
	*state = boot(NULL, BASE | F(MRG_RXBUF));
	return 0;
}

static int setup_offload(void **state)
{
	char backend[] = "fake:offload";

	*state = boot(backend, BASE | OFFLOADS);
	return 0;
}

static int teardown(void **state)
{
	guest_destroy(*state);
	return 0;
}

static uint64_t config(struct guest *g, uint32_t offset, unsigned int len)
{
	return fake_read(&g->env.mmio, GUEST_MMIO + VIRTIO_MMIO_CONFIG +
			 offset, len);
}

/* The i-th receive buffer: a page of its own. */
static void add_rx(struct guest *g, unsigned int i, uint32_t len)
{
	guest_add(g, RX, &(struct guest_buf){ BUF + 0x1000 * i, len, WRITE },
		  1);
}

static void deliver(struct guest *g, size_t len)
{
	uint8_t *frame = malloc(len);

	memset(frame, 0, NET_HDR_BYTES);
	for (size_t i = NET_HDR_BYTES; i < len; i++)
		frame[i] = (uint8_t)i;
	fake_net_deliver(fake_net_last(), frame, len);
	free(frame);
	guest_settle(g);
}

static void send(struct guest *g, uint32_t len)
{
	guest_add(g, TX, &(struct guest_buf){ BUF, len, 0 }, 1);
	guest_notify(g, TX);
	guest_settle(g);
}

static void config_tells_mac_status_and_mtu(void **state)
{
	struct guest *g = *state;

	assert_int_equal(config(g, 0, 1), mac[0]);
	assert_int_equal(config(g, 5, 1), mac[5]);
	assert_int_equal(config(g, 6, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(config(g, 10, 2), 1400);
}

static void frame_is_sent_with_its_header(void **state)
{
	struct guest *g = *state;
	uint8_t frame[72];
	uint32_t id, len;

	memset(frame, 0xa1, sizeof(frame));
	guest_put(g, BUF, frame, sizeof(frame));
	send(g, sizeof(frame));
	assert_int_equal(fake_net_last()->sent_len, sizeof(frame));
	assert_memory_equal(fake_net_last()->sent, frame, sizeof(frame));
	assert_true(guest_used(g, TX, &id, &len));
	assert_int_equal(len, 0);
}

static void busy_backend_keeps_the_frame_in_the_queue(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	fake_net_last()->busy = true;
	send(g, 72);
	assert_false(guest_used(g, TX, &id, &len));
	fake_net_unblock(fake_net_last());
	guest_settle(g);
	assert_true(guest_used(g, TX, &id, &len));
	assert_int_equal(fake_net_last()->nsent, 1);
}

static void busy_backend_is_watched_again_after_a_stop(void **state)
{
	struct guest *g = *state;
	struct error err = ERROR_INIT;

	fake_net_last()->busy = true;
	send(g, 72);
	assert_true(fake_net_last()->write);
	g->dev->class->stop(g->dev);
	assert_false(fake_net_last()->write);
	assert_int_equal(g->dev->class->start(g->dev, &err), 0);
	guest_settle(g);
	assert_true(fake_net_last()->write);
}

static void frame_without_a_body_is_dropped(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	send(g, NET_HDR_BYTES);
	assert_int_equal(fake_net_last()->nsent, 0);
	assert_true(guest_used(g, TX, &id, &len));
	assert_false(guest_needs_reset(g));
}

static void frame_longer_than_any_is_dropped(void **state)
{
	struct guest *g = *state;

	send(g, MIB);
	assert_int_equal(fake_net_last()->nsent, 0);
}

static void frame_is_received_in_one_buffer(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;
	uint8_t got[100];

	add_rx(g, 0, 2000);
	guest_notify(g, RX);
	guest_settle(g);
	guest_track(g);
	deliver(g, 100);
	assert_true(guest_used(g, RX, &id, &len));
	assert_int_equal(len, 100);
	guest_get(g, BUF, got, sizeof(got));
	assert_int_equal(get_le16(got + 10), 1);	/* num_buffers */
	assert_int_equal(got[99], 99);
	assert_true(guest_dirty(g, BUF));
}

static void frame_waits_for_a_buffer(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	deliver(g, 100);
	assert_int_equal(fake_net_last()->nrx, 1);
	add_rx(g, 0, 2000);
	guest_notify(g, RX);
	guest_settle(g);
	assert_true(guest_used(g, RX, &id, &len));
}

static void backend_is_not_polled_without_buffers(void **state)
{
	struct guest *g = *state;

	assert_false(fake_net_last()->read);
	add_rx(g, 0, 2000);
	guest_notify(g, RX);
	guest_settle(g);
	assert_true(fake_net_last()->read);
	deliver(g, 100);
	assert_false(fake_net_last()->read);
}

static void backend_is_not_polled_after_stop(void **state)
{
	struct guest *g = *state;

	add_rx(g, 0, 2000);
	guest_notify(g, RX);
	guest_settle(g);
	g->dev->class->stop(g->dev);
	assert_false(fake_net_last()->read);
}

/* Its queues may lie in memory that has yet to come. */
static void start_looks_at_queues_in_the_loop_s_turn(void **state)
{
	struct guest *g = *state;
	struct error err = ERROR_INIT;

	add_rx(g, 0, 2000);
	guest_notify(g, RX);
	guest_settle(g);
	g->dev->class->stop(g->dev);
	assert_int_equal(g->dev->class->start(g->dev, &err), 0);
	assert_false(fake_net_last()->read);
	guest_settle(g);
	assert_true(fake_net_last()->read);
}

static void frame_too_long_for_its_buffer_is_dropped(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	add_rx(g, 0, 64);
	guest_notify(g, RX);
	guest_settle(g);
	deliver(g, 100);
	assert_false(guest_used(g, RX, &id, &len));
	deliver(g, 60);		/* the buffer is still good for this one */
	assert_true(guest_used(g, RX, &id, &len));
	assert_int_equal(len, 60);
}

static void long_frame_takes_several_buffers(void **state)
{
	struct guest *g = *state;
	uint32_t id, len, sum = 0;

	for (unsigned int i = 0; i < 4; i++)
		add_rx(g, i, 1000);
	guest_notify(g, RX);
	guest_settle(g);
	deliver(g, 2500);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(guest_used(g, RX, &id, &len));
		assert_int_equal(id, i);
		sum += len;
	}
	assert_int_equal(sum, 2500);
	assert_false(guest_used(g, RX, &id, &len));
	assert_int_equal(guest_get16(g, BUF + 10), 3);
}

static void long_frame_waits_for_all_its_buffers(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	add_rx(g, 0, 1000);
	guest_notify(g, RX);
	guest_settle(g);
	deliver(g, 1500);
	assert_false(guest_used(g, RX, &id, &len));
	add_rx(g, 1, 1000);
	guest_notify(g, RX);
	guest_settle(g);
	assert_true(guest_used(g, RX, &id, &len));
	assert_int_equal(id, 0);
	assert_int_equal(guest_get16(g, BUF + 10), 2);
}

static void frame_that_no_buffers_can_hold_is_dropped(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	for (unsigned int i = 0; i < GUEST_QUEUE_SIZE; i++)
		add_rx(g, i, 16);
	guest_notify(g, RX);
	guest_settle(g);
	deliver(g, 2500);
	assert_false(guest_used(g, RX, &id, &len));
	deliver(g, 40);
	assert_true(guest_used(g, RX, &id, &len));
}

static void frame_that_waits_is_forgotten_by_a_reset(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	add_rx(g, 0, 1000);
	guest_notify(g, RX);
	guest_settle(g);
	deliver(g, 1500);
	guest_driver(g, BASE, QUEUES);
	add_rx(g, 0, 2000);
	guest_notify(g, RX);
	guest_settle(g);
	assert_false(guest_used(g, RX, &id, &len));
}

static void offloads_are_offered_where_there_are_some(void **state)
{
	struct guest *g = boot(NULL, BASE);

	assert_int_equal(guest_offered(*state) & OFFLOADS, OFFLOADS);
	assert_int_equal(guest_offered(g) & OFFLOADS, 0);
	guest_destroy(g);
}

static void offloads_reach_the_backend_before_a_frame(void **state)
{
	struct guest *g = *state;

	add_rx(g, 0, 2000);
	guest_notify(g, RX);
	guest_settle(g);
	assert_true(fake_net_last()->csum);
	assert_true(fake_net_last()->tso4);
	guest_driver(g, BASE, QUEUES);
	add_rx(g, 0, 2000);
	guest_notify(g, RX);
	guest_settle(g);
	assert_false(fake_net_last()->csum);
}

static void announcement_is_sent_and_asked_for(void **state)
{
	struct guest *g = *state;
	static const uint8_t head[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2, 3,
		0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3, 0x52, 0x54, 0, 1, 2, 3,
	};
	unsigned int before = guest_pulses(g);

	g->dev->class->announce(g->dev, 0);
	assert_int_equal(fake_net_last()->nsent, 1);
	assert_int_equal(fake_net_last()->sent_len, NET_HDR_BYTES + 60);
	assert_memory_equal(fake_net_last()->sent + NET_HDR_BYTES, head,
			    sizeof(head));
	assert_int_equal(config(g, 6, 2),
			 VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(guest_pulses(g), before + 1);
}

static uint8_t control(struct guest *g, uint8_t class, uint8_t cmd)
{
	struct guest_buf chain[] = { { BUF, 2, 0 }, { BUF + 16, 1, WRITE } };
	uint8_t bytes[2] = { class, cmd }, ack = 0xee;

	guest_put(g, BUF, bytes, 2);
	guest_put(g, BUF + 16, &ack, 1);
	guest_add(g, CTRL, chain, 2);
	assert_int_equal(guest_do(g, CTRL), 1);
	guest_get(g, BUF + 16, &ack, 1);
	return ack;
}

static void announcement_is_acknowledged(void **state)
{
	struct guest *g = *state;

	g->dev->class->announce(g->dev, 0);
	assert_int_equal(control(g, VIRTIO_NET_CTRL_ANNOUNCE,
				 VIRTIO_NET_CTRL_ANNOUNCE_ACK), VIRTIO_NET_OK);
	assert_int_equal(config(g, 6, 2), VIRTIO_NET_S_LINK_UP);
}

static void unknown_command_is_an_error(void **state)
{
	assert_int_equal(control(*state, 77, 0), VIRTIO_NET_ERR);
}

static void state_round_trips(void **state)
{
	struct guest *g = *state;
	struct guest *h = guest_create("godwit,virtio-net", props, NULL);
	struct error err = ERROR_INIT;
	size_t len, len2;
	void *a, *b;

	g->dev->class->announce(g->dev, 0);
	a = guest_save(g, &len);
	assert_int_equal(guest_load(h, a, &err), 0);
	b = guest_save(h, &len2);
	assert_int_equal(len, len2);
	assert_memory_equal(a, b, len);
	assert_true(config(h, 6, 2) & VIRTIO_NET_S_ANNOUNCE);
	free(a);
	free(b);
	guest_destroy(h);
}

static void backend_without_the_offloads_is_refused(void **state)
{
	struct guest *g = *state;
	struct guest *h = guest_create("godwit,virtio-net", props, NULL);
	struct error err = ERROR_INIT;
	size_t len;
	void *a = guest_save(g, &len);

	assert_true(guest_load(h, a, &err) < 0);
	assert_non_null(strstr(err.msg, "features"));
	free(a);
	guest_destroy(h);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TM(name) cmocka_unit_test_setup_teardown(name, setup_merge, teardown)
#define TO(name) cmocka_unit_test_setup_teardown(name, setup_offload, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(config_tells_mac_status_and_mtu),
		T(frame_is_sent_with_its_header),
		T(busy_backend_keeps_the_frame_in_the_queue),
		T(busy_backend_is_watched_again_after_a_stop),
		T(frame_without_a_body_is_dropped),
		T(frame_longer_than_any_is_dropped),
		T(frame_is_received_in_one_buffer),
		T(frame_waits_for_a_buffer),
		T(backend_is_not_polled_without_buffers),
		T(backend_is_not_polled_after_stop),
		T(start_looks_at_queues_in_the_loop_s_turn),
		T(frame_too_long_for_its_buffer_is_dropped),
		TM(long_frame_takes_several_buffers),
		TM(long_frame_waits_for_all_its_buffers),
		TM(frame_that_no_buffers_can_hold_is_dropped),
		TM(frame_that_waits_is_forgotten_by_a_reset),
		TO(offloads_are_offered_where_there_are_some),
		TO(offloads_reach_the_backend_before_a_frame),
		T(announcement_is_sent_and_asked_for),
		T(announcement_is_acknowledged),
		T(unknown_command_is_an_error),
		T(state_round_trips),
		TO(backend_without_the_offloads_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
