/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migrations that are cancelled, or whose link is cut at a message of the
 * hand-over. What is claimed each time: exactly one VM runs afterwards, or
 * somebody is told why none does; never two, and none without the lock.
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

/* -- cancel --------------------------------------------------------------- */

static void cancel_before_go(enum migration_stage stage)
{
	struct rig r;

	rig_init(&r);
	r.cancel_at = stage;
	rig_move(&r);
	assert_int_equal(r.cancel_ret, 0);
	expect_stayed(&r, MIGRATION_CANCELLED, "cancelled");
	rig_exit(&r);
}

static void cancel_while_connecting_leaves_the_vm_running(void **state)
{
	(void)state;
	cancel_before_go(MIGRATION_STAGE_PRE_MIGRATION);
}

static void cancel_at_the_offer_leaves_the_vm_running(void **state)
{
	(void)state;
	cancel_before_go(MIGRATION_STAGE_RESERVATION);
}

static void cancel_in_precopy_leaves_the_vm_running(void **state)
{
	(void)state;
	cancel_before_go(MIGRATION_STAGE_PRECOPY);
}

static void cancel_in_the_pause_resumes_the_vm(void **state)
{
	(void)state;
	cancel_before_go(MIGRATION_STAGE_STOP_AND_COPY);
}

static void cancel_after_go_is_too_late(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.cancel_at = MIGRATION_STAGE_COMMITMENT;
	rig_move(&r);
	assert_int_equal(r.cancel_ret, -EALREADY);
	expect_moved(&r);
	rig_exit(&r);
}

/* -- links that are cut --------------------------------------------------- */

static void cut_before_go_resumes_the_source(void **state)
{
	static const enum wire_type type[] = {
		WIRE_OFFER, WIRE_ACCEPT, WIRE_ROUND, WIRE_STATE, WIRE_PREPARED,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(type); i++) {
		struct rig r;

		rig_init(&r);
		rig_cut(&r, type[i], true, false);
		rig_move(&r);
		assert_true(r.proxy.cut);
		expect_stayed(&r, MIGRATION_FAILED, "");
		rig_exit(&r);
	}
}

static void lost_go_is_said_again(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_cut(&r, WIRE_GO, true, false);
	rig_move(&r);
	assert_true(r.proxy.cut);
	expect_moved(&r);
	rig_exit(&r);
}

static void lost_running_is_asked_for(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_cut(&r, WIRE_RUNNING, true, false);
	rig_move(&r);
	assert_true(r.proxy.cut);
	expect_moved(&r);
	rig_exit(&r);
}

static void copy_that_cannot_run_after_go_comes_back_by_dead(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.model.fail_run = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "KVM_RUN: no");
	assert_null(r.to);
	rig_exit(&r);
}

static void lost_dead_is_asked_for(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.model.fail_run = 1;
	rig_cut(&r, WIRE_DEAD, true, false);
	rig_move(&r);
	assert_true(r.proxy.cut);
	expect_stayed(&r, MIGRATION_FAILED, "copy was destroyed");
	rig_exit(&r);
}

static void nobody_answering_after_go_leaves_the_vm_paused(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.resolve_s = 1;
	rig_cut(&r, WIRE_RUNNING, true, true);
	rig_move(&r);
	assert_int_equal(r.stats.outcome, MIGRATION_UNKNOWN);
	assert_int_equal(r.from->state, VM_FINISH_MIGRATE);
	assert_non_null(strstr(r.stats.error.msg, "godwit info fake"));
	assert_non_null(strstr(r.stats.error.msg, "godwit resolve fake"));
	/* and in truth it runs there: running it here as well would have been
	 * the disaster */
	assert_int_equal(r.to->state, VM_RUNNING);
	rig_exit(&r);
}

static void operator_cannot_take_back_a_vm_whose_disk_is_held(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.resolve_s = 1;
	rig_cut(&r, WIRE_RUNNING, true, true);
	rig_move(&r);
	assert_int_equal(migration_source_take_back(r.s, &r.err), -EBUSY);
	rig_exit(&r);
}

static void operator_takes_back_a_vm_that_died_there(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.resolve_s = 1;
	rig_cut(&r, WIRE_GO, true, true);
	rig_move(&r);
	assert_int_equal(r.stats.outcome, MIGRATION_UNKNOWN);
	/* the destination gave up after go_wait_ms */
	while (!r.attempts_over)
		usleep(1000);
	assert_int_equal(migration_source_take_back(r.s, &r.err), 0);
	assert_int_equal(r.from->state, VM_RUNNING);
	rig_exit(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancel_while_connecting_leaves_the_vm_running),
		cmocka_unit_test(cancel_at_the_offer_leaves_the_vm_running),
		cmocka_unit_test(cancel_in_precopy_leaves_the_vm_running),
		cmocka_unit_test(cancel_in_the_pause_resumes_the_vm),
		cmocka_unit_test(cancel_after_go_is_too_late),
		cmocka_unit_test(cut_before_go_resumes_the_source),
		cmocka_unit_test(lost_go_is_said_again),
		cmocka_unit_test(lost_running_is_asked_for),
		cmocka_unit_test(
			copy_that_cannot_run_after_go_comes_back_by_dead),
		cmocka_unit_test(lost_dead_is_asked_for),
		cmocka_unit_test(
			nobody_answering_after_go_leaves_the_vm_paused),
		cmocka_unit_test(
			operator_cannot_take_back_a_vm_whose_disk_is_held),
		cmocka_unit_test(operator_takes_back_a_vm_that_died_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
