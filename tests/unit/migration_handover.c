/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole migrations between two VMs of one process, without KVM: those that
 * succeed, and those in which a step fails or takes too long. What is claimed
 * each time: exactly one VM runs afterwards, never two at any time, and none
 * without the disk's lock.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/move_rig.h"

static void vm_moves_and_nothing_is_lost(void **state)
{
	struct rig r;
	uint64_t page[512];

	(void)state;
	rig_init(&r);
	rig_move(&r);
	expect_moved(&r);
	/* the guest wrote on to its own pages since; the others are the same */
	for (uint64_t p = 64; p < 700; p++) {
		memory_read(&r.from->vm.mem, p << PAGE_SHIFT, page,
			    sizeof(page));
		assert_memory_equal(memory_ptr(&r.to->vm.mem, p << PAGE_SHIFT,
					       PAGE_BYTES), page, PAGE_BYTES);
	}
	assert_true(r.to->counter >= r.from->counter);
	rig_exit(&r);
}

static void vm_that_was_paused_arrives_paused_with_all_its_memory(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	fake_vm_ops.pause(&r.from->vm, VM_PAUSED);
	rig_move(&r);
	assert_int_equal(r.stats.outcome, MIGRATION_COMPLETED);
	assert_int_equal(r.to->state, VM_PAUSED);
	assert_int_equal(r.to->announces, 0);
	assert_true(fake_vm_same_memory(r.from, r.to));
	rig_exit(&r);
}

static void what_saving_writes_to_memory_travels_too(void **state)
{
	struct rig r;
	char got[8];

	(void)state;
	rig_init(&r);
	r.from->save_writes = true;
	rig_move(&r);
	expect_moved(&r);
	memory_read(&r.to->vm.mem, r.to->vm.mem.region[0].range.size - 8, got,
		    8);
	assert_memory_equal(got, "goodbye", 8);
	rig_exit(&r);
}

/* After each round but the last, which is the pause. */
static void both_sides_rehearse_before_the_pause(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_move(&r);
	expect_moved(&r);
	assert_true(r.from->rehearsals >= 1);
	assert_int_equal(r.from->rehearsals, r.stats.iteration - 1);
	assert_int_equal(r.to->rehearsals, r.stats.iteration - 1);
	rig_exit(&r);
}

static void every_stage_is_told_in_turn(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_move(&r);
	assert_int_equal(r.stages,
			 1u << MIGRATION_STAGE_PRE_MIGRATION |
			 1u << MIGRATION_STAGE_RESERVATION |
			 1u << MIGRATION_STAGE_PRECOPY |
			 1u << MIGRATION_STAGE_STOP_AND_COPY |
			 1u << MIGRATION_STAGE_COMMITMENT |
			 1u << MIGRATION_STAGE_CLEAN_UP);
	rig_exit(&r);
}

static void report_adds_up(void **state)
{
	uint64_t all = RIG_MIB * MIB >> PAGE_SHIFT, full;
	struct rig r;

	(void)state;
	rig_init(&r);
	/* it may have begun to write, to pages of its own */
	full = r.from->guest_pages;
	r.from->guest_pages = 0;
	rig_move(&r);
	full = 500 + MIN(r.from->counter, full);
	assert_int_equal(r.stats.normal_pages, full);
	assert_int_equal(r.stats.constant_pages + r.stats.absent_pages,
			 all - full);
	assert_int_equal(r.stats.memory_total, RIG_MIB * MIB);
	assert_int_equal(r.stats.memory_remaining, 0);
	assert_true(r.stats.downtime_us <= r.stats.time_elapsed_us);
	assert_true(r.stats.wire_bytes > 500 * PAGE_BYTES);
	rig_exit(&r);
}

static void four_channels_over_tcp_carry_it(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.dcfg.security.plain = r.scfg.params.security.plain = true;
	r.dcfg.uri = "tcp:127.0.0.1:0";
	r.scfg.params.channels = 4;
	rig_listen(&r);
	r.scfg.params.uri = migration_destination_uri(r.d);
	rig_move(&r);
	expect_moved(&r);
	assert_int_equal(r.stats.channels, 4);
	rig_exit(&r);
}

static void channels_are_as_many_as_suit_the_cpus(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_move(&r);
	assert_int_equal(r.stats.channels, channels_auto());
	rig_exit(&r);
}

