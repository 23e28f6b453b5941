/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: a disk that is copied while its guest writes arrives whole; what is
 * wrong on the way is found, and costs the job, not the guest.
 *
 * Both sides run here over a pair of sockets; disks are memory, the guest is a
 * thread.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migration/crc32c.h"
#include "migration/disk_recv.h"
#include "migration/disk_send.h"
#include "tests/lib/mem_disk.h"
#include "vmm/base/fd.h"

#define SIZE MEM_DISK_SIZE
#define WAIT_NS (60 * NSEC_PER_SEC)

struct rig {
	struct mem_side from, to;
	struct disk_send send;
	struct disk_recv recv;
	struct limiter limiter;
	struct migration_progress progress;
	struct error err;
	pthread_t guest;
	atomic_bool guest_quit;
	unsigned int seed;
	_Atomic uint64_t writes;
};

/* -- the guest */

struct guest_write {
	struct vm_disk_write w;
	atomic_bool told;
};

static void told(struct vm_disk_write *w)
{
	container_of(w, struct guest_write, w)->told = true;
}

/* Back when the guest would be told. */
static void guest_writes(struct mem_disk *m, uint64_t offset, uint64_t len,
			 uint8_t value)
{
	struct guest_write g = {
		.w = { .offset = offset, .len = len, .done = told },
	};

	vm_disk_write_begin(&m->d, &g.w);
	pthread_mutex_lock(&m->lock);
	memset(m->data + offset, value, len);
	pthread_mutex_unlock(&m->lock);
	sched_yield();		/* landed, and not marked yet */
	vm_disk_write_end(&m->d, &g.w);
	if (!vm_disk_write_held(&m->d, &g.w))
		return;
	while (!g.told)
		sched_yield();
}

static void *guest_thread(void *arg)
{
	struct rig *r = arg;

	while (!r->guest_quit) {
		unsigned int disk = (unsigned int)rand_r(&r->seed) %
				    r->from.ndisks;
		uint64_t sectors = 1 + (uint64_t)rand_r(&r->seed) % 200;
		uint64_t at = (uint64_t)rand_r(&r->seed) %
			      (SIZE / 512 - sectors);

		guest_writes(&r->from.disk[disk], at * 512, sectors * 512,
			     (uint8_t)rand_r(&r->seed));
		r->writes++;
		sched_yield();
	}
	return NULL;
}

static void guest_start(struct rig *r, unsigned int seed)
{
	r->seed = seed;
	assert_int_equal(pthread_create(&r->guest, NULL, guest_thread, r), 0);
}

/* As the pause does it. */
static void guest_stop(struct rig *r)
{
	r->guest_quit = true;
	disk_send_let_go(&r->send);
	pthread_join(r->guest, NULL);
}

/* -- both sides */

static void name_disks(struct rig *r)
{
	r->send.disks.n = r->from.ndisks;
	r->progress.now.ndisks = r->from.ndisks;
	for (unsigned int i = 0; i < r->from.ndisks; i++) {
		struct vm_disk *d = &r->from.disk[i].d;

		r->send.disk[i] = d;
		r->send.disks.disk[i].size = d->size;
		strcpy(r->send.disks.disk[i].id, d->id);
	}
}

static void rig_init(struct rig *r, unsigned int ndisks)
{
	memset(r, 0, sizeof(*r));
	mem_side_init(&r->from, ndisks);
	mem_side_init(&r->to, ndisks);
	limiter_init(&r->limiter, 0);
	migration_progress_init(&r->progress);
	disk_send_init(&r->send);
	disk_recv_init(&r->recv);
	r->send.limiter = &r->limiter;
	r->send.progress = &r->progress;
	name_disks(r);
}

static void rig_exit(struct rig *r)
{
	disk_send_exit(&r->send);
	disk_recv_exit(&r->recv);
	mem_side_exit(&r->from);
	mem_side_exit(&r->to);
	migration_progress_exit(&r->progress);
	limiter_exit(&r->limiter);
}

static int rig_open(struct rig *r)
{
	return disk_recv_open(&r->recv, (struct vm *)(void *)&r->to, &mem_side_ops,
			      &r->send.disks, -1, &r->err);
}

static void rig_start(struct rig *r)
{
	struct channel far;

	if (rig_open(r) < 0)
		fail_msg("%s", r->err.msg);
	assert_int_equal(channel_pair(&r->send.channel, &far, &r->err), 0);
	assert_int_equal(disk_recv_add(&r->recv, &far, &r->err), 0);
	if (disk_send_start(&r->send, &r->err) < 0)
		fail_msg("%s", r->err.msg);
}

