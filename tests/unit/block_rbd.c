/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RBD disks: URIs; and against a real Ceph if GODWIT_CEPH_CONF names its
 * ceph.conf, as tests/migrate/rbd.py does. Images are made by the rbd command.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/disk.h"

#define SIZE (8 * MIB)

struct rig {
	struct disk d;
	char uri[256];
};

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	disk_init(&r->d);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	disk_exit(&r->d);
	free(r);
	return 0;
}

static void need_ceph(void)
{
	if (getenv("GODWIT_CEPH_CONF"))
		return;
	print_message("SKIP GODWIT_CEPH_CONF names no Ceph\n");
	skip();
}

static void command(const char *cmd)
{
	if (system(cmd))
		fail_msg("%s", cmd);
}

static void make_image(const char *name)
{
	char cmd[128];

	need_ceph();
	snprintf(cmd, sizeof(cmd), "rbd create --size 8M %s", name);
	command(cmd);
}

static int try_open(struct rig *r, const char *image, bool readonly,
		    uint64_t size, struct error *err)
{
	struct block_options opt = {
		.uri = r->uri, .readonly = readonly, .size = size
	};

	snprintf(r->uri, sizeof(r->uri), "rbd:rbd/%s:conf=%s", image,
		 getenv("GODWIT_CEPH_CONF"));
	if (disk_open(&r->d, &opt, err))
		return -err->code;
	return block_activate(r->d.blk, err);
}

static void open_image(struct rig *r, const char *image)
{
	struct error err = ERROR_INIT;

	if (try_open(r, image, false, 0, &err))
		fail_msg("%s", err.msg);
}

/* -- without Ceph */

static void check_wrong(struct rig *r, const char *uri, const char *why)
{
	struct block_options opt = { .uri = uri };
	struct error err = ERROR_INIT;

	assert_int_not_equal(disk_open(&r->d, &opt, &err), 0);
	if (!strstr(err.msg, why))
		fail_msg("%s", err.msg);
}

