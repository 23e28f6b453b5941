/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages from one memory to another, over the in-process transport. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migration/bits.h"
#include "migration/ram_recv.h"
#include "migration/ram_send.h"
#include "migration/wire.h"
#include "tests/lib/fake_vm.h"

#define MIB_EACH 8

struct rig {
	struct fake_world world;
	struct fake_vm *from, *to;
	struct channel out[3], in[3];
	unsigned int n;
	struct limiter limiter;
	struct migration_progress progress;
	struct ram_send send;
	struct ram_recv recv;
	struct error err;
};

static void rig_init_how(struct rig *r, unsigned int channels, bool compress)
{
	memset(r, 0, sizeof(*r));
	fake_world_init(&r->world);
	r->from = fake_vm_new(&r->world, MIB_EACH, false);
	r->to = fake_vm_new(&r->world, MIB_EACH, true);
	r->n = channels;
	assert_int_equal(ram_recv_init(&r->recv, &r->to->vm.mem, channels,
				       &r->err), 0);
	r->recv.compressed = compress;
	for (unsigned int i = 0; i < channels; i++) {
		assert_int_equal(channel_pair(&r->out[i], &r->in[i], &r->err),
				 0);
		assert_int_equal(ram_recv_add(&r->recv, i + 1, &r->in[i],
					      &r->err), 0);
	}
	limiter_init(&r->limiter, 0);
	migration_progress_init(&r->progress);
	r->send = (struct ram_send){
		.vm = &r->from->vm, .mem = &r->from->vm.mem,
		.ops = &fake_vm_ops, .progress = &r->progress,
		.limiter = &r->limiter, .channel = r->out,
		.nchannels = channels, .cancel_fd = -1, .compress = compress,
	};
	assert_int_equal(ram_send_init(&r->send, &r->err), 0);
}

static void rig_init(struct rig *r, unsigned int channels)
{
	rig_init_how(r, channels, false);
}

static void rig_exit(struct rig *r)
{
	ram_send_exit(&r->send);
	for (unsigned int i = 0; i < r->n; i++)
		channel_close(&r->out[i]);
	ram_recv_exit(&r->recv);
	limiter_exit(&r->limiter);
	migration_progress_exit(&r->progress);
	fake_vm_free(r->from);
	fake_vm_free(r->to);
}

/* Wait until the receiver is done with @round, or failed. */
static int arrived(struct rig *r, uint32_t round, bool last)
{
	int ret;

	while (!(ret = ram_recv_reached(&r->recv, round, last, &r->err)))
		channel_wait_fd(r->recv.event_fd, POLLIN, -1, 0);
	return ret;
}

static void one_round(struct rig *r, uint32_t round, bool last)
{
	assert_int_equal(ram_send_sync(&r->send, &r->err), 0);
	assert_int_equal(ram_send_pages(&r->send, 0, &r->err), 0);
	assert_int_equal(ram_send_fence(&r->send, round, last ? RUN_LAST : 0, 0, &r->err), 0);
	assert_int_equal(arrived(r, round, last), 1);
}

static void memory_arrives_as_it_was(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	fake_vm_fill(r.from, 0, 300, 1);
	fake_vm_fill(r.from, 777, 1, 2);
	one_round(&r, 1, true);
	assert_true(fake_vm_same_memory(r.from, r.to));
	rig_exit(&r);
}

static void region_above_the_hole_arrives(void **state)
{
	struct rig r;
	static const gpa_t high = 64 * GIB;
	uint64_t got = 0;

	(void)state;
	rig_init(&r, 1);
	memory_write(&r.from->vm.mem, high + MIB - 8, "highest", 8);
	one_round(&r, 1, true);
	memory_read(&r.to->vm.mem, high + MIB - 8, &got, 8);
	assert_memory_equal(&got, "highest", 8);
	rig_exit(&r);
}

static void several_channels_carry_one_memory(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 3);
	fake_vm_fill(r.from, 0, 1700, 1);
	one_round(&r, 1, false);
	fake_vm_fill(r.from, 100, 900, 2);
	one_round(&r, 2, true);
	assert_true(fake_vm_same_memory(r.from, r.to));
	rig_exit(&r);
}

