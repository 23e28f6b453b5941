/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saving VMs to files and reading those, without KVM. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/bits.h"
#include "migration/snapshot.h"
#include "tests/lib/fake_vm.h"

#define VM_MIB 8
#define VM_PAGES (VM_MIB * MIB >> PAGE_SHIFT)

struct place {
	char dir[32], path[64];
	struct fake_world world;
	struct fake_vm *vm;
	struct snapshot_save_config cfg;
	struct migration_stats stats;
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool is_over;
	struct error err;
};

static void on_notify(void *arg, const struct migration_stats *stats)
{
	struct place *p = arg;

	pthread_mutex_lock(&p->lock);
	p->stats = *stats;
	p->is_over = stats->outcome != MIGRATION_GOING_ON;
	pthread_cond_signal(&p->over);
	pthread_mutex_unlock(&p->lock);
}

static int make(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/godwit-save-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->path, sizeof(p->path), "%s/vm", p->dir);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->over, NULL);
	fake_world_init(&p->world);
	p->vm = fake_vm_new(&p->world, VM_MIB, false);
	fake_vm_fill(p->vm, 64, 500, 7);
	fake_vm_start(p->vm);
	p->cfg = (struct snapshot_save_config){
		.vm = &p->vm->vm, .ops = &fake_vm_ops, .path = p->path,
		.downtime_ms = 300, .notify = on_notify, .arg = p,
	};
	*state = p;
	return 0;
}

static int drop(void **state)
{
	struct place *p = *state;

	unlink(p->path);
	/* nothing else may be left behind */
	assert_int_equal(rmdir(p->dir), 0);
	assert_int_equal(p->world.thefts, 0);
	fake_vm_free(p->vm);
	free(p);
	return 0;
}

/* Save, and wait for the outcome. */
static void save(struct place *p)
{
	struct snapshot_save *s;

	p->is_over = false;
	assert_int_equal(snapshot_save_start(&s, &p->cfg, &p->err), 0);
	pthread_mutex_lock(&p->lock);
	while (!p->is_over)
		pthread_cond_wait(&p->over, &p->lock);
	pthread_mutex_unlock(&p->lock);
	snapshot_save_destroy(s);
}

static void expect_runs_without_file(struct place *p, const char *why)
{
	struct stat st;

	assert_non_null(strstr(p->stats.error.msg, why));
	assert_int_equal(p->vm->state, VM_RUNNING);
	assert_ptr_equal(p->world.holder, p->vm);
	assert_int_equal(stat(p->path, &st), -1);
}

/* Is the memory in the file that of the VM? */
static bool same_memory(struct place *p)
{
	struct memory *mem = &p->vm->vm.mem, got;
	struct memory_range range[MEMORY_MAX_REGIONS];
	struct snapshot s;
	bool same = true;

	for (unsigned int r = 0; r < mem->nregions; r++)
		range[r] = mem->region[r].range;
	assert_int_equal(snapshot_open(&s, p->path, &p->err), 0);
	assert_int_equal(snapshot_verify(&s, NULL, &p->err), 0);
	assert_int_equal(memory_init_file(&got, range, mem->nregions, s.fd,
					  SNAPSHOT_MEMORY_AT, &p->err), 0);
	for (unsigned int r = 0; r < mem->nregions; r++)
		same = same && !memcmp(got.region[r].host, mem->region[r].host,
				       range[r].size);
	memory_exit(&got);
	snapshot_close(&s);
	return same;
}

static void saved_vm_is_over_and_its_memory_is_in_the_file(void **state)
{
	struct place *p = *state;

	p->vm->save_writes = true;
	save(p);
	assert_int_equal(p->stats.outcome, MIGRATION_COMPLETED);
	assert_int_equal(p->vm->state, VM_POSTMIGRATE);
	assert_null(p->world.holder);
	assert_true(same_memory(p));
}

