/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk as a driver sees it, on a disk in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <libfdt.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/mem_block.h"
#include "tests/lib/virtio_guest.h"
#include "vmm/base/byteorder.h"
#include "vmm/disk.h"

#define DISK MIB
#define SECTORS (DISK / 512)
#define HEADER GUEST_DATA
#define STATUS (GUEST_DATA + 0x1000)
#define BUF (GUEST_DATA + 0x2000)
#define WRITE VRING_DESC_F_WRITE
#define F(bit) (1ull << VIRTIO_BLK_F_##bit)
#define CFG(field) offsetof(struct virtio_blk_config, field)
#define ALL (F(FLUSH) | F(CONFIG_WCE) | F(DISCARD) | F(WRITE_ZEROES))

static void props(void *fdt, void *arg)
{
	fdt_property_string(fdt, "backend", arg ? arg : "mem:1048576");
	fdt_property_string(fdt, "serial", "disk-0123");
}

static void readonly_props(void *fdt, void *arg)
{
	props(fdt, arg);
	fdt_property(fdt, "readonly", NULL, 0);
}

static void *boot(void *backend, uint64_t features)
{
	return guest_boot("godwit,virtio-blk", props, backend, features, 1);
}

static int setup(void **state)
{
	*state = boot(NULL, ALL);
	return 0;
}

static int teardown(void **state)
{
	guest_destroy(*state);
	return 0;
}

static void put_header(struct guest *g, uint32_t type, uint64_t sector)
{
	uint8_t raw[16] = { 0 };

	put_le32(raw, type);
	put_le64(raw + 8, sector);
	guest_put(g, HEADER, raw, sizeof(raw));
}

static uint8_t status_of(struct guest *g)
{
	uint8_t s;

	guest_get(g, STATUS, &s, 1);
	return s;
}

/* Make a request available; @len bytes of data at BUF, 0 for none. */
static void add(struct guest *g, uint32_t type, uint64_t sector, uint32_t len)
{
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct guest_buf chain[3] = {
		{ HEADER, 16, 0 },
		{ BUF, len, in ? WRITE : 0 },
		{ STATUS, 1, WRITE },
	};
	uint8_t none = 0xee;

	guest_put(g, STATUS, &none, 1);
	put_header(g, type, sector);
	if (!len)
		chain[1] = chain[2];
	guest_add(g, 0, chain, len ? 3 : 2);
}

static uint8_t request(struct guest *g, uint32_t type, uint64_t sector,
		       uint32_t len)
{
	add(g, type, sector, len);
	guest_do(g, 0);
	return status_of(g);
}

static uint8_t range(struct guest *g, uint32_t type, uint64_t sector,
		     uint32_t sectors, uint32_t flags)
{
	uint8_t raw[16];

	put_le64(raw, sector);
	put_le32(raw + 8, sectors);
	put_le32(raw + 12, flags);
	guest_put(g, BUF, raw, sizeof(raw));
	return request(g, type, 0, sizeof(raw));
}

static uint64_t config(struct guest *g, uint32_t offset, unsigned int len)
{
	return fake_read(&g->env.mmio, GUEST_MMIO + VIRTIO_MMIO_CONFIG +
			 offset, len);
}

static void config_tells_capacity_and_limits(void **state)
{
	struct guest *g = *state;

	assert_int_equal(config(g, 0, 4), SECTORS);
	assert_int_equal(config(g, CFG(blk_size), 4), 512);
	assert_int_equal(config(g, CFG(max_discard_seg), 4), 1);
}

static void read_brings_the_disk_s_bytes(void **state)
{
	struct guest *g = *state;
	uint8_t got[1024];

	memset(mem_block_last()->data + 3 * 512, 0x5a, 1024);
	guest_track(g);
	assert_int_equal(request(g, VIRTIO_BLK_T_IN, 3, 1024),
			 VIRTIO_BLK_S_OK);
	guest_get(g, BUF, got, sizeof(got));
	assert_memory_equal(got, mem_block_last()->data + 3 * 512, 1024);
	assert_true(guest_dirty(g, BUF));
	assert_true(guest_dirty(g, STATUS));
}