static void a_channel_that_rests_carries_no_page(void **state)
{
	struct rig r;
	uint64_t before;

	(void)state;
	rig_init(&r, 2);
	r.send.nsenders = 1;
	before = r.out[1].sent;
	fake_vm_fill(r.from, 0, 1700, 1);
	one_round(&r, 1, false);
	assert_true(r.out[1].sent - before < PAGE_BYTES);
	r.send.nsenders = 0;
	fake_vm_fill(r.from, 0, 1700, 2);
	one_round(&r, 2, true);
	assert_true(fake_vm_same_memory(r.from, r.to));
	rig_exit(&r);
}

static void later_round_carries_only_what_was_written(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	fake_vm_fill(r.from, 0, 500, 1);
	one_round(&r, 1, false);
	fake_vm_fill(r.from, 17, 3, 2);
	assert_int_equal(ram_send_sync(&r.send, &r.err), 0);
	assert_int_equal(r.send.dirty_pages, 3);
	one_round(&r, 2, true);
	assert_true(fake_vm_same_memory(r.from, r.to));
	assert_int_equal(r.progress.now.normal_pages, 503);
	rig_exit(&r);
}

static void page_that_became_zero_is_zero_there(void **state)
{
	struct rig r;
	void *page;

	(void)state;
	rig_init(&r, 1);
	fake_vm_fill(r.from, 0, 20, 1);
	one_round(&r, 1, false);
	page = memory_ptr(&r.from->vm.mem, 5 * PAGE_BYTES, PAGE_BYTES);
	memset(page, 0, PAGE_BYTES);
	memory_mark_dirty(&r.from->vm.mem, 5 * PAGE_BYTES, PAGE_BYTES);
	one_round(&r, 2, true);
	assert_true(fake_vm_same_memory(r.from, r.to));
	assert_int_equal(atomic_load(&r.recv.zeroes) & 1, 1);
	rig_exit(&r);
}

static void memory_never_touched_costs_nothing(void **state)
{
	unsigned long present[MIB_EACH * 256 / LONG_BITS] = { 0 };
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	one_round(&r, 1, true);
	assert_int_equal(r.progress.now.normal_pages, 0);
	assert_true(atomic_load(&r.out[0].sent) < 1024);
	memory_present(&r.to->vm.mem, 0, 0, (MIB_EACH - 1) * 256, present);
	assert_int_equal(bits_count(present, (MIB_EACH - 1) * 256), 0);
	rig_exit(&r);
}

static void pages_of_zeroes_do_not_touch_fresh_memory(void **state)
{
	unsigned long present[MIB_EACH * 256 / LONG_BITS] = { 0 };
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	/* touched there, and zero */
	memset(r.from->vm.mem.region[0].host, 0, 4 * MIB);
	one_round(&r, 1, true);
	assert_true(r.progress.now.constant_pages >= 1024);
	memory_present(&r.to->vm.mem, 0, 0, (MIB_EACH - 1) * 256, present);
	assert_int_equal(bits_count(present, (MIB_EACH - 1) * 256), 0);
	rig_exit(&r);
}

/* -- compression ----------------------------------------------------------- */

static void needs_zstd(void)
{
	struct error err = ERROR_INIT;

	if (compress_check(&err) == 0)
		return;
	print_message("SKIP %s\n", err.msg);
	skip();
}

/* Pages of one word each: they compress. */
static void fill_simply(struct rig *r, uint64_t first, uint64_t n)
{
	uint8_t *host = r->from->vm.mem.region[0].host;

	for (uint64_t p = first; p < first + n; p++)
		memset(host + (p << PAGE_SHIFT), (int)(p % 250 + 1), PAGE_BYTES);
}

static void random_page(struct rig *r, uint64_t page)
{
	uint64_t *p = (uint64_t *)(void *)(r->from->vm.mem.region[0].host +
					   (page << PAGE_SHIFT));
	uint64_t x = page + 1;

	for (unsigned int i = 0; i < PAGE_BYTES / sizeof(*p); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x * 0x9e3779b97f4a7c15;
	}
}

static uint64_t sent(const struct rig *r)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < r->n; i++)
		sum += r->out[i].sent;
	return sum;
}