static void a_wrong_uri_is_explained(void **state)
{
	static const char *const wrong[] = {
		"rbd:", "rbd:pool", "rbd:pool/", "rbd:/image", "rbd:a/b/c/d",
		"rbd:pool/image@", "rbd:pool/ns/", "rbd::id=x",
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		check_wrong(*state, wrong[i], "an image is written");
}

static void a_wrong_setting_is_explained(void **state)
{
	check_wrong(*state, "rbd:p/i:conf", "'conf' is not key=value");
	check_wrong(*state, "rbd:p/i:lock=take", "lock=break");
	check_wrong(*state, "rbd:p/i:conf=/nonexistent/ceph\\:conf",
		    "cannot read /nonexistent/ceph:conf");
}

static void a_secret_on_the_command_line_is_refused(void **state)
{
	check_wrong(*state, "rbd:p/i:key=SECRET", "use keyring=FILE");
}

/* -- with Ceph */

static void fill(uint8_t *buf, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

static void it_keeps_bytes(void **state)
{
	static uint8_t out[256 * KIB], in[256 * KIB];
	struct rig *r = *state;
	struct disk *d = &r->d;

	make_image("bytes");
	open_image(r, "bytes");
	fill(out, sizeof(out), 1);
	assert_int_equal(d->blk->size, SIZE);
	assert_int_equal(disk_do(d, BLOCK_WRITE, 4096, out, sizeof(out)), 0);
	assert_int_equal(disk_do(d, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(disk_do(d, BLOCK_READ, 4096, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
}

static void zeroes_and_a_discarded_object_read_as_zeroes(void **state)
{
	static uint8_t out[8 * MIB], in[8 * MIB];
	struct rig *r = *state;
	struct disk *d = &r->d;

	make_image("zeroes");
	open_image(r, "zeroes");
	memset(out, 0xff, sizeof(out));
	assert_int_equal(disk_do(d, BLOCK_WRITE, 0, out, SIZE), 0);
	assert_int_equal(disk_do(d, BLOCK_WRITE_ZEROES, 512, NULL, 1024), 0);
	assert_int_equal(disk_do(d, BLOCK_DISCARD, 4 * MIB, NULL, 4 * MIB), 0);
	assert_int_equal(disk_do(d, BLOCK_READ, 0, in, SIZE), 0);
	memset(out + 512, 0, 1024);
	memset(out + 4 * MIB, 0, 4 * MIB);
	assert_memory_equal(in, out, SIZE);
}

static void many_requests_at_once_are_each_done_once(void **state)
{
	static uint8_t buf[64][4096], in[4096];
	static struct disk_io io[64];
	struct rig *r = *state;

	make_image("many");
	open_image(r, "many");
	for (unsigned int i = 0; i < 64; i++) {
		fill(buf[i], sizeof(buf[i]), i);
		disk_submit(&r->d, &io[i], BLOCK_WRITE, i * 4096, buf[i],
			    4096);
	}
	for (unsigned int i = 0; i < 64; i++)
		assert_int_equal(disk_wait(&r->d, &io[i]), 0);
	for (unsigned int i = 0; i < 64; i++) {
		assert_int_equal(disk_do(&r->d, BLOCK_READ, i * 4096, in,
					 4096), 0);
		assert_memory_equal(in, buf[i], 4096);
	}
}

static void what_one_holder_wrote_the_next_reads(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	uint8_t out[512], in[512];
	struct disk next;
	struct block_options opt = { .uri = r->uri };

	make_image("next");
	open_image(r, "next");
	fill(out, 512, 3);
	disk_init(&next);
	assert_int_equal(disk_open(&next, &opt, &err), 0);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, out, 512), 0);
	assert_int_equal(block_deactivate(r->d.blk, &err), 0);
	assert_int_equal(block_activate(next.blk, &err), 0);
	assert_int_equal(disk_do(&next, BLOCK_READ, 0, in, 512), 0);
	assert_memory_equal(in, out, 512);
	disk_exit(&next);
}

static void a_lock_that_is_held_is_refused_with_its_holder(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	struct block_options opt = { .uri = r->uri };
	struct disk second;
	uint8_t buf[512] = { 1 };

	make_image("held");
	open_image(r, "held");
	disk_init(&second);
	assert_int_equal(disk_open(&second, &opt, &err), 0);
	assert_int_equal(block_activate(second.blk, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "in use by client."));
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, buf, 512), 0);
	disk_exit(&second);
}

static void who_was_shut_out_can_t_write(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	char uri[300];
	struct block_options opt = { .uri = uri };
	struct disk second;
	uint8_t out[512] = { 1 }, in[512];

	make_image("fence");
	open_image(r, "fence");
	snprintf(uri, sizeof(uri), "%s:lock=break", r->uri);
	disk_init(&second);
	second.log.level = 0;
	r->d.log.level = 0;
	assert_int_equal(disk_open(&second, &opt, &err), 0);
	if (block_activate(second.blk, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(disk_do(&second, BLOCK_WRITE, 0, out, 512), 0);
	memset(out, 2, 512);
	assert_int_not_equal(disk_do(&r->d, BLOCK_WRITE, 0, out, 512), 0);
	assert_int_equal(r->d.lost, 1);
	assert_int_equal(disk_do(&second, BLOCK_READ, 0, in, 512), 0);
	assert_int_equal(in[0], 1);
	disk_exit(&second);
}

static bool has_grown(void *arg)
{
	struct rig *r = arg;

	return r->d.blk->size == 2 * SIZE;
}

static void a_new_size_is_seen(void **state)
{
	struct rig *r = *state;

	make_image("grow");
	open_image(r, "grow");
	command("rbd resize --no-progress --size 16M grow");
	disk_until(&r->d, has_grown, r);
}

static void an_image_grows_and_is_used_to_its_end(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	uint8_t buf[512] = { 3 };
	uint64_t start;

	make_image("larger");
	open_image(r, "larger");
	start = now_ns();
	assert_int_equal(block_resize(r->d.blk, 2 * SIZE, &err), 0);
	print_message("# in %llu us\n",
		      (unsigned long long)(now_ns() - start) / 1000);
	assert_int_equal(r->d.blk->size, 2 * SIZE);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 2 * SIZE - 512, buf, 512),
			 0);
	/* by others meanwhile */
	command("rbd resize --no-progress --size 32M larger");
	assert_true(block_resize(r->d.blk, 3 * SIZE, &err) < 0);
}

/* Of objects of 4 MiB, where whole objects are told, and smaller ones. */
static void an_image_tells_its_holes(void **state)
{
	struct rig *r = *state;
	char map[2 * 64 + 1], want[2 * 64 + 1] = { 0 };
	uint8_t buf[512] = { 7 };

	make_image("holes");
	open_image(r, "holes");
	memset(want, '.', 128);
	assert_string_equal(disk_map(&r->d, map), want);
	/* not flushed: librbd may still have it */
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 6 * MIB, buf, 512), 0);
	memset(want + 64, '#', 64);
	assert_string_equal(disk_map(&r->d, map), want);
	command("rbd snap create --no-progress holes@then");
	assert_int_equal(disk_do(&r->d, BLOCK_DISCARD, 4 * MIB, NULL, 4 * MIB),
			 0);
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, buf, 512), 0);
	disk_map(&r->d, map);
	assert_int_equal(map[0], '#');
}