static void vm_that_is_kept_runs_on(void **state)
{
	struct place *p = *state;

	p->cfg.keep = true;
	save(p);
	assert_int_equal(p->stats.outcome, MIGRATION_COMPLETED);
	assert_int_equal(p->vm->state, VM_RUNNING);
	assert_ptr_equal(p->world.holder, p->vm);
}

static void paused_vm_is_saved_as_paused(void **state)
{
	struct place *p = *state;
	struct snapshot s;

	fake_vm_ops.pause(&p->vm->vm, VM_PAUSED);
	p->cfg.keep = true;
	save(p);
	assert_int_equal(p->vm->state, VM_PAUSED);
	assert_true(same_memory(p));
	assert_int_equal(snapshot_open(&s, p->path, &p->err), 0);
	assert_int_equal(s.header.flags & SNAPSHOT_RUN, 0);
	snapshot_close(&s);
}

static void zeroes_take_no_room(void **state)
{
	struct place *p = *state;
	struct stat st;

	save(p);
	assert_int_equal(stat(p->path, &st), 0);
	assert_true((uint64_t)st.st_size > VM_MIB * MIB);
	assert_true((uint64_t)st.st_blocks * 512 < VM_MIB * MIB / 2);
}

static void file_that_exists_is_not_overwritten(void **state)
{
	struct place *p = *state;

	save(p);
	fake_vm_start(p->vm);
	save(p);
	assert_int_equal(p->stats.outcome, MIGRATION_FAILED);
	assert_non_null(strstr(p->stats.error.msg, "it exists"));
	assert_int_equal(p->vm->state, VM_RUNNING);
}

static void vm_runs_on_when_there_is_no_such_directory(void **state)
{
	struct place *p = *state;

	p->cfg.path = "/nonexistent/vm";
	save(p);
	expect_runs_without_file(p, "/nonexistent/vm");
}

static void vm_runs_on_when_the_file_gets_too_large(void **state)
{
	struct place *p = *state;
	struct rlimit old, less;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	less = old;
	/* it ends in the table, which is written in the pause or behind it */
	less.rlim_cur = SNAPSHOT_MEMORY_AT + (VM_MIB + 1) * MIB + 8;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
	save(p);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	expect_runs_without_file(p, "File too large");
}

static void vm_runs_on_when_a_disk_does_not_drain(void **state)
{
	struct place *p = *state;

	p->vm->hang_quiesce = true;
	save(p);
	expect_runs_without_file(p, "disk0 is busy");
}

static void cancelled_save_leaves_a_running_vm_and_no_file(void **state)
{
	struct place *p = *state;
	struct snapshot_save *s;

	assert_int_equal(snapshot_save_start(&s, &p->cfg, &p->err), 0);
	snapshot_save_destroy(s);
	if (p->stats.outcome == MIGRATION_COMPLETED)
		return;		/* it was faster */
	expect_runs_without_file(p, "cancelled");
}

/* -- files that were harmed ------------------------------------------------- */

