/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Post-copy between two VMs of one process, without KVM: a guest that writes
 * faster than the line carries runs on the other side, and its memory follows.
 * Its threads wait for pages in the kernel, as vCPUs do.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migration/userfault.h"
#include "tests/lib/move_rig.h"
#include "vmm/base/fd.h"

#define GUEST_PAGES 1024

/* A busy guest on a line of @mib a second; skips where the kernel can't. */
static void begin(struct rig *r, unsigned int mib)
{
	rig_init(r);
	r->dcfg.userfault_fd = userfault_open(&r->err);
	if (r->dcfg.userfault_fd < 0) {
		print_message("SKIP %s\n", r->err.msg);
		rig_exit(r);
		skip();
	}
	fake_vm_fill(r->from, 1024, 512, 9);
	r->from->guest_pages = GUEST_PAGES;
	r->from->guest_pause_us = 0;
	r->scfg.params.bandwidth = mib * MIB;
	r->scfg.params.postcopy = true;
}

static void end(struct rig *r)
{
	int fd = r->dcfg.userfault_fd;

	rig_exit(r);
	fd_close(&fd);
}

/*
 * The guest writes its count to one page after the other: each of them holds
 * the last count that was its turn, or zero if it never was.
 */
static void expect_whole_memory(struct rig *r)
{
	uint64_t count, page[512], was[512];

	fake_vm_ops.pause(&r->to->vm, VM_PAUSED);
	count = r->to->counter;
	assert_true(count > 2 * GUEST_PAGES);
	for (uint64_t p = 0; p < GUEST_PAGES; p++) {
		memory_read(&r->to->vm.mem, p << PAGE_SHIFT, page, 8);
		assert_int_equal(page[0] % GUEST_PAGES, p);
		assert_true(count - page[0] < GUEST_PAGES);
	}
	for (uint64_t p = GUEST_PAGES; p < RIG_MIB * MIB >> PAGE_SHIFT; p++) {
		uint64_t gpa = p << PAGE_SHIFT;

		if (memory_read(&r->from->vm.mem, gpa, was, sizeof(was)) < 0)
			break;
		memory_read(&r->to->vm.mem, gpa, page, sizeof(page));
		assert_memory_equal(page, was, sizeof(page));
	}
	fake_vm_ops.run(&r->to->vm, &r->err);
}

static void start(struct rig *r)
{
	struct migration_source *s;

	rig_listen(r);
	assert_int_equal(migration_source_start(&s, &r->scfg, &r->err), 0);
	r->s = s;
}

static void await_link(struct rig *r, enum migration_link link)
{
	do {
		sched_yield();
		migration_source_stats(r->s, &r->stats);
		assert_int_equal(r->stats.outcome, MIGRATION_GOING_ON);
	} while (r->stats.postcopy.link != link);
}

static void finish(struct rig *r)
{
	migration_source_wait(r->s);
	migration_source_stats(r->s, &r->stats);
	expect_moved(r);
}

static void busy_guest_runs_there_and_its_memory_follows(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 4);
	rig_move(&r);
	expect_moved(&r);
	assert_string_equal(r.stats.type, "post-copy");
	assert_true(r.stats.postcopy.pages > 0);
	assert_true(r.stages & 1u << MIGRATION_STAGE_POSTCOPY);
	expect_whole_memory(&r);
	end(&r);
}

static void pages_that_are_waited_for_come_first_and_are_counted(void **state)
{
	uint64_t sum = 0;
	struct rig r;

	(void)state;
	begin(&r, 4);
	rig_move(&r);
	expect_moved(&r);
	for (unsigned int i = 0; i < WIRE_FETCH_BUCKETS; i++)
		sum += r.stats.postcopy.waits.wait[i];
	assert_true(r.stats.postcopy.requests > 0);
	assert_true(r.stats.postcopy.waits.faults > 0);
	assert_int_equal(sum, r.stats.postcopy.waits.faults);
	end(&r);
}

static void quiet_guest_needs_none(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 0);
	r.from->guest_pages = 1;
	r.from->guest_pause_us = 1000;
	rig_move(&r);
	expect_moved(&r);
	assert_string_equal(r.stats.type, "pre-copy");
	end(&r);
}

static void four_channels_and_a_guest_that_was_never_copied(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 1);
	r.scfg.params.postcopy = false;
	r.scfg.params.channels = 4;
	start(&r);
	assert_int_equal(migration_source_switch(r.s, &r.err), 0);
	finish(&r);
	assert_string_equal(r.stats.type, "post-copy");
	expect_whole_memory(&r);
	end(&r);
}

