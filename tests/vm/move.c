/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A real VM moved within one process: source and destination side by side. */
#include "tests/lib/vm_rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/destination.h"
#include "migration/source.h"
#include "vmm/base/util.h"

struct move {
	struct vm_rig *from, *to;
	struct migration_source *source;
	struct migration_destination *destination;
	pthread_mutex_t lock;		/* protects source while it starts */
	char uri[64];
	/* in the migration's thread, when the guest is about to be stopped */
	void (*before_pause)(struct move *m);
	unsigned int stages;		/* seen by the source, a bit each */
};

static int build(void *arg, const void *tree, size_t len,
		     const struct vm_memory_file *memory, struct vm **vm,
		 struct error *err)
{
	struct move *m = arg;
	int ret = vm_rig_create(m->to, tree, true, err);

	*vm = m->to->vm;
	return ret;
}

static void destroy(void *arg, struct vm *vm)
{
	struct move *m = arg;

	vm_rig_destroy_vm(m->to);
}

static void on_source(void *arg, const struct migration_stats *stats)
{
	struct move *m = arg;

	m->stages |= 1u << stats->stage;
	if (stats->stage == MIGRATION_STAGE_STOP_AND_COPY && m->before_pause)
		m->before_pause(m);
}

static void start(struct move *m, const struct vm_spec *spec, const char *text)
{
	struct error err = ERROR_INIT;
	struct migration_destination_config cfg = {
		.uri = m->uri, .build = build, .destroy = destroy, .arg = m,
	};

	pthread_mutex_init(&m->lock, NULL);
	snprintf(m->uri, sizeof(m->uri), "unix:/tmp/godwit-move-%d", getpid());
	m->from = vm_rig_boot(spec);
	m->to = vm_rig_new();
	cfg.log = (struct log){ .level = LOG_INFO, .fd = m->to->log_fd };
	vm_rig_expect(m->from, text, 0);
	if (migration_destination_start(&m->destination, &cfg, &err) < 0)
		fail_msg("%s", err.msg);
}

static void try_move(struct move *m, struct migration_stats *stats)
{
	struct migration_source_config cfg = {
		.vm = m->from->vm, .notify = on_source, .arg = m,
	};
	struct error err = ERROR_INIT;
	int ret;

	migration_params_init(&cfg.params);
	cfg.params.uri = m->uri;
	cfg.params.max_pause_ms = 5000;		/* sanitizers are slow */
	pthread_mutex_lock(&m->lock);
	ret = migration_source_start(&m->source, &cfg, &err);
	pthread_mutex_unlock(&m->lock);
	if (ret < 0)
		fail_msg("%s", err.msg);
	migration_source_wait(m->source);
	migration_source_stats(m->source, stats);
}

static void move(struct move *m, struct migration_stats *stats)
{
	try_move(m, stats);
	if (stats->outcome != MIGRATION_COMPLETED)
		fail_msg("%s", stats->error.msg);
}

static void finish(struct move *m)
{
	migration_source_destroy(m->source);
	migration_destination_destroy(m->destination);
	vm_rig_free(m->from);
	vm_rig_free(m->to);
}

static const struct vm_spec verifier = {
	.guest = "verifier", .append = "mode=verify ws=8 rate=50 hb=20",
};

static void a_verifier_moves_within_the_process(void **state)
{
	struct move m = { 0 };
	struct migration_stats stats;
	size_t len;

	start(&m, &verifier, "H 1 ");
	move(&m, &stats);
	assert_int_equal(vm_get_state(m.from->vm), VM_POSTMIGRATE);
	assert_int_equal(vm_get_state(m.to->vm), VM_RUNNING);
	len = vm_rig_len(m.to);
	vm_rig_expect(m.to, "bad=0", len);
	assert_false(vm_rig_printed(m.to, "CORRUPT"));
	assert_false(vm_rig_printed(m.to, "H 0 "));
	finish(&m);
}

static void every_stage_is_passed(void **state)
{
	struct move m = { 0 };
	struct migration_stats stats;

	start(&m, &verifier, "H 0");
	move(&m, &stats);
	for (unsigned int s = MIGRATION_STAGE_PRE_MIGRATION;
	     s <= MIGRATION_STAGE_CLEAN_UP; s++)
		if (s != MIGRATION_STAGE_POSTCOPY)
			assert_true(m.stages & 1u << s);
	assert_true(stats.downtime_us > 0);
	assert_int_equal(stats.memory_remaining, 0);
	finish(&m);
}