static void flip(struct place *p, uint64_t at)
{
	int fd = open(p->path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static int open_again(struct place *p, struct snapshot *s)
{
	error_clear(&p->err);
	return snapshot_open(s, p->path, &p->err);
}

static void each_altered_byte_outside_of_memory_is_refused(void **state)
{
	struct place *p = *state;
	struct snapshot s;
	uint64_t table, end;

	save(p);
	assert_int_equal(open_again(p, &s), 0);
	table = s.header.part[SNAPSHOT_TABLE].at;
	end = s.header.part[SNAPSHOT_STATE].at +
	      s.header.part[SNAPSHOT_STATE].len;
	snapshot_close(&s);
	for (uint64_t at = 0; at < end; at++) {
		if (at == SNAPSHOT_HEADER)
			at = table;
		flip(p, at);
		if (open_again(p, &s) == 0) {
			/* room between two parts */
			snapshot_close(&s);
			assert_true(at % 8 && at > table);
		} else {
			assert_non_null(strstr(p->err.msg, p->path));
		}
		flip(p, at);
	}
	assert_int_equal(open_again(p, &s), 0);
	snapshot_close(&s);
}

static void altered_memory_is_found_by_its_checksum(void **state)
{
	struct place *p = *state;
	struct snapshot s;

	save(p);
	/* a page with data, and one in a hole */
	for (uint64_t page = 100; page < VM_PAGES; page += VM_PAGES / 2) {
		uint64_t at = SNAPSHOT_MEMORY_AT + (page << PAGE_SHIFT) + 17;

		flip(p, at);
		assert_int_equal(open_again(p, &s), 0);
		assert_int_equal(snapshot_verify(&s, NULL, &p->err), -EBADMSG);
		assert_non_null(strstr(p->err.msg, "altered"));
		snapshot_close(&s);
		flip(p, at);
	}
	assert_true(same_memory(p));
}

static void cut_file_is_refused_wherever_it_was_cut(void **state)
{
	struct place *p = *state;
	struct snapshot s;
	struct stat st;

	save(p);
	assert_int_equal(stat(p->path, &st), 0);
	for (off_t len = st.st_size - 1; len > 0; len -= 1 + len / 7) {
		assert_int_equal(truncate(p->path, len), 0);
		assert_int_not_equal(open_again(p, &s), 0);
		assert_non_null(strstr(p->err.msg, p->path));
	}
}

static void restore_is_marked_in_the_file(void **state)
{
	struct place *p = *state;
	struct snapshot s;

	save(p);
	assert_int_equal(open_again(p, &s), 0);
	assert_int_equal(s.header.restored_ns, 0);
	assert_int_equal(snapshot_mark_restored(&s, &p->err), 0);
	snapshot_close(&s);
	assert_int_equal(open_again(p, &s), 0);
	assert_int_not_equal(s.header.restored_ns, 0);
	snapshot_close(&s);
}

/* Memory that comes from a file is there, though nobody has touched it. */
static void pages_of_a_file_count_as_present(void **state)
{
	struct memory_range range = { .size = (VM_MIB - 1) * MIB };
	unsigned long present[VM_PAGES / LONG_BITS];
	struct place *p = *state;
	struct memory mem;
	struct snapshot s;

	save(p);
	assert_int_equal(open_again(p, &s), 0);
	assert_int_equal(memory_init_file(&mem, &range, 1, s.fd,
					  SNAPSHOT_MEMORY_AT, &p->err), 0);
	snapshot_close(&s);
	mem.region[0].host[range.size - 1] = 1;
	memory_present(&mem, 0, 0, range.size >> PAGE_SHIFT, present);
	for (uint64_t page = 64; page < 564; page++)
		assert_int_equal(bits_next(present, page, VM_PAGES), page);
	assert_int_equal(bits_next(present, 1000, VM_PAGES),
			 (range.size >> PAGE_SHIFT) - 1);
	memory_exit(&mem);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CLAIM(saved_vm_is_over_and_its_memory_is_in_the_file),
		CLAIM(vm_that_is_kept_runs_on),
		CLAIM(paused_vm_is_saved_as_paused),
		CLAIM(zeroes_take_no_room),
		CLAIM(file_that_exists_is_not_overwritten),
		CLAIM(vm_runs_on_when_there_is_no_such_directory),
		CLAIM(vm_runs_on_when_the_file_gets_too_large),
		CLAIM(vm_runs_on_when_a_disk_does_not_drain),
		CLAIM(cancelled_save_leaves_a_running_vm_and_no_file),
		CLAIM(each_altered_byte_outside_of_memory_is_refused),
		CLAIM(altered_memory_is_found_by_its_checksum),
		CLAIM(cut_file_is_refused_wherever_it_was_cut),
		CLAIM(restore_is_marked_in_the_file),
		CLAIM(pages_of_a_file_count_as_present),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
