/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/move_rig.h"

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

static int rig_build(void *arg, const void *tree, size_t len,
		     const struct vm_memory_file *memory, struct vm **vm,
		     struct error *err)
{
	struct rig *r = arg;

	(void)tree, (void)len;
	r->got_memory = memory;
	if (r->model.fail_build) {
		error_add(err, ENOENT, "disk0: no such export");
		return error_add(err, ENOENT, "net0: no such tap");
	}
	r->to = memory ? fake_vm_new_shared(&r->world, RIG_MIB, memory, err) :
			 fake_vm_new(&r->world, RIG_MIB, true);
	if (!r->to)
		return -err->code;
	/* the guest does there what it did here */
	r->to->guest_pages = r->from->guest_pages;
	r->to->guest_pause_us = r->from->guest_pause_us;
	r->to->load_ms = r->model.load_ms;
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

void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	strcpy(r->dir, "/tmp/godwit-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->uri, sizeof(r->uri), "unix:%s/d", r->dir);
	snprintf(r->proxy_uri, sizeof(r->proxy_uri), "unix:%s/p", r->dir);
	fake_world_init(&r->world);
	r->from = fake_vm_new(&r->world, RIG_MIB, false);
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

void rig_init_local(struct rig *r)
{
	rig_init(r);
	fake_vm_free(r->from);
	r->from = fake_vm_new_shared(&r->world, RIG_MIB, NULL, &r->err);
	assert_non_null(r->from);
	fake_vm_fill(r->from, 100, 500, 7);
	fake_vm_start(r->from);
	r->scfg.vm = &r->from->vm;
	r->scfg.params.local = true;
}

void rig_listen(struct rig *r)
{
	assert_int_equal(migration_destination_start(&r->d, &r->dcfg, &r->err),
			 0);
}

void rig_cut(struct rig *r, enum wire_type type, bool before,
		    bool block)
{
	r->proxy.type = type;
	r->proxy.before = before;
	r->proxy.block = block;
	cut_proxy_start(&r->proxy, r->proxy_uri, r->uri);
	r->proxied = true;
	r->scfg.params.uri = r->proxy_uri;
}

void rig_move(struct rig *r)
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
void rig_exit(struct rig *r)
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

void expect_moved(struct rig *r)
{
	assert_int_equal(r->stats.outcome, MIGRATION_COMPLETED);
	assert_int_equal(r->from->state, VM_POSTMIGRATE);
	assert_non_null(r->to);
	assert_int_equal(r->to->state, VM_RUNNING);
	assert_int_equal(r->world.running, 1);
}

void expect_stayed(struct rig *r, enum migration_outcome outcome,
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