#define DMA_AT (40 * MIB)	/* the guest never touches it */
#define DMA_PAGES 100

/* All pages were sent once; only the VMM's own record knows of these. */
static void dma(struct move *m)
{
	char page[PAGE_BYTES];

	for (uint64_t i = 0; i < DMA_PAGES; i++) {
		memset(page, (int)(i + 1), sizeof(page));
		assert_int_equal(memory_write(&m->from->vm->mem,
					      DMA_AT + i * PAGE_BYTES, page,
					      sizeof(page)), 0);
	}
}

static void what_the_vmm_writes_meanwhile_arrives(void **state)
{
	struct move m = { .before_pause = dma };
	struct migration_stats stats;
	uint8_t page[PAGE_BYTES];

	start(&m, &verifier, "H 0");
	move(&m, &stats);
	for (uint64_t i = 0; i < DMA_PAGES; i++) {
		assert_int_equal(memory_read(&m.to->vm->mem,
					     DMA_AT + i * PAGE_BYTES, page,
					     sizeof(page)), 0);
		for (size_t b = 0; b < sizeof(page); b++)
			assert_int_equal(page[b], i + 1);
	}
	finish(&m);
}

static void last_byte(struct move *m)
{
	const struct memory_range *r = &m->from->vm->mem.region[0].range;

	assert_int_equal(memory_write(&m->from->vm->mem, r->base + r->size - 1,
				      "!", 1), 0);
}

static void the_last_byte_of_memory_arrives(void **state)
{
	struct move m = { .before_pause = last_byte };
	struct migration_stats stats;
	const struct memory_range *r;
	char c = 0;

	start(&m, &verifier, "H 0");
	move(&m, &stats);
	r = &m.to->vm->mem.region[0].range;
	assert_int_equal(memory_read(&m.to->vm->mem, r->base + r->size - 1,
				     &c, 1), 0);
	assert_int_equal(c, '!');
	finish(&m);
}

static void pages_above_4_gib_arrive(void **state)
{
	struct move m = { 0 };
	struct migration_stats stats;
	uint64_t word = 0;

	start(&m, &(struct vm_spec){ .guest = "high", .memory = 5 * GIB,
				     .append = "at=0x100200000 exit=0" },
	      "high ok");
	move(&m, &stats);
	assert_int_equal(memory_read(&m.to->vm->mem, 4 * GIB + 2 * MIB, &word,
				     sizeof(word)), 0);
	assert_true(word == 0x4749422d34206576);
	finish(&m);
}

static void four_cpus_move(void **state)
{
	struct vm_spec four = verifier;
	struct move m = { 0 };
	struct migration_stats stats;
	size_t len;

	four.cpus = 4;
	start(&m, &four, "H 0");
	move(&m, &stats);
	len = vm_rig_len(m.to);
	vm_rig_expect(m.to, "bad=0", len);
	finish(&m);
}

static void cancel_it(struct move *m)
{
	struct error err = ERROR_INIT;

	pthread_mutex_lock(&m->lock);
	assert_int_equal(migration_source_cancel(m->source, &err), 0);
	pthread_mutex_unlock(&m->lock);
}

static void cancelled_at_the_pause_it_runs_on(void **state)
{
	struct move m = { .before_pause = cancel_it };
	struct migration_stats stats;
	size_t len;

	start(&m, &verifier, "H 0");
	try_move(&m, &stats);
	assert_int_equal(stats.outcome, MIGRATION_CANCELLED);
	assert_int_equal(vm_get_state(m.from->vm), VM_RUNNING);
	len = vm_rig_len(m.from);
	vm_rig_expect(m.from, "bad=0", len);
	finish(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_verifier_moves_within_the_process),
		cmocka_unit_test(every_stage_is_passed),
		cmocka_unit_test(what_the_vmm_writes_meanwhile_arrives),
		cmocka_unit_test(the_last_byte_of_memory_arrives),
		cmocka_unit_test(pages_above_4_gib_arrive),
		cmocka_unit_test(four_cpus_move),
		cmocka_unit_test(cancelled_at_the_pause_it_runs_on),
	};

	return vm_rig_run_tests(tests);
}