static void at_its_timeout_the_rest_follows(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 4);
	r.scfg.params.postcopy = false;
	r.scfg.params.timeout_s = 1;
	r.scfg.params.on_timeout = POLICY_POSTCOPY;
	rig_move(&r);
	expect_moved(&r);
	assert_string_equal(r.stats.type, "post-copy");
	expect_whole_memory(&r);
	end(&r);
}

static void lost_link_makes_both_wait_and_a_new_one_goes_on(void **state)
{
	uint64_t count;
	struct rig r;

	(void)state;
	begin(&r, 4);
	rig_cut(&r, 0, false, false);
	start(&r);
	await_link(&r, MIGRATION_LINK_UP);
	cut_proxy_cut(&r.proxy);
	await_link(&r, MIGRATION_LINK_LOST);
	assert_int_equal(r.from->state, VM_FINISH_MIGRATE);
	while (!r.to->held)
		sched_yield();
	count = r.to->counter;
	assert_true(r.stats.postcopy.lost.code != 0);
	assert_int_equal(migration_source_recover(r.s, r.uri, &r.err), 0);
	finish(&r);
	assert_int_equal(r.stats.postcopy.recoveries, 1);
	while (r.to->counter <= count + 1)
		sched_yield();
	expect_whole_memory(&r);
	end(&r);
}

static void each_of_three_lost_links_is_replaced(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 2);
	r.scfg.params.channels = 2;
	rig_cut(&r, 0, false, false);
	start(&r);
	for (unsigned int i = 0; i < 3; i++) {
		await_link(&r, MIGRATION_LINK_UP);
		cut_proxy_cut(&r.proxy);
		await_link(&r, MIGRATION_LINK_LOST);
		assert_int_equal(migration_source_recover(r.s, NULL, &r.err),
				 0);
	}
	finish(&r);
	assert_int_equal(r.stats.postcopy.recoveries, 3);
	expect_whole_memory(&r);
	end(&r);
}

static void lost_last_word_is_asked_for(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 4);
	rig_cut(&r, WIRE_FETCHED, true, false);
	rig_move(&r);
	expect_moved(&r);
	expect_whole_memory(&r);
	end(&r);
}

static void lost_running_waits_to_be_recovered(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 4);
	rig_cut(&r, WIRE_RUNNING, true, false);
	start(&r);
	await_link(&r, MIGRATION_LINK_LOST);
	assert_int_equal(r.world.running, 1);
	assert_int_equal(migration_source_recover(r.s, NULL, &r.err), 0);
	finish(&r);
	expect_whole_memory(&r);
	end(&r);
}

static void cancelling_is_too_late_while_memory_follows(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 4);
	rig_cut(&r, 0, false, true);
	start(&r);
	await_link(&r, MIGRATION_LINK_UP);
	cut_proxy_cut(&r.proxy);
	await_link(&r, MIGRATION_LINK_LOST);
	assert_int_equal(migration_source_cancel(r.s, &r.err), -EALREADY);
	/* what it lacks comes from elsewhere, lest the test hang */
	assert_int_equal(migration_source_recover(r.s, r.uri, &r.err), 0);
	finish(&r);
	assert_int_equal(r.from->state, VM_POSTMIGRATE);
	end(&r);
}

static void failure_before_go_leaves_it_here_with_its_memory(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 4);
	r.model.fail_load = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "field ier");
	end(&r);
}

static void destination_that_can_not_says_so_before_anything(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 4);
	fd_close(&r.dcfg.userfault_fd);
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "userfaultfd");
	assert_int_equal(r.stats.normal_pages, 0);
	end(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(busy_guest_runs_there_and_its_memory_follows),
		cmocka_unit_test(
			pages_that_are_waited_for_come_first_and_are_counted),
		cmocka_unit_test(quiet_guest_needs_none),
		cmocka_unit_test(
			four_channels_and_a_guest_that_was_never_copied),
		cmocka_unit_test(at_its_timeout_the_rest_follows),
		cmocka_unit_test(
			lost_link_makes_both_wait_and_a_new_one_goes_on),
		cmocka_unit_test(each_of_three_lost_links_is_replaced),
		cmocka_unit_test(lost_last_word_is_asked_for),
		cmocka_unit_test(lost_running_waits_to_be_recovered),
		cmocka_unit_test(
			cancelling_is_too_late_while_memory_follows),
		cmocka_unit_test(
			failure_before_go_leaves_it_here_with_its_memory),
		cmocka_unit_test(
			destination_that_can_not_says_so_before_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
