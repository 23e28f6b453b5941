/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a VM on real KVM: pause, reset, many CPUs, much memory, ends. */
#include "tests/lib/vm_rig.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/util.h"
#include "vmm/vcpu.h"

static const struct vm_spec dirtier = {
	.guest = "dirtier", .append = "mode=dirty ws=1 hb=20",
};

static void two_vms_in_a_process_do_not_see_each_other(void **state)
{
	struct vm_rig *a = vm_rig_boot(&(struct vm_spec){
		.guest = "hello", .debug_exit = true });
	struct vm_rig *b = vm_rig_boot(&(struct vm_spec){
		.guest = "ring3", .debug_exit = true });

	vm_rig_expect(a, "hello from long mode", 0);
	vm_rig_expect(b, "privileged instruction refused", 0);
	vm_rig_expect_event(a, VM_EVENT_SHUTDOWN, 1);
	vm_rig_expect_event(b, VM_EVENT_SHUTDOWN, 1);
	assert_int_equal(a->status, 0);
	assert_int_equal(b->status, 0);
	assert_false(vm_rig_printed(a, "ring 3"));
	assert_false(vm_rig_printed(b, "long mode"));
	vm_rig_free(a);
	vm_rig_free(b);
}

static void one_ends_and_the_other_runs_on(void **state)
{
	struct vm_rig *a = vm_rig_boot(&dirtier);
	struct vm_rig *b = vm_rig_boot(&dirtier);
	size_t len;

	vm_rig_expect(a, "H 0", 0);
	len = vm_rig_expect(b, "H 0", 0);
	vm_rig_free(a);
	vm_rig_expect(b, "\nH", len);
	vm_rig_free(b);
}

/* Meanwhile another one runs, so that time has passed. */
static void a_paused_guest_stands_still(void **state)
{
	struct vm_rig *r = vm_rig_boot(&dirtier), *other;
	uint8_t *before = malloc(MIB), *after = malloc(MIB);
	struct error err = ERROR_INIT;
	size_t len;

	vm_rig_expect(r, "H 0", 0);
	vm_pause(r->vm, VM_PAUSED);
	assert_int_equal(vm_get_state(r->vm), VM_PAUSED);
	len = vm_rig_len(r);
	assert_int_equal(memory_read(&r->vm->mem, 16 * MIB, before, MIB), 0);
	other = vm_rig_boot(&dirtier);
	vm_rig_expect(other, "H 3", 0);
	assert_int_equal(memory_read(&r->vm->mem, 16 * MIB, after, MIB), 0);
	assert_memory_equal(before, after, MIB);
	assert_int_equal(vm_rig_len(r), len);
	assert_int_equal(vm_run(r->vm, &err), 0);
	vm_rig_expect(r, "\nH", len);
	vm_rig_free(other);
	vm_rig_free(r);
	free(before);
	free(after);
}

static void pausing_and_running_twice_is_once(void **state)
{
	struct vm_rig *r = vm_rig_boot(&dirtier);
	struct error err = ERROR_INIT;
	size_t len;

	vm_rig_expect(r, "H 0", 0);
	vm_pause(r->vm, VM_PAUSED);
	vm_pause(r->vm, VM_PAUSED);
	assert_int_equal(vm_run(r->vm, &err), 0);
	assert_int_equal(vm_run(r->vm, &err), 0);
	len = vm_rig_len(r);
	vm_rig_expect(r, "\nH", len);
	vm_rig_expect_event(r, VM_EVENT_STOP, 1);
	vm_rig_expect_event(r, VM_EVENT_RESUME, 2);
	assert_int_equal(vm_rig_events(r, VM_EVENT_STOP), 1);
	vm_rig_free(r);
}

static void a_hundred_pauses_do_no_harm(void **state)
{
	struct vm_rig *r = vm_rig_boot(&(struct vm_spec){
		.guest = "verifier", .append = "mode=verify ws=1 hb=20" });
	struct error err = ERROR_INIT;
	size_t len;

	vm_rig_expect(r, "V", 0);
	for (int i = 0; i < 100; i++) {
		vm_pause(r->vm, VM_PAUSED);
		assert_int_equal(vm_run(r->vm, &err), 0);
	}
	len = vm_rig_len(r);
	vm_rig_expect(r, "bad=0", len);
	assert_false(vm_rig_printed(r, "CORRUPT"));
	vm_rig_free(r);
}