static void write_reaches_the_disk(void **state)
{
	struct guest *g = *state;
	uint8_t data[512];

	memset(data, 0xc3, sizeof(data));
	guest_put(g, BUF, data, sizeof(data));
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 7, 512),
			 VIRTIO_BLK_S_OK);
	assert_memory_equal(mem_block_last()->data + 7 * 512, data, 512);
}

static void used_length_counts_data_and_status(void **state)
{
	struct guest *g = *state;

	add(g, VIRTIO_BLK_T_IN, 0, 512);
	assert_int_equal(guest_do(g, 0), 513);
}

static void header_and_status_may_share_buffers(void **state)
{
	struct guest *g = *state;
	struct guest_buf chain[] = {	/* section 2.7.4.1: any layout */
		{ HEADER, 8, 0 }, { HEADER + 8, 8, 0 }, { BUF, 513, WRITE },
	};
	uint8_t got[513];

	memset(mem_block_last()->data, 0x77, 512);
	put_header(g, VIRTIO_BLK_T_IN, 0);
	guest_add(g, 0, chain, 3);
	guest_do(g, 0);
	guest_get(g, BUF, got, sizeof(got));
	assert_int_equal(got[511], 0x77);
	assert_int_equal(got[512], VIRTIO_BLK_S_OK);
}