static void senders_are_as_many_as_the_vcpus_leave_cpus_for(void **state)
{
	unsigned int room = channels_room(1);
	struct rig r;

	(void)state;
	rig_init(&r);
	r.from->busy_vcpus = 1;
	rig_move(&r);
	expect_moved(&r);
	assert_int_equal(r.stats.senders,
			 room ? MIN(room, r.stats.channels) : r.stats.channels);
	rig_exit(&r);
}

static void vcpus_that_leave_no_cpu_share_theirs(void **state)
{
	struct rig r;

	(void)state;
	assert_int_equal(channels_room(VM_MAX_VCPUS * 1000), 0);
	rig_init(&r);
	r.from->busy_vcpus = VM_MAX_VCPUS * 1000;
	rig_move(&r);
	expect_moved(&r);
	assert_int_equal(r.stats.senders, r.stats.channels);
	rig_exit(&r);
}

static void who_says_how_many_channels_has_them_all_send(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.from->busy_vcpus = 1;
	r.scfg.params.channels = 3;
	rig_move(&r);
	expect_moved(&r);
	assert_int_equal(r.stats.senders, 3);
	rig_exit(&r);
}

static void a_destination_grants_what_it_has_cpus_for(void **state)
{
	(void)state;
	assert_in_range(channels_auto(), 1, CHANNELS_AUTO);
	assert_int_equal(channels_grant(CHANNELS_MAX, true), channels_auto());
	assert_int_equal(channels_grant(1, true), 1);
	/* who says a number gets it */
	assert_int_equal(channels_grant(CHANNELS_MAX, false), CHANNELS_MAX);
}

static void ipv6_carries_it(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.dcfg.security.plain = r.scfg.params.security.plain = true;
	r.dcfg.uri = "tcp:[::1]:0";
	if (migration_destination_start(&r.d, &r.dcfg, &r.err) < 0) {
		print_message("SKIP no IPv6 here: %s\n", r.err.msg);
		rig_exit(&r);
		skip();
	}
	r.scfg.params.uri = migration_destination_uri(r.d);
	rig_move(&r);
	expect_moved(&r);
	rig_exit(&r);
}

/* -- what fails before GO leaves the VM here ----------------------------- */

static void nobody_listening_leaves_the_vm_running(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.uri = "unix:/nonexistent/socket";
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "/nonexistent/socket");
	rig_exit(&r);
}

static void refusal_carries_all_reasons(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.model.fail_build = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "disk0: no such export");
	expect_stayed(&r, MIGRATION_FAILED, "net0: no such tap");
	rig_exit(&r);
}

static void state_that_cannot_be_loaded_resumes_the_source(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.model.fail_load = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "field ier is 255");
	rig_exit(&r);
}

static void locks_that_cannot_be_taken_there_resume_the_source(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.model.fail_activate = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "locked by another");
	rig_exit(&r);
}

static void second_attempt_succeeds_after_one_that_failed(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.model.fail_load = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "ier");
	migration_source_destroy(r.s);
	r.s = NULL;
	r.model.fail_load = 0;
	rig_move(&r);
	expect_moved(&r);
	rig_exit(&r);
}

static void cap_exceeded_resumes_the_source(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.max_pause_ms = 40;
	r.from->save_ms = 80;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "would exceed 40 ms");
	rig_exit(&r);
}

static void destination_too_slow_for_the_cap_resumes_the_source(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.max_pause_ms = 100;
	r.model.load_ms = 300;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "would exceed 100 ms");
	rig_exit(&r);
}

static void guest_that_powered_itself_off_is_not_resumed(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	fake_vm_ops.pause(&r.from->vm, VM_SHUTDOWN);
	rig_move(&r);
	assert_int_equal(r.stats.outcome, MIGRATION_FAILED);
	assert_int_equal(r.from->state, VM_SHUTDOWN);
	rig_exit(&r);
}

static void disk_that_does_not_drain_resumes_the_source(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.from->hang_quiesce = true;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "disk0 is busy");
	rig_exit(&r);
}

static void source_retries_until_its_locks_are_free(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.model.fail_load = 1;
	r.from->fail_activate = 2;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "ier");
	rig_exit(&r);
}

/* It writes to half of its memory faster than it can be sent. */
static void rig_busy(struct rig *r)
{
	rig_init(r);
	r->from->guest_pages = 1024;
	r->from->guest_pause_us = 0;
	r->scfg.params.bandwidth = 8 * MIB;
	r->scfg.params.downtime_ms = 10;
	r->scfg.params.timeout_s = 1;
}