static void compressed_memory_arrives_as_it_was(void **state)
{
	struct rig r;

	(void)state;
	needs_zstd();
	rig_init_how(&r, 2, true);
	fill_simply(&r, 0, 1500);
	/* and some that does not compress, in the midst of it */
	fake_vm_fill(r.from, 700, 20, 1);
	one_round(&r, 1, false);
	fake_vm_fill(r.from, 0, 3, 2);
	one_round(&r, 2, true);
	assert_true(fake_vm_same_memory(r.from, r.to));
	assert_true(sent(&r) < 1500 * PAGE_BYTES / 4);
	assert_true(r.progress.now.compressed_pages > 1000);
	assert_true(r.progress.now.compressed_bytes < sent(&r));
	rig_exit(&r);
}

static void random_memory_goes_as_it_is(void **state)
{
	struct rig r;

	(void)state;
	needs_zstd();
	rig_init_how(&r, 1, true);
	for (uint64_t p = 0; p < 1500; p++)
		random_page(&r, p);
	one_round(&r, 1, true);
	assert_true(fake_vm_same_memory(r.from, r.to));
	assert_int_equal(r.progress.now.compressed_pages, 0);
	assert_true(sent(&r) < 1501 * PAGE_BYTES);
	rig_exit(&r);
}

/* -- hostile streams ------------------------------------------------------ */

static void put_run(struct rig *r, struct run run, size_t payload)
{
	static char zero[RUN_MAX_PAGES * PAGE_BYTES];
	uint8_t header[RUN_HEADER];
	struct iovec iov[] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = zero, .iov_len = payload },
	};

	run_encode(header, &run);
	/* the receiver may hang up in the middle: that is the point */
	(void)!channel_writev(&r->out[0], iov, 2, 0, &r->err);
}

static void expect_refusal(struct run run, size_t payload, const char *why)
{
	struct rig r;

	rig_init(&r, 1);
	put_run(&r, run, payload);
	channel_shutdown(&r.out[0]);
	assert_true(arrived(&r, 1, false) < 0);
	assert_non_null(strstr(r.err.msg, why));
	rig_exit(&r);
}

static void data_outside_of_memory_is_refused(void **state)
{
	(void)state;
	expect_refusal((struct run){ .kind = RUN_DATA, .gpa = GIB, .npages = 1 },
		       PAGE_BYTES, "outside of memory");
}

static void run_across_the_end_of_a_region_is_refused(void **state)
{
	(void)state;
	expect_refusal((struct run){ .kind = RUN_DATA, .npages = 2,
				     .gpa = (MIB_EACH - 1) * MIB - PAGE_BYTES },
		       2 * PAGE_BYTES, "outside of memory");
}

static void address_that_wraps_is_refused(void **state)
{
	(void)state;
	expect_refusal((struct run){ .kind = RUN_ZERO, .npages = UINT32_MAX,
				     .gpa = ~PAGE_BYTES + 1 },
		       0, "outside of memory");
}

static void fence_that_skips_a_round_is_refused(void **state)
{
	(void)state;
	expect_refusal((struct run){ .kind = RUN_FENCE, .round = 2 }, 0,
		       "after round 0");
}

/* A frame of @npages pages of memory, said to be @said, cut to @share of it. */
static void expect_bad_frame(unsigned int npages, unsigned int said,
			     double share, const char *why)
{
	static uint8_t pages[2 * PAGE_BYTES], frame[2 * PAGE_BYTES];
	struct compressor *zstd = NULL;
	uint8_t header[RUN_HEADER];
	struct iovec iov[2];
	struct run run = { .kind = RUN_ZSTD, .npages = said };
	struct rig r;

	rig_init_how(&r, 1, true);
	assert_int_equal(compressor_create(&zstd, &r.err), 0);
	run.length = (uint32_t)(share * (double)compress_bytes(
			zstd, 1, frame, sizeof(frame), pages,
			npages * PAGE_BYTES));
	assert_true(run.length);
	run_encode(header, &run);
	iov[0] = (struct iovec){ header, sizeof(header) };
	iov[1] = (struct iovec){ frame, run.length };
	(void)!channel_writev(&r.out[0], iov, 2, 0, &r.err);
	channel_shutdown(&r.out[0]);
	assert_true(arrived(&r, 1, false) < 0);
	assert_non_null(strstr(r.err.msg, why));
	compressor_destroy(zstd);
	rig_exit(&r);
}

static void frame_of_another_length_is_refused(void **state)
{
	(void)state;
	needs_zstd();
	expect_bad_frame(1, 2, 1, "are not 8192 bytes of memory");
	expect_bad_frame(2, 1, 1, "are not 4096 bytes of memory");
	expect_bad_frame(2, 2, 0.5, "are not 8192 bytes of memory");
}

