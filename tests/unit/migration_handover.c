/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole migrations between two VMs of one process, without KVM: with links
 * that are cut at every message, steps that fail, caps that are exceeded. What
 * is claimed each time: exactly one VM runs afterwards, never two at any time,
 * and none without the disk's lock.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/destination.h"
#include "migration/source.h"
#include "tests/lib/cut_proxy.h"
#include "tests/lib/fake_vm.h"

#define MIB_EACH 8

struct rig {
	struct fake_world world;
	struct fake_vm *from;
	struct fake_vm *to;		/* as built by the destination */
	struct fake_vm model;		/* injections for the one built */
	struct migration_destination_config dcfg;
	struct migration_source_config scfg;
	struct migration_destination *d;
	struct migration_source *_Atomic s;
	struct cut_proxy proxy;
	bool proxied;
	char dir[32], uri[64], proxy_uri[64];
	struct error err;
	struct migration_stats stats;
	unsigned int stages;		/* bit a stage that was told */
	atomic_int attempts_over;
	enum migration_stage cancel_at;
	int cancel_ret;
};

static int rig_build(void *arg, const void *tree, size_t len, struct vm **vm,
		     struct error *err)
{
	struct rig *r = arg;

	(void)tree, (void)len;
	if (r->model.fail_build) {
		error_add(err, ENOENT, "disk0: no such export");
		return error_add(err, ENOENT, "net0: no such tap");
	}
	r->to = fake_vm_new(&r->world, MIB_EACH, true);
	r->to->fail_load = r->model.fail_load;
	r->to->fail_activate = r->model.fail_activate;
	r->to->fail_run = r->model.fail_run;
	*vm = &r->to->vm;
	return 0;
}

static void rig_destroy_vm(void *arg, struct vm *vm)
{
	struct rig *r = arg;

	assert_ptr_equal(vm, &r->to->vm);
	fake_vm_free(r->to);
	r->to = NULL;
}

static void rig_destination_notify(void *arg,
				   const struct migration_stats *stats)
{
	struct rig *r = arg;

	if (stats->outcome != MIGRATION_GOING_ON)
		r->attempts_over++;
}

static void rig_source_notify(void *arg, const struct migration_stats *stats)
{
	struct rig *r = arg;
	struct error err = ERROR_INIT;

	r->stages |= 1u << stats->stage;
	if (r->cancel_at && stats->stage == r->cancel_at &&
	    stats->outcome == MIGRATION_GOING_ON) {
		while (!r->s)	/* start() has not returned yet */
			sched_yield();
		r->cancel_ret = migration_source_cancel(r->s, &err);
	}
}

static void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	strcpy(r->dir, "/tmp/godwit-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->uri, sizeof(r->uri), "unix:%s/d", r->dir);
	snprintf(r->proxy_uri, sizeof(r->proxy_uri), "unix:%s/p", r->dir);
	fake_world_init(&r->world);
	r->from = fake_vm_new(&r->world, MIB_EACH, false);
	fake_vm_fill(r->from, 100, 500, 7);
	fake_vm_start(r->from);
	r->dcfg = (struct migration_destination_config){
		.uri = r->uri, .ops = &fake_vm_ops, .build = rig_build,
		.destroy = rig_destroy_vm, .notify = rig_destination_notify,
		.arg = r, .go_wait_ms = 300, .linger_ms = 3000,
	};
	r->scfg = (struct migration_source_config){
		.vm = &r->from->vm, .ops = &fake_vm_ops,
		.notify = rig_source_notify, .arg = r,
	};
	migration_params_init(&r->scfg.params);
	/* claims are about order, not about speed: a loaded machine is slow */
	r->scfg.params.max_pause_ms = 20000;
	r->scfg.params.resolve_s = 3;
	r->scfg.params.uri = r->uri;
}

static void rig_listen(struct rig *r)
{
	assert_int_equal(migration_destination_start(&r->d, &r->dcfg, &r->err),
			 0);
}

static void rig_cut(struct rig *r, enum wire_type type, bool before,
		    bool block)
{
	r->proxy.type = type;
	r->proxy.before = before;
	r->proxy.block = block;
	cut_proxy_start(&r->proxy, r->proxy_uri, r->uri);
	r->proxied = true;
	r->scfg.params.uri = r->proxy_uri;
}