/* Until it is mirrored, or failed. */
static enum disk_send_state copied(struct rig *r)
{
	while (r->send.state == DISK_SEND_COPYING) {
		assert_int_equal(channel_wait_fd(r->send.event_fd, POLLIN, -1,
						 now_ns() + WAIT_NS), 0);
		fd_event_take(r->send.event_fd);
	}
	return r->send.state;
}

static void finish(struct rig *r)
{
	disk_send_finish(&r->send);
	if (disk_send_wait(&r->send, now_ns() + WAIT_NS, &r->err) < 0)
		fail_msg("%s", r->err.msg);
}

static void expect_equal(struct rig *r)
{
	for (unsigned int i = 0; i < r->from.ndisks; i++)
		assert_memory_equal(r->from.disk[i].data, r->to.disk[i].data,
				    SIZE);
}

static void fill(struct mem_disk *m, uint64_t from, uint64_t end)
{
	for (uint64_t i = from; i < end; i++)
		m->data[i] = (uint8_t)(i * 2654435761u >> 13);
}

/* -- what arrives */

static void a_write_during_the_copy_is_never_missed(void **state)
{
	for (unsigned int seed = 1; seed <= 6; seed++) {
		struct rig r;

		rig_init(&r, 1 + seed % 2);
		fill(&r.from.disk[0], 1 * MIB, SIZE);
		guest_start(&r, seed);
		r.send.verify = seed % 2;
		rig_start(&r);
		assert_int_equal(copied(&r), DISK_SEND_MIRRORED);
		/* some writes that are mirrored, too */
		for (uint64_t n = r.writes; r.writes < n + 50;)
			sched_yield();
		guest_stop(&r);
		finish(&r);
		expect_equal(&r);
		assert_true(r.to.disk[0].flushes > 0);
		rig_exit(&r);
	}
}

static void mirrored_a_write_is_over_when_both_sides_have_it(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	rig_start(&r);
	assert_int_equal(copied(&r), DISK_SEND_MIRRORED);
	for (unsigned int i = 0; i < 200; i++) {
		uint64_t at = i * 37 % (SIZE / 512) * 512;

		guest_writes(&r.from.disk[0], at, 512, (uint8_t)(i + 1));
		assert_memory_equal(r.from.disk[0].data + at,
				    r.to.disk[0].data + at, 512);
	}
	assert_true(r.progress.now.disk[0].mirrored >= 200 * 4096);
	finish(&r);
	expect_equal(&r);
	rig_exit(&r);
}

static void holes_and_zeroes_cost_nothing(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	r.from.disk[0].hole_end = 3 * MIB;
	fill(&r.from.disk[0], 7 * MIB, 7 * MIB + 5);
	rig_start(&r);
	assert_int_equal(copied(&r), DISK_SEND_MIRRORED);
	finish(&r);
	expect_equal(&r);
	assert_int_equal(r.to.disk[0].zeroes, 0);
	assert_true(r.from.disk[0].reads <= 6);
	assert_int_equal(r.progress.now.disk[0].copied, 64 * KIB);
	rig_exit(&r);
}

static void what_was_there_before_is_gone(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	r.from.disk[0].hole_end = 3 * MIB;
	fill(&r.from.disk[0], 5 * MIB, 6 * MIB);
	fill(&r.to.disk[0], 0, SIZE);
	r.to.disk[0].d.overwrite = true;
	r.send.verify = true;
	rig_start(&r);
	assert_int_equal(copied(&r), DISK_SEND_MIRRORED);
	assert_int_equal(r.progress.now.disk[0].verified, SIZE);
	finish(&r);
	expect_equal(&r);
	rig_exit(&r);
}

/* As soon as it is said to be a hole. */
static void write_into_hole(struct mem_disk *m)
{
	guest_writes(m, 2 * MIB - 512, 512, 9);
	guest_writes(m, 512, 512, 9);
}

static void a_write_into_a_hole_just_found_is_not_lost(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	r.from.disk[0].hole_end = 3 * MIB;
	r.from.disk[0].mapped = write_into_hole;
	rig_start(&r);
	assert_int_equal(copied(&r), DISK_SEND_MIRRORED);
	finish(&r);
	expect_equal(&r);
	assert_int_equal(r.to.disk[0].data[512], 9);
	rig_exit(&r);
}

