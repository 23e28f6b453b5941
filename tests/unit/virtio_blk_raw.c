/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk on a true image file: what a driver writes is in the file, and
 * the image changes hands as the device is activated and deactivated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <libfdt.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/virtio_guest.h"
#include "vmm/base/byteorder.h"

#define HEADER GUEST_DATA
#define STATUS (GUEST_DATA + 0x1000)
#define BUF (GUEST_DATA + 0x2000)
#define WRITE VRING_DESC_F_WRITE
#define FEATURES (1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_DISCARD)

struct rig {
	char path[64];
	int fd;
	struct guest *g;
};

static void props(void *fdt, void *arg)
{
	fdt_property_string(fdt, "backend", arg);
}

static struct guest *attach(struct rig *r)
{
	return guest_create("godwit,virtio-blk", props, r->path);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct error err = ERROR_INIT;

	strcpy(r->path, "/tmp/godwit-virtio-blk-XXXXXX");
	r->fd = mkstemp(r->path);
	assert_true(r->fd >= 0);
	assert_int_equal(ftruncate(r->fd, MIB), 0);
	r->g = attach(r);
	*state = r;
	if (r->g->dev->class->activate(r->g->dev, &err) == 0) {
		guest_start(r->g);
		guest_driver(r->g, FEATURES, 1);
		return 0;
	}
	/* containers may forbid io_uring */
	print_message("SKIP %s\n", err.msg);
	guest_destroy(r->g);
	r->g = NULL;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	if (r->g)
		guest_destroy(r->g);
	close(r->fd);
	unlink(r->path);
	free(r);
	return 0;
}

static bool was_used(void *arg)
{
	struct guest *g = arg;

	return guest_get16(g, g->q[0].used + 2) != g->q[0].seen;
}

static uint8_t request(struct guest *g, uint32_t type, uint64_t sector,
		       uint32_t len)
{
	struct guest_buf chain[3] = {
		{ HEADER, 16, 0 },
		{ BUF, len, type == VIRTIO_BLK_T_IN ? WRITE : 0 },
		{ STATUS, 1, WRITE },
	};
	uint8_t raw[16] = { 0 }, status = 0xee;
	uint32_t id, used;

	put_le32(raw, type);
	put_le64(raw + 8, sector);
	guest_put(g, HEADER, raw, sizeof(raw));
	if (!len)
		chain[1] = chain[2];
	guest_add(g, 0, chain, len ? 3 : 2);
	guest_notify(g, 0);
	fake_run_until(&g->env, was_used, g);
	assert_true(guest_used(g, 0, &id, &used));
	guest_get(g, STATUS, &status, 1);
	return status;
}

static void written_sectors_are_in_the_file(void **state)
{
	struct rig *r = *state;
	uint8_t data[4096], got[4096];

	if (!r->g) {
		print_message("SKIP no raw disks in this build\n");
		skip();
	}
	memset(data, 0x3c, sizeof(data));
	guest_put(r->g, BUF, data, sizeof(data));
	assert_int_equal(request(r->g, VIRTIO_BLK_T_OUT, 16, sizeof(data)),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(request(r->g, VIRTIO_BLK_T_FLUSH, 0, 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(pread(r->fd, got, sizeof(got), 16 * 512),
			 sizeof(got));
	assert_memory_equal(got, data, sizeof(got));
}

static void the_file_s_bytes_are_read(void **state)
{
	struct rig *r = *state;
	uint8_t data[1024], got[1024];

	if (!r->g) {
		print_message("SKIP no raw disks in this build\n");
		skip();
	}
	memset(data, 0x9d, sizeof(data));
	assert_int_equal(pwrite(r->fd, data, sizeof(data), 512), sizeof(data));
	assert_int_equal(request(r->g, VIRTIO_BLK_T_IN, 1, sizeof(got)),
			 VIRTIO_BLK_S_OK);
	guest_get(r->g, BUF, got, sizeof(got));
	assert_memory_equal(got, data, sizeof(got));
}

static void image_has_one_owner_at_a_time(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	struct guest *h;

	if (!r->g) {
		print_message("SKIP no raw disks in this build\n");
		skip();
	}
	h = attach(r);
	assert_true(h->dev->class->activate(h->dev, &err) < 0);
	r->g->dev->class->stop(r->g->dev);
	assert_int_equal(r->g->dev->class->deactivate(r->g->dev, &err), 0);
	assert_int_equal(h->dev->class->activate(h->dev, &err), 0);
	guest_destroy(h);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(written_sectors_are_in_the_file),
		T(the_file_s_bytes_are_read),
		T(image_has_one_owner_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