static void rig_move(struct rig *r)
{
	struct migration_source *s;

	if (!r->d)
		rig_listen(r);
	assert_int_equal(migration_source_start(&s, &r->scfg, &r->err), 0);
	r->s = s;
	migration_source_wait(r->s);
	migration_source_stats(r->s, &r->stats);
}

/* At the end of each test: what must be true whatever happened. */
static void rig_exit(struct rig *r)
{
	migration_source_destroy(r->s);
	migration_destination_destroy(r->d);
	if (r->proxied)
		cut_proxy_stop(&r->proxy);
	assert_true(r->world.most_running <= 1);
	assert_int_equal(r->world.thefts, 0);
	fake_vm_free(r->from);
	fake_vm_free(r->to);
	rmdir(r->dir);
}

static void expect_moved(struct rig *r)
{
	assert_int_equal(r->stats.outcome, MIGRATION_COMPLETED);
	assert_int_equal(r->from->state, VM_POSTMIGRATE);
	assert_non_null(r->to);
	assert_int_equal(r->to->state, VM_RUNNING);
	assert_int_equal(r->world.running, 1);
}

static void expect_stayed(struct rig *r, enum migration_outcome outcome,
			  const char *why)
{
	assert_int_equal(r->stats.outcome, outcome);
	assert_int_equal(r->from->state, VM_RUNNING);
	assert_ptr_equal(r->world.holder, r->from);
	assert_int_equal(r->world.running, 1);
	if (!strstr(r->stats.error.msg, why))
		print_message("error was: %s\n", r->stats.error.msg);
	assert_non_null(strstr(r->stats.error.msg, why));
}

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
	struct rig r;
	uint64_t all = MIB_EACH * MIB >> PAGE_SHIFT;

	(void)state;
	rig_init(&r);
	r.from->guest_pages = 0;
	rig_move(&r);
	assert_int_equal(r.stats.normal_pages, 500);
	assert_int_equal(r.stats.constant_pages + r.stats.absent_pages,
			 all - 500);
	assert_int_equal(r.stats.memory_total, MIB_EACH * MIB);
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
	r.dcfg.uri = "tcp:127.0.0.1:0";
	r.scfg.params.channels = 4;
	rig_listen(&r);
	r.scfg.params.uri = migration_destination_uri(r.d);
	rig_move(&r);
	expect_moved(&r);
	rig_exit(&r);
}

static void ipv6_carries_it(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.dcfg.uri = "tcp:[::1]:0";
	if (migration_destination_start(&r.d, &r.dcfg, &r.err) < 0) {
		rig_exit(&r);
		skip();		/* no IPv6 here */
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

static void guest_too_busy_to_converge_keeps_running(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.from->guest_pages = 1024;
	r.from->guest_pause_us = 0;
	r.scfg.params.bandwidth = 8 * MIB;
	r.scfg.params.downtime_ms = 10;
	r.scfg.params.timeout_s = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "--timeout");
	rig_exit(&r);
}

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
		cmocka_unit_test(vm_moves_and_nothing_is_lost),
		cmocka_unit_test(
			vm_that_was_paused_arrives_paused_with_all_its_memory),
		cmocka_unit_test(what_saving_writes_to_memory_travels_too),
		cmocka_unit_test(every_stage_is_told_in_turn),
		cmocka_unit_test(report_adds_up),
		cmocka_unit_test(four_channels_over_tcp_carry_it),
		cmocka_unit_test(ipv6_carries_it),
		cmocka_unit_test(nobody_listening_leaves_the_vm_running),
		cmocka_unit_test(refusal_carries_all_reasons),
		cmocka_unit_test(state_that_cannot_be_loaded_resumes_the_source),
		cmocka_unit_test(
			locks_that_cannot_be_taken_there_resume_the_source),
		cmocka_unit_test(second_attempt_succeeds_after_one_that_failed),
		cmocka_unit_test(cap_exceeded_resumes_the_source),
		cmocka_unit_test(disk_that_does_not_drain_resumes_the_source),
		cmocka_unit_test(source_retries_until_its_locks_are_free),
		cmocka_unit_test(guest_too_busy_to_converge_keeps_running),
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
		cmocka_unit_test(nobody_answering_after_go_leaves_the_vm_paused),
		cmocka_unit_test(
			operator_cannot_take_back_a_vm_whose_disk_is_held),
		cmocka_unit_test(operator_takes_back_a_vm_that_died_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
