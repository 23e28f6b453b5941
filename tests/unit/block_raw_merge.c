/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw images: requests that go to the kernel as one. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/raw.h"
#include "tests/lib/disk.h"

#define MANY 2000
#define SIZE (4 * MIB)

/* Requests that wait for the kernel, with buffers that nobody touches. */
struct queue {
	struct block_request req[MANY];
	struct raw_io io[MANY];
	struct iovec iov[2];
	struct list todo;	/* all but the first */
	unsigned int n;
};

static int setup(void **state)
{
	struct queue *q = calloc(1, sizeof(*q));

	if (!q)
		return -1;
	list_init(&q->todo);
	*state = q;
	return 0;
}

static int teardown(void **state)
{
	struct queue *q = *state;

	raw_merge_undo(&q->io[0]);
	free(q);
	return 0;
}

static struct raw_io *add(struct queue *q, enum block_op op, uint64_t offset,
			  uint64_t len)
{
	struct block_request *req = &q->req[q->n];
	struct raw_io *io = &q->io[q->n];

	*req = (struct block_request){
		.op = op, .offset = offset, .len = len, .iov = q->iov,
		.niov = ARRAY_SIZE(q->iov)
	};
	*io = (struct raw_io){ .req = req, .iov = req->iov, .niov = req->niov };
	if (q->n++)
		list_add_tail(&q->todo, &io->link);
	return io;
}

/* How many go to the kernel as one with the first. */
static unsigned int merged(struct queue *q)
{
	unsigned int n;

	raw_merge(&q->io[0], &q->todo);
	n = raw_merge_undo(&q->io[0]);
	q->io[0].merged = NULL;
	return n;
}

static void adjacent_requests_are_merged_in_their_order(void **state)
{
	struct queue *q = *state;

	add(q, BLOCK_READ, 0, 4096);
	add(q, BLOCK_READ, 4096, 8192);
	add(q, BLOCK_READ, 12288, 512);
	raw_merge(&q->io[0], &q->todo);
	assert_true(list_empty(&q->todo));
	assert_int_equal(q->io[0].niov, 6);
	assert_ptr_equal(q->io[0].merged, &q->io[1]);
	assert_ptr_equal(q->io[1].merged, &q->io[2]);
	assert_null(q->io[2].merged);
}

static void a_gap_ends_what_is_merged(void **state)
{
	struct queue *q = *state;

	add(q, BLOCK_READ, 0, 4096);
	add(q, BLOCK_READ, 4096, 4096);
	add(q, BLOCK_READ, 8704, 4096);
	assert_int_equal(merged(q), 2);
	assert_ptr_equal(q->todo.next, &q->io[2].link);
}

static void reads_and_writes_are_not_merged(void **state)
{
	struct queue *q = *state;

	add(q, BLOCK_READ, 0, 4096);
	add(q, BLOCK_WRITE, 4096, 4096);
	assert_int_equal(merged(q), 1);
}

static void what_is_no_transfer_is_not_merged(void **state)
{
	struct queue *q = *state;

	add(q, BLOCK_DISCARD, 0, 4096);
	add(q, BLOCK_DISCARD, 4096, 4096);
	assert_int_equal(merged(q), 1);
}

static void durable_writes_are_merged_with_such_alone(void **state)
{
	struct queue *q = *state;

	add(q, BLOCK_WRITE, 0, 4096);
	add(q, BLOCK_WRITE, 4096, 4096);
	q->req[1].fua = true;
	assert_int_equal(merged(q), 1);
}

static void what_was_begun_or_bounced_is_not_merged(void **state)
{
	struct queue *q = *state;

	add(q, BLOCK_READ, 0, 4096);
	add(q, BLOCK_READ, 4096, 4096)->done = 512;
	assert_int_equal(merged(q), 1);
	q->io[1].done = 0;
	q->io[1].own = q->iov;
	assert_int_equal(merged(q), 1);
	q->io[1].own = NULL;
	assert_int_equal(merged(q), 2);
}

static void no_more_buffers_than_the_kernel_takes(void **state)
{
	struct queue *q = *state;

	for (unsigned int i = 0; i < MANY; i++)
		add(q, BLOCK_READ, i * 512, 512);
	assert_int_equal(merged(q), IOV_MAX / 2);
}

static void large_ones_stay_several(void **state)
{
	struct queue *q = *state;

	for (unsigned int i = 0; i < 32; i++)
		add(q, BLOCK_READ, i * MIB, MIB);
	assert_int_equal(merged(q), 4);
}

static void open_disk(struct disk *d, char path[128])
{
	struct error err = ERROR_INIT;
	struct block_options opt = { 0 };

	disk_init(d);
	opt.uri = disk_image(d, "image", SIZE, path);
	assert_int_equal(disk_open(d, &opt, &err), 0);
	assert_int_equal(block_activate(d->blk, &err), 0);
}

static void each_of_those_merged_has_its_own_result(void **state)
{
	struct disk_io io[4];
	uint8_t buf[4][4096];
	char path[128];
	struct disk d;

	open_disk(&d, path);
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(disk_do(&d, BLOCK_WRITE, 0, buf, sizeof(buf)), 0);
	/* somebody cuts the image in the third */
	assert_int_equal(truncate(path, 2 * 4096 + 512), 0);
	memset(buf, 0, sizeof(buf));
	for (unsigned int i = 0; i < ARRAY_SIZE(io); i++)
		disk_submit(&d, &io[i], BLOCK_READ, i * 4096, buf[i], 4096);
	assert_int_equal(disk_wait(&d, &io[0]), 0);
	assert_int_equal(disk_wait(&d, &io[1]), 0);
	assert_int_equal(disk_wait(&d, &io[2]), -EIO);
	assert_int_equal(disk_wait(&d, &io[3]), -EIO);
	assert_int_equal(buf[1][4095], 0xee);
	disk_exit(&d);
}

/* Leaks are the sanitizer's to find. */
static void those_under_way_are_waited_for_at_the_end(void **state)
{
	struct disk_io io[64];
	uint8_t buf[4096];
	char path[128];
	struct disk d;

	open_disk(&d, path);
	for (unsigned int i = 0; i < ARRAY_SIZE(io); i++)
		disk_submit(&d, &io[i], BLOCK_READ, i * 4096, buf, 4096);
	disk_exit(&d);
	for (unsigned int i = 0; i < ARRAY_SIZE(io); i++)
		assert_false(io[i].finished);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			adjacent_requests_are_merged_in_their_order, setup,
			teardown),
		cmocka_unit_test_setup_teardown(a_gap_ends_what_is_merged,
						setup, teardown),
		cmocka_unit_test_setup_teardown(reads_and_writes_are_not_merged,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_is_no_transfer_is_not_merged, setup, teardown),
		cmocka_unit_test_setup_teardown(
			durable_writes_are_merged_with_such_alone, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			what_was_begun_or_bounced_is_not_merged, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			no_more_buffers_than_the_kernel_takes, setup, teardown),
		cmocka_unit_test_setup_teardown(large_ones_stay_several, setup,
						teardown),
		cmocka_unit_test(each_of_those_merged_has_its_own_result),
		cmocka_unit_test(those_under_way_are_waited_for_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