static void a_hole_is_not_zeroed_where_there_is_one(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	r.from.disk[0].hole_end = 3 * MIB;
	r.to.disk[0].hole_end = 3 * MIB;
	fill(&r.to.disk[0], 3 * MIB, SIZE);
	r.to.disk[0].d.overwrite = true;
	rig_start(&r);
	assert_int_equal(copied(&r), DISK_SEND_MIRRORED);
	finish(&r);
	expect_equal(&r);
	/* 3 to 8 MiB, a read of the source each, and what is left */
	assert_int_equal(r.to.disk[0].zeroes, 6);
	assert_int_equal(r.to.disk[0].reads, 0);
	rig_exit(&r);
}

static void an_empty_disk_that_knows_so_is_not_read(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	r.to.disk[0].hole_end = 8 * MIB;
	assert_int_equal(rig_open(&r), 0);
	assert_int_equal(r.to.disk[0].reads, 1);
	rig_exit(&r);
}

/* -- what is refused */

static void every_reason_to_refuse_is_told(void **state)
{
	struct rig r;

	rig_init(&r, 2);
	r.to.disk[0].data[SIZE - 1] = 1;
	r.to.disk[1].d.size -= 512;
	r.send.disks.n = 3;
	r.send.disks.disk[2] = (struct wire_disk){ "three", SIZE };
	assert_true(rig_open(&r) < 0);
	assert_non_null(strstr(r.err.msg, "disk one holds data already"));
	assert_non_null(strstr(r.err.msg, "disk two has"));
	assert_non_null(strstr(r.err.msg, "disk three: no such disk"));
	r.send.disks.n = 2;
	rig_exit(&r);
}

static void a_read_only_disk_is_refused(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	r.to.disk[0].d.readonly = true;
	assert_int_equal(rig_open(&r), -EROFS);
	rig_exit(&r);
}

/* -- what goes wrong */

static void expect_failure(struct rig *r, const char *why)
{
	assert_int_equal(copied(r), DISK_SEND_FAILED);
	assert_true(disk_send_check(&r->send, &r->err) < 0);
	if (!strstr(r->err.msg, why))
		fail_msg("%s", r->err.msg);
}

static void a_byte_that_differs_is_found_by_verify(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	fill(&r.from.disk[0], 0, SIZE);
	r.to.disk[0].flip_at = 5 * MIB + 77;
	r.send.verify = true;
	rig_start(&r);
	expect_failure(&r, "disk one differs on the other side at 0x500000");
	rig_exit(&r);
}

static void a_disk_that_fails_there_ends_the_job_with_its_reason(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	fill(&r.from.disk[0], 0, SIZE);
	r.to.disk[0].error = -ENOSPC;
	rig_start(&r);
	while (disk_recv_reached(&r.recv, &r.err) == 0)
		sched_yield();
	assert_int_equal(r.err.code, ENOSPC);
	rig_exit(&r);
}

static void a_mirror_that_breaks_holds_no_guest(void **state)
{
	struct rig r;

	rig_init(&r, 1);
	rig_start(&r);
	assert_int_equal(copied(&r), DISK_SEND_MIRRORED);
	guest_start(&r, 1);
	channel_shutdown(&r.recv.channel);
	while (r.send.state != DISK_SEND_FAILED)
		sched_yield();
	for (uint64_t n = r.writes; r.writes < n + 100;)
		sched_yield();
	guest_stop(&r);
	rig_exit(&r);
}

static void a_disk_that_hangs_can_be_left(void **state)
{
	struct rig r;
	struct mem_disk *m = &r.from.disk[0];
	bool kept = false;

	rig_init(&r, 1);
	m->hang = true;
	rig_start(&r);
	while (!kept) {
		pthread_mutex_lock(&m->lock);
		kept = m->kept;
		pthread_mutex_unlock(&m->lock);
	}
	disk_send_exit(&r.send);
	/* it comes back when nobody waits any more */
	memset(m->kept->buf, 1, m->kept->len);
	m->kept->done(m->kept, 0);
	r.send.disks.n = 0;
	rig_exit(&r);
}

/* -- what a peer may send */

static void far_send(struct channel *ch, const struct disk_run *run,
		     const void *data, size_t len)
{
	struct error err = ERROR_INIT;
	uint8_t buf[DISK_RUN_HEADER + 4096];
	struct iovec iov = { buf, DISK_RUN_HEADER + len };

	disk_run_encode(buf, run);
	memcpy(buf + DISK_RUN_HEADER, data, len);
	assert_int_equal(channel_writev(ch, &iov, 1, 0, &err), 0);
}