static void frame_that_is_none_is_refused(void **state)
{
	struct rig r;

	(void)state;
	needs_zstd();
	rig_init_how(&r, 1, true);
	put_run(&r, (struct run){ .kind = RUN_ZSTD, .npages = 1,
				  .length = 100 }, 100);
	assert_true(arrived(&r, 1, false) < 0);
	assert_non_null(strstr(r.err.msg, "100 compressed bytes"));
	rig_exit(&r);
}

static void compressed_run_outside_of_memory_is_refused(void **state)
{
	struct rig r;

	(void)state;
	needs_zstd();
	rig_init_how(&r, 1, true);
	put_run(&r, (struct run){ .kind = RUN_ZSTD, .npages = 1, .gpa = GIB,
				  .length = 100 }, 100);
	assert_true(arrived(&r, 1, false) < 0);
	assert_non_null(strstr(r.err.msg, "outside of memory"));
	rig_exit(&r);
}

static void compressed_run_without_notice_is_refused(void **state)
{
	(void)state;
	expect_refusal((struct run){ .kind = RUN_ZSTD, .npages = 1,
				     .length = 100 }, 100, "did not announce");
}

static void stream_cut_within_a_page_is_noticed(void **state)
{
	(void)state;
	expect_refusal((struct run){ .kind = RUN_DATA, .npages = 2 },
		       PAGE_BYTES, "closed the connection");
}

static void nothing_is_read_after_the_last_fence(void **state)
{
	struct rig r;
	uint64_t got = 0;

	(void)state;
	rig_init(&r, 1);
	put_run(&r, (struct run){ .kind = RUN_DATA, .npages = 1 }, PAGE_BYTES);
	put_run(&r, (struct run){ .kind = RUN_FENCE, .round = 1,
				  .flags = RUN_LAST }, 0);
	assert_int_equal(arrived(&r, 1, true), 1);
	memory_write(&r.to->vm.mem, 0, "guest 1", 8);
	put_run(&r, (struct run){ .kind = RUN_DATA, .npages = 1 }, PAGE_BYTES);
	pthread_join(r.recv.channel[0].thread, NULL);
	r.recv.channel[0].started = false;
	memory_read(&r.to->vm.mem, 0, &got, 8);
	assert_memory_equal(&got, "guest 1", 8);
	rig_exit(&r);
}

static void bulk_channel_that_comes_twice_is_refused(void **state)
{
	struct channel a, b;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	assert_int_equal(channel_pair(&a, &b, &r.err), 0);
	assert_int_equal(ram_recv_add(&r.recv, 1, &a, &r.err), -EPROTO);
	assert_int_equal(ram_recv_add(&r.recv, 2, &a, &r.err), -EPROTO);
	channel_close(&a);
	channel_close(&b);
	rig_exit(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_arrives_as_it_was),
		cmocka_unit_test(region_above_the_hole_arrives),
		cmocka_unit_test(several_channels_carry_one_memory),
		cmocka_unit_test(a_channel_that_rests_carries_no_page),
		cmocka_unit_test(later_round_carries_only_what_was_written),
		cmocka_unit_test(page_that_became_zero_is_zero_there),
		cmocka_unit_test(memory_never_touched_costs_nothing),
		cmocka_unit_test(pages_of_zeroes_do_not_touch_fresh_memory),
		cmocka_unit_test(data_outside_of_memory_is_refused),
		cmocka_unit_test(run_across_the_end_of_a_region_is_refused),
		cmocka_unit_test(address_that_wraps_is_refused),
		cmocka_unit_test(fence_that_skips_a_round_is_refused),
		cmocka_unit_test(stream_cut_within_a_page_is_noticed),
		cmocka_unit_test(nothing_is_read_after_the_last_fence),
		cmocka_unit_test(bulk_channel_that_comes_twice_is_refused),
		cmocka_unit_test(compressed_memory_arrives_as_it_was),
		cmocka_unit_test(random_memory_goes_as_it_is),
		cmocka_unit_test(frame_of_another_length_is_refused),
		cmocka_unit_test(frame_that_is_none_is_refused),
		cmocka_unit_test(compressed_run_outside_of_memory_is_refused),
		cmocka_unit_test(compressed_run_without_notice_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