/* Percent of the time that it ran, over some heartbeats. */
static uint64_t share(struct vm_rig *r)
{
	uint64_t cpu = vcpu_time(&r->vm->vcpu[0]), wall = now_ns();

	for (int i = 0; i < 20; i++)
		vm_rig_expect(r, "\nH", vm_rig_len(r));
	return (vcpu_time(&r->vm->vcpu[0]) - cpu) * 100 / (now_ns() - wall);
}

/* Other load may delay who lets it rest: then it is looked at again. */
static void a_throttled_guest_has_its_share_and_no_more(void **state)
{
	struct vm_rig *r = vm_rig_boot(&(struct vm_spec){
		.guest = "verifier", .append = "mode=verify ws=1 hb=20" });

	vm_rig_expect(r, "V", 0);
	for (unsigned int percent = 20; percent < 100; percent += 60) {
		uint64_t most = (100 - percent) * 5 / 4, least = 100;

		vm_throttle(r->vm, percent);
		for (int i = 0; i < 20 && least >= MIN(most, 95u); i++)
			least = MIN(least, share(r));
		assert_in_range(least, 1, MIN(most, 95u));
	}
	vm_throttle(r->vm, 0);
	assert_null(r->vm->throttle);
	vm_rig_expect(r, "bad=0", vm_rig_len(r));
	vm_rig_free(r);
}

static void pauses_of_a_throttled_guest_do_no_harm(void **state)
{
	struct vm_rig *r = vm_rig_boot(&(struct vm_spec){
		.guest = "verifier", .append = "mode=verify ws=1 hb=20",
		.cpus = 2 });
	struct error err = ERROR_INIT;
	uint8_t before[4096], after[4096];

	vm_rig_expect(r, "V", 0);
	vm_throttle(r->vm, 50);
	for (int i = 0; i < 100; i++) {
		vm_pause(r->vm, VM_PAUSED);
		assert_int_equal(memory_read(&r->vm->mem, 16 * MIB, before,
					     sizeof(before)), 0);
		vm_throttle(r->vm, 50 + i % 50);
		assert_int_equal(memory_read(&r->vm->mem, 16 * MIB, after,
					     sizeof(after)), 0);
		assert_memory_equal(before, after, sizeof(after));
		assert_int_equal(vm_run(r->vm, &err), 0);
	}
	/* it may end while it is throttled */
	vm_rig_expect(r, "bad=0", vm_rig_len(r));
	assert_false(vm_rig_printed(r, "CORRUPT"));
	vm_rig_free(r);
}

/* The first of the process's threads that is called so; 0 without one. */
static pid_t thread_called(const char *name)
{
	struct dirent *d;
	DIR *dir = opendir("/proc/self/task");
	char path[sizeof("/proc/self/task//comm") + NAME_MAX], comm[32];
	pid_t tid = 0;

	assert_non_null(dir);
	while (!tid && (d = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			 d->d_name);
		f = fopen(path, "r");
		if (f && fgets(comm, sizeof(comm), f) &&
		    strncmp(comm, name, strlen(name)) == 0)
			tid = atoi(d->d_name);
		if (f)
			fclose(f);
	}
	closedir(dir);
	return tid;
}

static uint64_t slice_of(pid_t tid)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		uint32_t nice, priority;
		uint64_t runtime, deadline, period;
	} a;

	assert_int_equal(syscall(SYS_sched_getattr, tid, &a, sizeof(a), 0), 0);
	return a.runtime;
}

static void a_vcpu_has_its_turn_after_short_ones_of_others(void **state)
{
	struct vm_rig *r = vm_rig_boot(&dirtier);
	uint64_t mine = slice_of(0), its;

	vm_rig_expect(r, "H 0", 0);
	its = slice_of(thread_called("vcpu0"));
	vm_rig_free(r);
	if (!mine) {
		print_message("SKIP this kernel has no slices (Linux 6.12)\n");
		skip();
	}
	assert_int_equal(its, 100000);
	assert_true(its < mine);
}

static void a_reset_starts_the_guest_anew(void **state)
{
	struct vm_rig *r = vm_rig_boot(&dirtier);
	size_t len = vm_rig_expect(r, "H 1 ", 0);

	vm_rig_reset(r);
	vm_rig_expect(r, "@3", len);
	vm_rig_expect(r, "H 0 ", len);
	vm_rig_expect_event(r, VM_EVENT_RESET, 1);
	vm_rig_free(r);
}