static void flush_reaches_the_backend(void **state)
{
	assert_int_equal(request(*state, VIRTIO_BLK_T_FLUSH, 0, 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(mem_block_last()->count[BLOCK_FLUSH], 1);
}

static void serial_is_padded_with_zeroes(void **state)
{
	struct guest *g = *state;
	char id[20];

	assert_int_equal(request(g, VIRTIO_BLK_T_GET_ID, 0, 20),
			 VIRTIO_BLK_S_OK);
	guest_get(g, BUF, id, sizeof(id));
	assert_memory_equal(id, "disk-0123\0\0\0\0\0\0\0\0\0\0\0", 20);
}

static void discard_reaches_the_backend(void **state)
{
	assert_int_equal(range(*state, VIRTIO_BLK_T_DISCARD, 8, 8, 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(mem_block_last()->count[BLOCK_DISCARD], 1);
}

static void write_zeroes_passes_unmap_on(void **state)
{
	struct guest *g = *state;

	memset(mem_block_last()->data, 0xff, 4096);
	assert_int_equal(range(g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 4, 1),
			 VIRTIO_BLK_S_OK);
	assert_true(mem_block_last()->unmapped);
	assert_int_equal(mem_block_last()->data[2047], 0);
	assert_int_equal(mem_block_last()->data[2048], 0xff);
	assert_int_equal(range(g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 4, 0),
			 VIRTIO_BLK_S_OK);
	assert_false(mem_block_last()->unmapped);
}

static void writethrough_flushes_each_write(void **state)
{
	struct guest *g = *state;

	fake_write(&g->env.mmio, GUEST_MMIO + VIRTIO_MMIO_CONFIG + CFG(wce),
		   1, 0);
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 0, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(mem_block_last()->count[BLOCK_FLUSH], 1);
}

static void driver_without_flush_gets_writethrough(void **state)
{
	struct guest *g = boot(NULL, 0);

	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 0, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(mem_block_last()->count[BLOCK_FLUSH], 1);
	guest_destroy(g);
}

static void set_writeback(struct guest *g, uint8_t on)
{
	fake_write(&g->env.mmio, GUEST_MMIO + VIRTIO_MMIO_CONFIG + CFG(wce),
		   1, on);
}

static void writethrough_needs_no_flush_where_the_disk_can_fua(void **state)
{
	char backend[] = "mem:1048576,fua";
	struct guest *g = boot(backend, ALL);
	struct mem_block *m = mem_block_last();

	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 0, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(m->fuas, 0);
	set_writeback(g, 0);
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 0, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(m->fuas, 1);
	assert_int_equal(m->count[BLOCK_FLUSH], 0);
	/* what it can't do for zeroes */
	assert_int_equal(range(g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 4, 1),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(m->count[BLOCK_FLUSH], 1);
	set_writeback(g, 1);
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 0, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(m->fuas, 1);
	assert_int_equal(m->count[BLOCK_FLUSH], 1);
	guest_destroy(g);
}

/* The disk was not told; the guest may count on it. */
static void write_under_way_when_writeback_ends_is_flushed(void **state)
{
	char backend[] = "mem:1048576,fua";
	struct guest *g = boot(backend, ALL);
	struct mem_block *m = mem_block_last();

	m->hold = true;
	add(g, VIRTIO_BLK_T_OUT, 0, 512);
	guest_notify(g, 0);
	guest_settle(g);
	assert_int_equal(m->count[BLOCK_WRITE], 1);
	set_writeback(g, 0);
	mem_block_release(m);
	guest_settle(g);
	assert_int_equal(status_of(g), VIRTIO_BLK_S_OK);
	assert_int_equal(m->fuas, 0);
	assert_int_equal(m->count[BLOCK_FLUSH], 1);
	guest_destroy(g);
}

static void readonly_is_offered_and_kept(void **state)
{
	struct guest *g = guest_boot("godwit,virtio-blk", readonly_props, NULL,
				     F(RO), 1);

	assert_true(guest_offered(g) & F(RO));
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(mem_block_last()->count[BLOCK_WRITE], 0);
	guest_destroy(g);
}

static void bare_backend_offers_no_more_than_it_can(void **state)
{
	char backend[] = "mem:1048576,bare";
	struct guest *g = boot(backend, 0);

	assert_int_equal(guest_offered(g) & (ALL | F(RO)), 0);
	assert_int_equal(request(g, VIRTIO_BLK_T_FLUSH, 0, 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 0, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(mem_block_last()->count[BLOCK_FLUSH], 0);
	guest_destroy(g);
}

static void unknown_type_is_unsupported(void **state)
{
	assert_int_equal(request(*state, 1234, 0, 512), VIRTIO_BLK_S_UNSUPP);
}

static void discard_not_negotiated_is_unsupported(void **state)
{
	struct guest *g = boot(NULL, 0);

	assert_int_equal(range(g, VIRTIO_BLK_T_DISCARD, 0, 8, 0),
			 VIRTIO_BLK_S_UNSUPP);
	guest_destroy(g);
}

static void discard_with_unmap_is_unsupported(void **state)
{
	assert_int_equal(range(*state, VIRTIO_BLK_T_DISCARD, 0, 8, 1),
			 VIRTIO_BLK_S_UNSUPP);
}

static void requests_beyond_the_end_fail(void **state)
{
	struct guest *g = *state;

	assert_int_equal(request(g, VIRTIO_BLK_T_IN, SECTORS - 1, 1024),
			 VIRTIO_BLK_S_IOERR);
	/* 2^55 sectors are 2^64 bytes: must not wrap to the first */
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, 1ull << 55, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(g, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 8, 0),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(range(g, VIRTIO_BLK_T_WRITE_ZEROES, SECTORS - 1, 2,
			       0), VIRTIO_BLK_S_IOERR);
}

static void half_a_sector_fails(void **state)
{
	assert_int_equal(request(*state, VIRTIO_BLK_T_OUT, 0, 256),
			 VIRTIO_BLK_S_IOERR);
}

static void backend_s_error_is_told(void **state)
{
	mem_block_last()->fail = -EIO;
	assert_int_equal(request(*state, VIRTIO_BLK_T_IN, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_false(guest_needs_reset(*state));
}

static void chain_without_status_breaks_the_device(void **state)
{
	struct guest *g = *state;
	struct guest_buf chain[] = { { HEADER, 16, 0 } };

	guest_add(g, 0, chain, 1);
	guest_notify(g, 0);
	guest_settle(g);
	assert_true(guest_needs_reset(g));
}

static void chain_with_a_short_header_breaks_the_device(void **state)
{
	struct guest *g = *state;
	struct guest_buf chain[] = { { HEADER, 15, 0 }, { STATUS, 1, WRITE } };

	guest_add(g, 0, chain, 2);
	guest_notify(g, 0);
	guest_settle(g);
	assert_true(guest_needs_reset(g));
}

static void request_in_flight_is_counted(void **state)
{
	struct guest *g = *state;

	mem_block_last()->hold = true;
	add(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_notify(g, 0);
	guest_settle(g);
	assert_int_equal(g->dev->inflight, 1);
	mem_block_release(mem_block_last());
	guest_settle(g);
	assert_int_equal(g->dev->inflight, 0);
	assert_int_equal(g->env.idles, 1);
}

static void request_completes_after_stop(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	mem_block_last()->hold = true;
	add(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_notify(g, 0);
	guest_settle(g);
	g->dev->class->stop(g->dev);
	mem_block_release(mem_block_last());
	guest_settle(g);
	assert_true(guest_used(g, 0, &id, &len));
	assert_int_equal(status_of(g), VIRTIO_BLK_S_OK);
}

static void request_of_before_a_reset_is_not_told(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	mem_block_last()->hold = true;
	add(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_notify(g, 0);
	guest_settle(g);
	guest_driver(g, ALL, 1);
	mem_block_release(mem_block_last());
	guest_settle(g);
	assert_false(guest_used(g, 0, &id, &len));
	assert_int_equal(status_of(g), 0xee);
	assert_int_equal(request(g, VIRTIO_BLK_T_IN, 0, 512),
			 VIRTIO_BLK_S_OK);
}

struct watch {
	struct loop_poller poller;
	struct guest *g;
	bool done;
	uint16_t flags_done, flags_armed;	/* of the used ring */
};

static bool watch_look(void *arg)
{
	struct watch *w = arg;
	uint32_t id, len;

	if (!w->done && guest_used(w->g, 0, &id, &len)) {
		w->done = true;
		w->flags_done = guest_get16(w->g, w->g->q[0].used);
	}
	return false;
}

static bool watch_arm(void *arg)
{
	struct watch *w = arg;

	w->flags_armed = guest_get16(w->g, w->g->q[0].used);
	if (w->done)
		loop_stop(&w->g->env.loop);
	return false;
}

static void loop_that_looks_needs_no_notification(void **state)
{
	struct guest *g = *state;
	struct watch w = {
		.poller = { .look = watch_look, .arm = watch_arm, .arg = &w },
		.g = g,
	};

	g->env.loop.poll_ns = NSEC_PER_MSEC;
	loop_poller_add(&g->env.loop, &w.poller);
	add(g, VIRTIO_BLK_T_IN, 0, 512);	/* and no notification */
	loop_run(&g->env.loop);
	loop_poller_del(&w.poller);
	assert_int_equal(status_of(g), VIRTIO_BLK_S_OK);
	assert_int_equal(w.flags_done, VRING_USED_F_NO_NOTIFY);
	assert_int_equal(w.flags_armed, 0);
}

static void new_size_is_told_by_an_interrupt(void **state)
{
	struct guest *g = *state;
	struct mem_block *m = mem_block_last();
	unsigned int before = guest_pulses(g);
	uint32_t generation = guest_reg(g, VIRTIO_MMIO_CONFIG_GENERATION);

	m->blk.size /= 2;
	m->events.resized(m->events.arg);
	assert_int_equal(config(g, 0, 4), SECTORS / 2);
	assert_int_equal(guest_pulses(g), before + 1);
	assert_true(guest_reg(g, VIRTIO_MMIO_INTERRUPT_STATUS) &
		    VIRTIO_MMIO_INT_CONFIG);
	assert_int_not_equal(guest_reg(g, VIRTIO_MMIO_CONFIG_GENERATION),
			     generation);
	assert_int_equal(request(g, VIRTIO_BLK_T_IN, SECTORS / 2, 512),
			 VIRTIO_BLK_S_IOERR);
}

static void nobody(void *arg)
{
}

static void disk_made_larger_is_told_and_used(void **state)
{
	struct guest *g = *state;
	struct vm_disk *d = g->dev->class->disk(g->dev);
	unsigned int before = guest_pulses(g);
	struct error err = ERROR_INIT;

	assert_int_equal(vm_disk_resize(d, DISK + 4096, &err), 0);
	assert_int_equal(d->size, DISK + 4096);
	assert_int_equal(config(g, CFG(capacity), 4), SECTORS + 8);
	assert_int_equal(guest_pulses(g), before + 1);
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, SECTORS + 7, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, SECTORS + 8, 512),
			 VIRTIO_BLK_S_IOERR);
	/* it is so already */
	before = guest_pulses(g);
	assert_int_equal(vm_disk_resize(d, DISK + 4096, &err), 0);
	assert_int_equal(guest_pulses(g), before);
}

static void expect_no_resize(struct guest *g, uint64_t size, const char *why)
{
	struct vm_disk *d = g->dev->class->disk(g->dev);
	unsigned int before = guest_pulses(g);
	struct error err = ERROR_INIT;

	assert_true(vm_disk_resize(d, size, &err) < 0);
	assert_non_null(strstr(err.msg, why));
	assert_int_equal(config(g, CFG(capacity), 4), SECTORS);
	assert_int_equal(guest_pulses(g), before);
}

static void disk_is_not_made_smaller_nor_while_it_is_copied(void **state)
{
	struct guest *g = *state;
	struct vm_disk *d = g->dev->class->disk(g->dev);
	struct error err = ERROR_INIT;

	expect_no_resize(g, DISK - 512, "only grows");
	expect_no_resize(g, DISK + 1, "a multiple of 512");
	expect_no_resize(g, 0, "a multiple of 512");
	assert_int_equal(vm_disk_track(d, nobody, NULL, &err), 0);
	expect_no_resize(g, DISK * 2, "is being copied");
	vm_disk_untrack(d);
}

/* What was copied when it was small has no marks for the rest. */
static void disk_that_grows_while_it_is_copied_is_marked_within_bounds(void **state)
{
	struct guest *g = *state;
	struct mem_block *m = mem_block_last();
	struct vm_disk *d = g->dev->class->disk(g->dev);
	struct error err = ERROR_INIT;
	unsigned long marks[64] = { 0 };
	uint64_t first, end;

	m->blk.size /= 4;
	m->events.resized(m->events.arg);
	assert_int_equal(vm_disk_track(d, nobody, NULL, &err), 0);
	m->blk.size *= 4;
	m->events.resized(m->events.arg);
	assert_int_equal(request(g, VIRTIO_BLK_T_OUT, SECTORS - 1, 512),
			 VIRTIO_BLK_S_OK);
	vm_disk_take(d, marks, &first, &end);
	assert_true(end <= DISK / 4 / 4096);
	vm_disk_untrack(d);
}

static void lost_disk_is_reported(void **state)
{
	struct guest *g = *state;
	struct block_events *e = &mem_block_last()->events;

	g->env.log.level = 0;
	e->lost(e->arg, "gone");
	assert_int_equal(g->env.last_request, VM_REQUEST_DISK_LOST);
	e->found(e->arg);
	assert_int_equal(g->env.last_request, VM_REQUEST_DISK_FOUND);
}

static struct guest *move(struct guest *g, void *backend, struct error *err)
{
	struct guest *h = guest_create("godwit,virtio-blk", props, backend);
	size_t len;
	void *a = guest_save(g, &len);

	assert_int_equal(guest_load(h, a, err), 0);
	free(a);
	return h;
}

static void state_round_trips(void **state)
{
	struct guest *g = *state, *h;
	struct error err = ERROR_INIT;
	size_t len, len2;
	void *a, *b;

	fake_write(&g->env.mmio, GUEST_MMIO + VIRTIO_MMIO_CONFIG + CFG(wce),
		   1, 0);
	request(g, VIRTIO_BLK_T_IN, 0, 512);
	h = move(g, NULL, &err);
	a = guest_save(g, &len);
	b = guest_save(h, &len2);
	assert_int_equal(len, len2);
	assert_memory_equal(a, b, len);
	assert_int_equal(config(h, CFG(wce), 1), 0);
	free(a);
	free(b);
	guest_destroy(h);
}

static void expect_refused(struct guest *g, void *backend, const char *what)
{
	struct error err = ERROR_INIT;
	struct guest *h = move(g, backend, &err);

	assert_true(h->dev->class->activate(h->dev, &err) < 0);
	if (!strstr(err.msg, what))
		fail_msg("\"%s\" has no \"%s\"", err.msg, what);
	assert_false(mem_block_last()->blk.active);
	guest_destroy(h);
}

static void disk_of_another_size_is_refused(void **state)
{
	char backend[] = "mem:2097152";

	expect_refused(*state, backend, "2097152 bytes");
}

static void disk_that_can_t_discard_is_refused(void **state)
{
	char backend[] = "mem:1048576,bare";

	expect_refused(*state, backend, "features");
}

static void stop_props(void *fdt, void *arg)
{
	props(fdt, arg);
	fdt_property_string(fdt, "rerror", "stop");
	fdt_property_string(fdt, "werror", "report");
}

/* One request that the disk fails: is it kept? */
static bool is_kept(struct guest *g, uint32_t type, int result)
{
	uint32_t id, len;
	bool used;

	g->env.log.level = 0;
	mem_block_last()->fail = result;
	add(g, type, 2, type == VIRTIO_BLK_T_FLUSH ? 0 : 512);
	guest_notify(g, 0);
	guest_settle(g);
	used = guest_used(g, 0, &id, &len);
	assert_int_equal(g->env.last_io_error.stop, !used);
	assert_int_equal(g->dev->inflight, 0);
	assert_int_equal(status_of(g), used ? VIRTIO_BLK_S_IOERR : 0xee);
	return !used;
}

static void run_again(struct guest *g)
{
	struct error err = ERROR_INIT;

	mem_block_last()->fail = 0;
	g->dev->class->stop(g->dev);
	assert_int_equal(g->dev->class->start(g->dev, &err), 0);
	guest_settle(g);
}

static void write_to_a_full_disk_is_kept_until_the_vm_runs_again(void **state)
{
	struct guest *g = *state;
	uint8_t data[512];
	uint32_t id, len;

	memset(data, 0xc3, sizeof(data));
	guest_put(g, BUF, data, sizeof(data));
	assert_true(is_kept(g, VIRTIO_BLK_T_OUT, -ENOSPC));
	assert_true(g->env.last_io_error.nospace);
	assert_true(g->env.last_io_error.is_write);
	run_again(g);
	assert_true(guest_used(g, 0, &id, &len));
	assert_false(guest_used(g, 0, &id, &len));
	assert_int_equal(status_of(g), VIRTIO_BLK_S_OK);
	assert_memory_equal(mem_block_last()->data + 2 * 512, data, 512);
}

static void request_to_a_lost_disk_is_kept(void **state)
{
	assert_true(is_kept(*state, VIRTIO_BLK_T_IN, BLOCK_LOST));
}

static void flush_of_a_lost_disk_is_kept(void **state)
{
	assert_true(is_kept(*state, VIRTIO_BLK_T_FLUSH, BLOCK_LOST));
}

static void flush_that_failed_is_never_repeated(void **state)
{
	assert_false(is_kept(*state, VIRTIO_BLK_T_FLUSH, -ENOSPC));
}

static void each_policy_is_kept_to(void **state)
{
	struct guest *g = guest_boot("godwit,virtio-blk", stop_props, NULL,
				     ALL, 1);

	assert_false(is_kept(g, VIRTIO_BLK_T_OUT, -ENOSPC));
	assert_true(is_kept(g, VIRTIO_BLK_T_IN, -EIO));
	guest_destroy(g);
}

static void reports_come_once_a_second_at_most(void **state)
{
	struct guest *g = *state;

	for (unsigned int i = 0; i < 5; i++)
		assert_false(is_kept(g, VIRTIO_BLK_T_OUT, -EIO));
	assert_in_range(g->env.io_errors, 1, 4);
}

static void what_was_kept_is_void_after_a_reset(void **state)
{
	struct guest *g = *state;
	uint32_t id, len;

	assert_true(is_kept(g, VIRTIO_BLK_T_OUT, -ENOSPC));
	guest_driver(g, ALL, 1);
	run_again(g);
	assert_false(guest_used(g, 0, &id, &len));
	assert_int_equal(mem_block_last()->count[BLOCK_WRITE], 1);
}

static void what_was_kept_is_done_where_the_vm_arrives(void **state)
{
	struct guest *g = *state, *h;
	struct error err = ERROR_INIT;
	static uint8_t ram[GUEST_MEM];

	assert_true(is_kept(g, VIRTIO_BLK_T_OUT, -ENOSPC));
	h = move(g, NULL, &err);
	guest_get(g, 0, ram, sizeof(ram));
	guest_put(h, 0, ram, sizeof(ram));
	guest_start(h);
	guest_settle(h);
	assert_int_equal(status_of(h), VIRTIO_BLK_S_OK);
	assert_int_equal(mem_block_last()->count[BLOCK_WRITE], 1);
	/* and its queue knows that it has nothing left */
	h->q[0] = g->q[0];
	h->q[0].seen++;
	assert_int_equal(request(h, VIRTIO_BLK_T_IN, 0, 512),
			 VIRTIO_BLK_S_OK);
	guest_destroy(h);
}

/* Its memory says something else than when they were kept. */
static void kept_requests_that_make_no_sense_break_the_device(void **state)
{
	struct guest *g = *state, *h;
	struct error err = ERROR_INIT;

	assert_true(is_kept(g, VIRTIO_BLK_T_OUT, -ENOSPC));
	h = move(g, NULL, &err);
	h->env.log.level = 0;
	guest_start(h);
	guest_settle(h);
	assert_true(guest_needs_reset(h));
	guest_destroy(h);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(config_tells_capacity_and_limits),
		T(read_brings_the_disk_s_bytes),
		T(write_reaches_the_disk),
		T(used_length_counts_data_and_status),
		T(header_and_status_may_share_buffers),
		T(flush_reaches_the_backend),
		T(serial_is_padded_with_zeroes),
		T(discard_reaches_the_backend),
		T(write_zeroes_passes_unmap_on),
		T(writethrough_flushes_each_write),
		cmocka_unit_test(writethrough_needs_no_flush_where_the_disk_can_fua),
		cmocka_unit_test(write_under_way_when_writeback_ends_is_flushed),
		cmocka_unit_test(driver_without_flush_gets_writethrough),
		cmocka_unit_test(readonly_is_offered_and_kept),
		cmocka_unit_test(bare_backend_offers_no_more_than_it_can),
		T(unknown_type_is_unsupported),
		cmocka_unit_test(discard_not_negotiated_is_unsupported),
		T(discard_with_unmap_is_unsupported),
		T(requests_beyond_the_end_fail),
		T(half_a_sector_fails),
		T(write_to_a_full_disk_is_kept_until_the_vm_runs_again),
		T(request_to_a_lost_disk_is_kept),
		T(flush_of_a_lost_disk_is_kept),
		T(flush_that_failed_is_never_repeated),
		T(each_policy_is_kept_to),
		T(reports_come_once_a_second_at_most),
		T(what_was_kept_is_void_after_a_reset),
		T(what_was_kept_is_done_where_the_vm_arrives),
		T(kept_requests_that_make_no_sense_break_the_device),
		T(backend_s_error_is_told),
		T(chain_without_status_breaks_the_device),
		T(chain_with_a_short_header_breaks_the_device),
		T(request_in_flight_is_counted),
		T(request_completes_after_stop),
		T(request_of_before_a_reset_is_not_told),
		T(loop_that_looks_needs_no_notification),
		T(new_size_is_told_by_an_interrupt),
		T(disk_made_larger_is_told_and_used),
		T(disk_is_not_made_smaller_nor_while_it_is_copied),
		T(disk_that_grows_while_it_is_copied_is_marked_within_bounds),
		T(lost_disk_is_reported),
		T(state_round_trips),
		T(disk_of_another_size_is_refused),
		T(disk_that_can_t_discard_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