static void without_an_object_map_it_tells_them_too(void **state)
{
	struct rig *r = *state;
	uint8_t buf[512] = { 7 };
	char map[2 * 64 + 1];

	need_ceph();
	command("rbd create --size 8M --image-feature layering,exclusive-lock "
		"--object-size 1M --stripe-unit 64K --stripe-count 3 slow");
	open_image(r, "slow");
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 64 * KIB, buf, 512), 0);
	disk_map(&r->d, map);
	assert_int_equal(map[0], '.');
	assert_int_equal(map[1], '#');
	assert_int_equal(map[127], '.');
}

static void a_disk_can_be_closed_while_it_looks_for_holes(void **state)
{
	struct rig *r = *state;
	unsigned long map[2] = { 0 };
	struct disk_io io;

	make_image("closed");
	open_image(r, "closed");
	disk_submit(&r->d, &io, BLOCK_MAP, 0, map, SIZE);
	block_close(r->d.blk);
	r->d.blk = NULL;
	loop_run_once(&r->d.loop, 0);
	assert_false(io.finished);
}

/* What it has from its parent is no hole. */
static void a_clone_is_not_all_hole(void **state)
{
	struct rig *r = *state;
	uint8_t buf[512] = { 7 };
	char map[2 * 64 + 1];

	make_image("parent");
	open_image(r, "parent");
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 5 * MIB, buf, 512), 0);
	block_close(r->d.blk);
	r->d.blk = NULL;
	command("rbd snap create --no-progress parent@then && "
		"rbd clone --rbd-default-clone-format 2 parent@then child");
	open_image(r, "child");
	disk_map(&r->d, map);
	assert_int_equal(map[0], '.');
	assert_int_equal(map[80], '#');
}

static void an_image_of_another_size_is_refused(void **state)
{
	struct error err = ERROR_INIT;

	make_image("other");
	assert_int_equal(try_open(*state, "other", false, SIZE / 2, &err),
			 -EINVAL);
}

static void a_namespace_has_its_own_images(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	need_ceph();
	command("rbd namespace create rbd/ns && rbd create --size 8M rbd/ns/own");
	assert_int_equal(try_open(r, "own", false, 0, &err), -ENOENT);
	open_image(r, "ns/own");
}

static void a_snapshot_is_read_as_it_was(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	uint8_t buf[512] = { 7 };

	make_image("snap");
	open_image(r, "snap");
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, buf, 512), 0);
	command("rbd snap create --no-progress snap@then");
	buf[0] = 8;
	assert_int_equal(disk_do(&r->d, BLOCK_WRITE, 0, buf, 512), 0);
	block_close(r->d.blk);
	r->d.blk = NULL;
	assert_int_equal(try_open(r, "snap@then", false, 0, &err), -EROFS);
	if (try_open(r, "snap@then", true, 0, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(disk_do(&r->d, BLOCK_READ, 0, buf, 512), 0);
	assert_int_equal(buf[0], 7);
}

static void an_image_without_a_lock_is_refused(void **state)
{
	struct error err = ERROR_INIT;

	need_ceph();
	command("rbd create --size 8M --image-feature layering nolock");
	assert_int_equal(try_open(*state, "nolock", false, 0, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "exclusive-lock"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_wrong_uri_is_explained),
		TEST(a_wrong_setting_is_explained),
		TEST(a_secret_on_the_command_line_is_refused),
		TEST(it_keeps_bytes),
		TEST(zeroes_and_a_discarded_object_read_as_zeroes),
		TEST(many_requests_at_once_are_each_done_once),
		TEST(what_one_holder_wrote_the_next_reads),
		TEST(a_lock_that_is_held_is_refused_with_its_holder),
		TEST(who_was_shut_out_can_t_write),
		TEST(a_new_size_is_seen),
		TEST(an_image_grows_and_is_used_to_its_end),
		TEST(an_image_tells_its_holes),
		TEST(without_an_object_map_it_tells_them_too),
		TEST(a_clone_is_not_all_hole),
		TEST(a_disk_can_be_closed_while_it_looks_for_holes),
		TEST(an_image_of_another_size_is_refused),
		TEST(a_namespace_has_its_own_images),
		TEST(a_snapshot_is_read_as_it_was),
		TEST(an_image_without_a_lock_is_refused),
	};

	if (!disk_driver_built("rbd:"))
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