static void guest_too_busy_to_converge_keeps_running(void **state)
{
	struct rig r;

	(void)state;
	rig_busy(&r);
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "--timeout");
	rig_exit(&r);
}

static void guest_too_busy_to_converge_is_stopped_if_told_so(void **state)
{
	struct rig r;

	(void)state;
	rig_busy(&r);
	r.scfg.params.on_timeout = POLICY_PAUSE;
	rig_move(&r);
	expect_moved(&r);
	rig_exit(&r);
}

static void guest_stopped_for_too_much_work_comes_back(void **state)
{
	struct rig r;

	(void)state;
	rig_busy(&r);
	r.scfg.params.on_timeout = POLICY_PAUSE;
	r.model.fail_load = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "ier");
	rig_exit(&r);
}

static void throttle_ends_with_the_migration(void **state)
{
	struct rig r;

	(void)state;
	rig_busy(&r);
	r.scfg.params.auto_converge = true;
	r.scfg.params.timeout_s = 4;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "--timeout");
	assert_in_range(r.from->most_throttle, 20, 99);
	assert_int_equal(r.stats.most_throttle, r.from->most_throttle);
	assert_int_equal(r.from->throttle, 0);
	assert_int_equal(r.stats.throttle, 0);
	rig_exit(&r);
}

static void dry_run_moves_nothing_and_the_next_is_served(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.dry_run = true;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_CANCELLED, "dry run");
	assert_int_equal(r.stats.forecast.by, MIGRATION_BY_DRY_RUN);
	assert_int_equal(r.stats.forecast.run.end, POLICY_STOP);
	assert_int_equal(r.stats.downtime_us, 0);
	migration_source_destroy(r.s);
	r.s = NULL;
	r.scfg.params.dry_run = false;
	rig_move(&r);
	expect_moved(&r);
	rig_exit(&r);
}

static void dry_run_can_be_cancelled(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.dry_run = true;
	r.cancel_at = MIGRATION_STAGE_PRECOPY;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_CANCELLED, "cancelled");
	assert_int_equal(r.stats.forecast.by, MIGRATION_BY_NOBODY);
	rig_exit(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(vm_moves_and_nothing_is_lost),
		cmocka_unit_test(
			vm_that_was_paused_arrives_paused_with_all_its_memory),
		cmocka_unit_test(what_saving_writes_to_memory_travels_too),
		cmocka_unit_test(both_sides_rehearse_before_the_pause),
		cmocka_unit_test(every_stage_is_told_in_turn),
		cmocka_unit_test(report_adds_up),
		cmocka_unit_test(four_channels_over_tcp_carry_it),
		cmocka_unit_test(channels_are_as_many_as_suit_the_cpus),
		cmocka_unit_test(senders_are_as_many_as_the_vcpus_leave_cpus_for),
		cmocka_unit_test(vcpus_that_leave_no_cpu_share_theirs),
		cmocka_unit_test(who_says_how_many_channels_has_them_all_send),
		cmocka_unit_test(a_destination_grants_what_it_has_cpus_for),
		cmocka_unit_test(ipv6_carries_it),
		cmocka_unit_test(nobody_listening_leaves_the_vm_running),
		cmocka_unit_test(refusal_carries_all_reasons),
		cmocka_unit_test(
			state_that_cannot_be_loaded_resumes_the_source),
		cmocka_unit_test(
			locks_that_cannot_be_taken_there_resume_the_source),
		cmocka_unit_test(second_attempt_succeeds_after_one_that_failed),
		cmocka_unit_test(cap_exceeded_resumes_the_source),
		cmocka_unit_test(
			destination_too_slow_for_the_cap_resumes_the_source),
		cmocka_unit_test(guest_that_powered_itself_off_is_not_resumed),
		cmocka_unit_test(disk_that_does_not_drain_resumes_the_source),
		cmocka_unit_test(source_retries_until_its_locks_are_free),
		cmocka_unit_test(guest_too_busy_to_converge_keeps_running),
		cmocka_unit_test(
			guest_too_busy_to_converge_is_stopped_if_told_so),
		cmocka_unit_test(guest_stopped_for_too_much_work_comes_back),
		cmocka_unit_test(throttle_ends_with_the_migration),
		cmocka_unit_test(dry_run_moves_nothing_and_the_next_is_served),
		cmocka_unit_test(dry_run_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