static void a_triple_fault_resets(void **state)
{
	/* lidt with a limit of 0, then ud2: no handler, no double fault's */
	static const uint8_t code[] = {
		0x66, 0xba, 0xf8, 0x03, 0xb0, 'T', 0xee,
		0x0f, 0x01, 0x1d, 0x10, 0x00, 0x10, 0x00, 0x0f, 0x0b,
		0, 0, 0, 0, 0, 0,
	};
	char path[64];
	struct vm_rig *r;

	vm_rig_tiny(path, code, sizeof(code));
	r = vm_rig_boot(&(struct vm_spec){ .guest = path });
	vm_rig_expect_event(r, VM_EVENT_RESET, 2);
	vm_rig_expect(r, "TT", 0);
	vm_rig_free(r);
	unlink(path);
}

/* FWAIT in ring 0 is one that a software KVM can't emulate. */
static void what_kvm_can_not_run_is_told_with_its_bytes(void **state)
{
	static const uint8_t code[] = {
		0x9b, 0xb0, 0x07, 0x66, 0xba, 0x01, 0x05, 0xee, 0xf4,
	};
	char path[64];
	struct vm_rig *r;
	bool ran;

	vm_rig_tiny(path, code, sizeof(code));
	r = vm_rig_boot(&(struct vm_spec){ .guest = path, .debug_exit = true });
	vm_rig_expect_event(r, VM_EVENT_SHUTDOWN, 1);
	unlink(path);
	ran = r->status == 7;
	if (!ran) {
		assert_int_equal(r->status, 1);
		assert_int_equal(vm_get_state(r->vm), VM_INTERNAL_ERROR);
		assert_true(vm_rig_logged(r, "9b b0 07"));
		assert_true(vm_rig_logged(r, "rip 0x100000"));
	}
	vm_rig_free(r);
	if (ran) {
		print_message("SKIP this KVM runs FWAIT in ring 0\n");
		skip();
	}
}

static void sixty_four_cpus_come_and_go(void **state)
{
	struct vm_rig *r = vm_rig_boot(&(struct vm_spec){
		.guest = "dirtier", .append = "mode=dirty ws=1 hb=20",
		.cpus = 64 });

	vm_rig_expect(r, "H 0", 0);
	assert_int_equal(r->vm->nvcpus, 64);
	vm_pause(r->vm, VM_PAUSED);
	vm_rig_free(r);
}

static void memory_above_4_gib_is_there_and_sparse(void **state)
{
	struct vm_rig *r = vm_rig_boot(&(struct vm_spec){
		.guest = "high", .append = "at=0x100200000",
		.memory = 5 * GIB, .debug_exit = true });
	uint64_t word = 0;

	vm_rig_expect_event(r, VM_EVENT_SHUTDOWN, 1);
	assert_int_equal(r->status, 0);
	assert_true(r->vm->mem.size == 5 * GIB);
	assert_int_equal(memory_read(&r->vm->mem, 4 * GIB + 2 * MIB, &word,
				     sizeof(word)), 0);
	assert_true(word == 0x4749422d34206576);
	/* the last byte is memory, the next one isn't */
	assert_non_null(memory_ptr(&r->vm->mem, r->vm->mem.region[1].range.base +
				   r->vm->mem.region[1].range.size - 1, 1));
	vm_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_vms_in_a_process_do_not_see_each_other),
		cmocka_unit_test(one_ends_and_the_other_runs_on),
		cmocka_unit_test(a_paused_guest_stands_still),
		cmocka_unit_test(pausing_and_running_twice_is_once),
		cmocka_unit_test(a_hundred_pauses_do_no_harm),
		cmocka_unit_test(a_throttled_guest_has_its_share_and_no_more),
		cmocka_unit_test(pauses_of_a_throttled_guest_do_no_harm),
		cmocka_unit_test(a_vcpu_has_its_turn_after_short_ones_of_others),
		cmocka_unit_test(a_reset_starts_the_guest_anew),
		cmocka_unit_test(a_triple_fault_resets),
		cmocka_unit_test(what_kvm_can_not_run_is_told_with_its_bytes),
		cmocka_unit_test(sixty_four_cpus_come_and_go),
		cmocka_unit_test(memory_above_4_gib_is_there_and_sparse),
	};

	return vm_rig_run_tests(tests);
}
