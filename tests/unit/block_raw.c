/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw images: real files, io_uring and threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/disk.h"
#include "vmm/disk.h"

#define SIZE (4 * MIB)

/* An open disk on a fresh image; true, or the test is skipped. */
static void open_disk(struct disk *d, bool readonly, bool direct)
{
	struct error err = ERROR_INIT;
	struct block_options opt = { .readonly = readonly, .direct = direct };
	char path[128];

	disk_init(d);
	opt.uri = disk_image(d, "image", SIZE, path);
	if (disk_open(d, &opt, &err)) {
		print_message("SKIP %s\n", err.msg);
		disk_exit(d);
		/* tmpfs has no direct I/O */
		assert_true(direct);
		skip();
	}
	assert_int_equal(block_activate(d->blk, &err), 0);
}

static void fill(uint8_t *buf, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static void written_bytes_are_read_back(void **state)
{
	uint8_t out[8192], in[8192] = { 0 };
	struct disk d;

	open_disk(&d, false, false);
	fill(out, sizeof(out), 1);
	assert_int_equal(disk_do(&d, BLOCK_WRITE, 4096, out, sizeof(out)), 0);
	assert_int_equal(disk_do(&d, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(disk_do(&d, BLOCK_READ, 4096, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	disk_exit(&d);
}

static void writes_reach_the_file(void **state)
{
	uint8_t out[512], in[512];
	struct disk d;
	char path[128];
	int fd;

	open_disk(&d, false, false);
	fill(out, sizeof(out), 2);
	assert_int_equal(disk_do(&d, BLOCK_WRITE, 512, out, sizeof(out)), 0);
	fd = open(disk_path(&d, "image", path), O_RDONLY);
	assert_int_equal(pread(fd, in, sizeof(in), 512), sizeof(in));
	close(fd);
	assert_memory_equal(in, out, sizeof(in));
	disk_exit(&d);
}

static void direct_io_bounces_unaligned_buffers(void **state)
{
	uint8_t out[4096 + 1], in[4096 + 3];
	struct disk d;

	open_disk(&d, false, true);
	fill(out, sizeof(out), 3);
	assert_int_equal(disk_do(&d, BLOCK_WRITE, 8192, out + 1, 4096), 0);
	assert_int_equal(disk_do(&d, BLOCK_READ, 8192, in + 3, 4096), 0);
	assert_memory_equal(in + 3, out + 1, 4096);
	disk_exit(&d);
}

static void direct_io_takes_single_sectors(void **state)
{
	uint8_t out[512], in[512];
	struct disk d;

	open_disk(&d, false, true);
	fill(out, sizeof(out), 4);
	assert_int_equal(disk_do(&d, BLOCK_WRITE, 1536, out, 512), 0);
	assert_int_equal(disk_do(&d, BLOCK_READ, 1536, in, 512), 0);
	assert_memory_equal(in, out, 512);
	disk_exit(&d);
}

static void more_requests_than_the_ring_holds_all_complete(void **state)
{
	enum { N = 1000 };
	struct disk_io *io = calloc(N, sizeof(*io));
	uint8_t (*buf)[512] = calloc(N, sizeof(*buf));
	uint8_t in[512];
	struct disk d;

	open_disk(&d, false, false);
	for (unsigned int i = 0; i < N; i++) {
		fill(buf[i], 512, i);
		disk_submit(&d, &io[i], BLOCK_WRITE, i * 512, buf[i], 512);
		assert_false(io[i].finished);
	}
	for (unsigned int i = 0; i < N; i++)
		assert_int_equal(disk_wait(&d, &io[i]), 0);
	for (unsigned int i = 0; i < N; i++) {
		assert_int_equal(disk_do(&d, BLOCK_READ, i * 512, in, 512), 0);
		assert_memory_equal(in, buf[i], 512);
	}
	free(buf);
	free(io);
	disk_exit(&d);
}

static void check_zeroed(bool unmap)
{
	static uint8_t buf[MIB];
	struct disk d;

	open_disk(&d, false, false);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(disk_do(&d, BLOCK_WRITE, 0, buf, sizeof(buf)), 0);
	d.unmap = unmap;
	assert_int_equal(disk_do(&d, BLOCK_WRITE_ZEROES, 4096, NULL,
				 MIB - 8192), 0);
	assert_int_equal(disk_do(&d, BLOCK_READ, 0, buf, sizeof(buf)), 0);
	assert_int_equal(buf[4095], 0xff);
	assert_int_equal(buf[4096], 0);
	assert_int_equal(buf[MIB / 2], 0);
	assert_int_equal(buf[MIB - 4097], 0);
	assert_int_equal(buf[MIB - 4096], 0xff);
	disk_exit(&d);
}

static void write_zeroes_reads_as_zero(void **state)
{
	check_zeroed(false);
}

static void write_zeroes_may_punch_holes(void **state)
{
	check_zeroed(true);
}

static void discard_gives_space_back(void **state)
{
	static uint8_t buf[MIB];
	struct stat before, after;
	char path[128];
	struct disk d;

	open_disk(&d, false, false);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(disk_do(&d, BLOCK_WRITE, 0, buf, sizeof(buf)), 0);
	assert_int_equal(disk_do(&d, BLOCK_FLUSH, 0, NULL, 0), 0);
	stat(disk_path(&d, "image", path), &before);
	assert_int_equal(disk_do(&d, BLOCK_DISCARD, 0, NULL, MIB), 0);
	stat(path, &after);
	disk_exit(&d);
	assert_true(after.st_blocks < before.st_blocks);
}

static void an_image_tells_its_holes(void **state)
{
	uint8_t buf[512] = { 1 };
	char path[128], map[20];
	struct error err = ERROR_INIT;
	struct disk d;

	disk_init(&d);
	disk_image(&d, "image", 19 * VM_DISK_PIECE - 512, path);
	if (disk_open(&d, &(struct block_options){ .uri = path }, &err) ||
	    block_activate(d.blk, &err))
		fail_msg("%s", err.msg);
	assert_string_equal(disk_map(&d, map), "...................");
	for (uint64_t i = 1; i < 16; i += 2)
		assert_int_equal(disk_do(&d, BLOCK_WRITE, i * VM_DISK_PIECE +
					 4096, buf, 512), 0);
	assert_string_equal(disk_map(&d, map), ".#.#.#.#.#.#.#.#...");
	disk_exit(&d);
}

/* More of them than are looked for in one turn of the loop. */
static void an_image_grows_and_is_used_to_its_end(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t buf[512] = { 3 };
	struct stat st;
	char path[128];
	struct disk d;

	disk_init(&d);
	open_disk(&d, false, false);
	assert_int_equal(block_resize(d.blk, SIZE + 4096, &err), 0);
	assert_int_equal(disk_do(&d, BLOCK_WRITE, SIZE + 3584, buf, 512), 0);
	assert_int_equal(stat(disk_path(&d, "image", path), &st), 0);
	assert_int_equal(st.st_size, SIZE + 4096);
	/* it is the machine's disk from now on */
	assert_int_equal(block_deactivate(d.blk, &err), 0);
	assert_int_equal(block_resize(d.blk, 2 * SIZE, &err), -ENODEV);
	assert_int_equal(block_activate(d.blk, &err), 0);
	assert_int_equal(d.blk->size, SIZE + 4096);
	disk_exit(&d);
}

static void an_image_that_others_made_larger_is_not_cut(void **state)
{
	struct error err = ERROR_INIT;
	char path[128];
	struct disk d;

	disk_init(&d);
	open_disk(&d, false, false);
	assert_int_equal(truncate(disk_path(&d, "image", path), 3 * SIZE), 0);
	assert_int_equal(block_resize(d.blk, 2 * SIZE, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "take it as it is"));
	error_clear(&err);
	assert_int_equal(d.blk->size, SIZE);
	assert_int_equal(block_resize(d.blk, 3 * SIZE, &err), 0);
	assert_int_equal(d.blk->size, 3 * SIZE);
	disk_exit(&d);
}

/* Pages of the image that only the page cache has; UINT64_MAX: unknown. */
static uint64_t dirty_pages(struct disk *d)
{
	uint64_t range[2] = { 0, SIZE }, stat[5] = { 0 };	/* cachestat(2) */
	char path[128];
	int fd = open(disk_path(d, "image", path), O_RDONLY);
	long ret = syscall(451, fd, range, stat, 0);

	close(fd);
	return ret ? UINT64_MAX : stat[1] + stat[2];
}

static int write_sector(struct disk *d, bool fua)
{
	static uint8_t buf[512];
	struct disk_io io = {
		.iov = { buf, sizeof(buf) },
		.req = { .op = BLOCK_WRITE, .fua = fua, .len = sizeof(buf),
			 .iov = &io.iov, .niov = 1 },
	};

	disk_submit_own(d, &io);
	return disk_wait(d, &io);
}

static void a_durable_write_leaves_nothing_in_the_page_cache(void **state)
{
	struct disk d;
	uint64_t before;

	open_disk(&d, false, false);
	assert_int_equal(write_sector(&d, false), 0);
	before = dirty_pages(&d);
	if (before == UINT64_MAX || !before) {
		print_message("SKIP this kernel does not tell what is dirty\n");
		disk_exit(&d);
		skip();
	}
	assert_int_equal(write_sector(&d, true), 0);
	assert_int_equal(dirty_pages(&d), 0);
	disk_exit(&d);
}

static void many_holes_are_told_in_parts(void **state)
{
	uint64_t n = 1000, i;
	char path[128], map[1001];
	struct error err = ERROR_INIT;
	struct disk d;
	int fd;

	disk_init(&d);
	disk_image(&d, "image", n * VM_DISK_PIECE, path);
	fd = open(path, O_WRONLY);
	for (i = 0; i < n; i += 2)
		assert_int_equal(pwrite(fd, "1", 1, (off_t)(i * VM_DISK_PIECE)),
				 1);
	close(fd);
	if (disk_open(&d, &(struct block_options){ .uri = path }, &err) ||
	    block_activate(d.blk, &err))
		fail_msg("%s", err.msg);
	disk_map(&d, map);
	for (i = 0; i < n; i++)
		assert_int_equal(map[i], i % 2 ? '.' : '#');
	disk_exit(&d);
}

static void a_request_beyond_the_end_is_refused_from_the_loop(void **state)
{
	struct disk_io io;
	uint8_t buf[1024];
	struct disk d;

	open_disk(&d, false, false);
	disk_submit(&d, &io, BLOCK_READ, SIZE - 512, buf, 1024);
	assert_false(io.finished);
	assert_int_equal(disk_wait(&d, &io), -EINVAL);
	disk_exit(&d);
}

static void an_offset_that_wraps_is_refused(void **state)
{
	uint8_t buf[512];
	struct disk d;

	open_disk(&d, false, false);
	assert_int_equal(disk_do(&d, BLOCK_WRITE, UINT64_MAX - 511, buf, 512),
			 -EINVAL);
	disk_exit(&d);
}

static void a_readonly_disk_refuses_writes(void **state)
{
	uint8_t buf[512] = { 0 };
	struct disk d;

	open_disk(&d, true, false);
	assert_int_equal(disk_do(&d, BLOCK_WRITE, 0, buf, 512), -EROFS);
	assert_int_equal(disk_do(&d, BLOCK_DISCARD, 0, NULL, 512), -EROFS);
	assert_int_equal(disk_do(&d, BLOCK_READ, 0, buf, 512), 0);
	disk_exit(&d);
}

static void an_inactive_disk_refuses_requests(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t buf[512];
	struct disk d;

	open_disk(&d, false, false);
	assert_int_equal(block_deactivate(d.blk, &err), 0);
	assert_int_equal(disk_do(&d, BLOCK_READ, 0, buf, 512), -ENODEV);
	disk_exit(&d);
}

static void a_truncated_image_is_an_io_error(void **state)
{
	uint8_t buf[512];
	char path[128];
	struct disk d;

	open_disk(&d, false, false);
	assert_int_equal(truncate(disk_path(&d, "image", path), 512), 0);
	assert_int_equal(disk_do(&d, BLOCK_READ, 4096, buf, 512), -EIO);
	disk_exit(&d);
}

/* Opens the image of @d a second time and activates it. */
static int second(struct disk *d, bool readonly, struct error *err)
{
	struct block_options opt = { .readonly = readonly };
	struct block *blk;
	char path[128];
	int ret;

	opt.uri = disk_path(d, "image", path);
	assert_int_equal(block_open(&blk, &opt, NULL, &d->loop, &d->log, err),
			 0);
	ret = block_activate(blk, err);
	block_close(blk);
	return ret;
}

static void a_second_writer_is_locked_out(void **state)
{
	struct error err = ERROR_INIT;
	struct disk d;

	open_disk(&d, false, false);
	assert_int_equal(second(&d, false, &err), -EBUSY);
	assert_non_null(strstr(err.msg, d.dir));
	assert_int_equal(second(&d, true, &err), -EBUSY);
	disk_exit(&d);
}

static void readers_share_the_image(void **state)
{
	struct error err = ERROR_INIT;
	struct disk d;

	open_disk(&d, true, false);
	assert_int_equal(second(&d, true, &err), 0);
	assert_int_equal(second(&d, false, &err), -EBUSY);
	disk_exit(&d);
}

static void deactivate_gives_the_lock_away(void **state)
{
	struct error err = ERROR_INIT;
	struct disk d;

	open_disk(&d, false, false);
	assert_int_equal(block_deactivate(d.blk, &err), 0);
	assert_int_equal(second(&d, false, &err), 0);
	assert_int_equal(block_activate(d.blk, &err), 0);
	disk_exit(&d);
}

static void an_image_of_another_size_is_refused(void **state)
{
	struct block_options opt = { .size = SIZE + 512 };
	struct error err = ERROR_INIT;
	char path[128];
	struct disk d;

	disk_init(&d);
	opt.uri = disk_image(&d, "image", SIZE, path);
	assert_int_not_equal(disk_open(&d, &opt, &err), 0);
	d.blk = NULL;
	disk_exit(&d);
}

static void an_unknown_scheme_names_those_there_are(void **state)
{
	struct block_options opt = { .uri = "ftp://example.org/disk" };
	struct error err = ERROR_INIT;
	struct disk d;

	disk_init(&d);
	assert_int_equal(disk_open(&d, &opt, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "file:"));
	d.blk = NULL;
	disk_exit(&d);
}

/* From here on io_uring_setup() fails, as in a container. */
static int forbid_io_uring(void **state)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = ARRAY_SIZE(code), .filter = code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_bytes_are_read_back),
		cmocka_unit_test(writes_reach_the_file),
		cmocka_unit_test(direct_io_bounces_unaligned_buffers),
		cmocka_unit_test(direct_io_takes_single_sectors),
		cmocka_unit_test(more_requests_than_the_ring_holds_all_complete),
		cmocka_unit_test(write_zeroes_reads_as_zero),
		cmocka_unit_test(write_zeroes_may_punch_holes),
		cmocka_unit_test(discard_gives_space_back),
		cmocka_unit_test(an_image_tells_its_holes),
		cmocka_unit_test(a_durable_write_leaves_nothing_in_the_page_cache),
		cmocka_unit_test(many_holes_are_told_in_parts),
		cmocka_unit_test(an_image_grows_and_is_used_to_its_end),
		cmocka_unit_test(an_image_that_others_made_larger_is_not_cut),
		cmocka_unit_test(a_request_beyond_the_end_is_refused_from_the_loop),
		cmocka_unit_test(an_offset_that_wraps_is_refused),
		cmocka_unit_test(a_readonly_disk_refuses_writes),
		cmocka_unit_test(an_inactive_disk_refuses_requests),
		cmocka_unit_test(a_truncated_image_is_an_io_error),
		cmocka_unit_test(a_second_writer_is_locked_out),
		cmocka_unit_test(readers_share_the_image),
		cmocka_unit_test(deactivate_gives_the_lock_away),
		cmocka_unit_test(an_image_of_another_size_is_refused),
		cmocka_unit_test(an_unknown_scheme_names_those_there_are),
	};
	int failed;

	if (!disk_driver_built("file:/nowhere"))
		return 0;
	failed = cmocka_run_group_tests_name("as the host is", tests, NULL, NULL);
	return failed + cmocka_run_group_tests_name("without io_uring", tests,
						    forbid_io_uring, NULL);
}