static void nonsense_is_refused_and_outlived(void **state)
{
	static const struct {
		struct disk_run run;
		const char *why;
	} bad[] = {
		{ { .kind = 0 }, "invalid run" },
		{ { .kind = 5 }, "invalid run" },
		{ { .kind = DISK_RUN_DATA, .len = 0 }, "invalid run" },
		{ { .kind = DISK_RUN_DATA, .disk = 1, .len = 512 },
		  "invalid run" },
		{ { .kind = DISK_RUN_DATA, .len = 511 }, "invalid run" },
		{ { .kind = DISK_RUN_DATA, .len = DISK_RUN_BYTES + 512 },
		  "invalid run" },
		{ { .kind = DISK_RUN_DATA, .offset = SIZE, .len = 512 },
		  "invalid run" },
		{ { .kind = DISK_RUN_ZERO, .offset = UINT64_MAX - 511,
		    .len = 1024 }, "invalid run" },
		{ { .kind = DISK_RUN_SUM, .offset = SIZE - 512, .len = 1024 },
		  "invalid run" },
		{ { .kind = DISK_RUN_FENCE, .seq = 2 }, "disk fence 2" },
		{ { .kind = DISK_RUN_FENCE, .seq = 1, .flags = 4 },
		  "invalid run" },
		{ { .kind = DISK_RUN_DATA, .len = 512, .sum = 1 }, "damaged" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		static const uint8_t data[512] = { 7 };
		struct channel near, far;
		struct rig r;

		rig_init(&r, 1);
		assert_int_equal(rig_open(&r), 0);
		assert_int_equal(channel_pair(&near, &far, &r.err), 0);
		assert_int_equal(disk_recv_add(&r.recv, &far, &r.err), 0);
		far_send(&near, &bad[i].run, data, sizeof(data));
		while (disk_recv_reached(&r.recv, &r.err) == 0)
			sched_yield();
		if (!strstr(r.err.msg, bad[i].why))
			fail_msg("%zu: %s", i, r.err.msg);
		for (size_t at = 0; at < SIZE; at++)
			assert_int_equal(r.to.disk[0].data[at], 0);
		channel_close(&near);
		rig_exit(&r);
	}
}

static void names_are_checked(void **state)
{
	struct wire_disks m = { .n = 2, .disk = {
		{ "a", 512 }, { "b", 1024 } } }, got;
	struct error err = ERROR_INIT;
	uint8_t buf[WIRE_DISKS_MAX];
	size_t len = wire_disks_encode(buf, &m);

	assert_int_equal(wire_disks_decode(buf, len, &got, &err), 0);
	assert_int_equal(got.n, 2);
	assert_string_equal(got.disk[1].id, "b");
	assert_int_equal(got.disk[1].size, 1024);
	for (size_t cut = 0; cut < len; cut++)
		assert_true(wire_disks_decode(buf, cut, &got, &err) < 0);
	strcpy(m.disk[1].id, "a");
	len = wire_disks_encode(buf, &m);
	assert_true(wire_disks_decode(buf, len, &got, &err) < 0);
	assert_non_null(strstr(err.msg, "twice"));
	strcpy(m.disk[1].id, "\033[2J");
	len = wire_disks_encode(buf, &m);
	assert_true(wire_disks_decode(buf, len, &got, &err) < 0);
	strcpy(m.disk[1].id, "b");
	m.disk[1].size = 513;
	len = wire_disks_encode(buf, &m);
	assert_true(wire_disks_decode(buf, len, &got, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_during_the_copy_is_never_missed),
		cmocka_unit_test(
			mirrored_a_write_is_over_when_both_sides_have_it),
		cmocka_unit_test(holes_and_zeroes_cost_nothing),
		cmocka_unit_test(what_was_there_before_is_gone),
		cmocka_unit_test(a_write_into_a_hole_just_found_is_not_lost),
		cmocka_unit_test(a_hole_is_not_zeroed_where_there_is_one),
		cmocka_unit_test(an_empty_disk_that_knows_so_is_not_read),
		cmocka_unit_test(every_reason_to_refuse_is_told),
		cmocka_unit_test(a_read_only_disk_is_refused),
		cmocka_unit_test(a_byte_that_differs_is_found_by_verify),
		cmocka_unit_test(
			a_disk_that_fails_there_ends_the_job_with_its_reason),
		cmocka_unit_test(a_mirror_that_breaks_holds_no_guest),
		cmocka_unit_test(a_disk_that_hangs_can_be_left),
		cmocka_unit_test(nonsense_is_refused_and_outlived),
		cmocka_unit_test(names_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
