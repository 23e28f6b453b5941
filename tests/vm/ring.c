/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty rings on real KVM, with two vCPUs. The model of what is dirty is a copy
 * of all memory: what differs from it was written.
 */
#include "tests/lib/vm_rig.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "migration/bits.h"
#include "vmm/base/util.h"
#include "vmm/dirty.h"
#include "vmm/vcpu.h"

/* Pages that may be found although their bytes are the same: a stack whose last
 * word is what it was, and the like. */
#define SAME_MAX 8

struct watch {
	struct vm_rig *r;
	uint64_t npages;
	unsigned long *found;
	uint8_t *before;
};

static void check(int ret, const struct error *err)
{
	if (ret < 0)
		fail_msg("%s", err->msg);
}

static void need_ring(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool there = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING) > 0;

	close(fd);
	if (there)
		return;
	print_message("SKIP this KVM has no dirty ring\n");
	skip();
}

static struct vm_rig *boot(const char *append, enum dirty_how how,
			   uint32_t entries)
{
	struct vm_rig *r = vm_rig_boot(&(struct vm_spec){
		.guest = "pair", .append = append, .cpus = 2,
		.dirty = { .how = how, .entries = entries } });

	vm_rig_expect(r, "H 1 ", 0);
	return r;
}

static void some_beats(struct vm_rig *r, int n)
{
	for (int i = 0; i < n; i++)
		vm_rig_expect(r, "\nH", vm_rig_len(r));
}

static void sync_now(struct watch *w)
{
	struct error err = ERROR_INIT;

	check(dirty_sync(w->r->vm, 0, w->found, &err), &err);
	check(dirty_clear(w->r->vm, 0, 0, w->npages, w->found, &err), &err);
}

/* From here on: all is clean, and the guest runs. It was paused. */
static void watch_anew(struct watch *w)
{
	const struct memory_region *mem = &w->r->vm->mem.region[0];
	struct error err = ERROR_INIT;

	sync_now(w);
	memset(w->found, 0, bits_longs(w->npages) * sizeof(long));
	memcpy(w->before, mem->host, mem->range.size);
	check(vm_run(w->r->vm, &err), &err);
}

static void watch_start(struct watch *w, struct vm_rig *r)
{
	const struct memory_region *mem = &r->vm->mem.region[0];
	struct error err = ERROR_INIT;

	w->r = r;
	w->npages = mem->range.size >> PAGE_SHIFT;
	w->found = calloc(bits_longs(w->npages), sizeof(long));
	w->before = malloc(mem->range.size);
	vm_pause(r->vm, VM_PAUSED);
	check(dirty_start(r->vm, &err), &err);
	sync_now(w);
	assert_int_equal(bits_count(w->found, w->npages), w->npages);
	watch_anew(w);
}

/* Stop the guest, and hold what was found against the model. */
static void watch_check(struct watch *w)
{
	const uint8_t *now = w->r->vm->mem.region[0].host;
	unsigned int lost = 0, same = 0, changed = 0;

	vm_pause(w->r->vm, VM_PAUSED);
	sync_now(w);
	for (uint64_t p = 0; p < w->npages; p++) {
		bool differs = memcmp(w->before + (p << PAGE_SHIFT),
				      now + (p << PAGE_SHIFT), PAGE_BYTES);
		bool found = bits_next(w->found, p, p + 1) == p;

		changed += differs;
		lost += differs && !found;
		same += found && !differs;
	}
	print_message("%u pages changed, %u lost, %u found without a change\n",
		      changed, lost, same);
	assert_int_equal(lost, 0);
	assert_in_range(same, 0, SAME_MAX);
	assert_in_range(changed, 100, w->npages);
}

static void watch_end(struct watch *w)
{
	dirty_stop(w->r->vm);
	free(w->found);
	free(w->before);
	vm_rig_free(w->r);
}

/* While they run, and once more when they are stopped; then anew, since what was
 * found once must be found again. */
static void found_while_they_run(enum dirty_how how)
{
	struct vm_rig *r = boot("writer=2 ws=4 hb=5", how, 0);
	struct watch w;

	watch_start(&w, r);
	for (int i = 0; i < 24; i++) {
		some_beats(r, 1);
		sync_now(&w);
		if (i % 6 < 5)
			continue;
		watch_check(&w);
		watch_anew(&w);
	}
	assert_true(vm_rig_printed(r, "bad=0"));
	watch_end(&w);
}

static void the_ring_finds_what_each_vcpu_wrote(void **state)
{
	need_ring();
	found_while_they_run(DIRTY_RING);
}

static void the_bitmap_finds_the_same(void **state)
{
	found_while_they_run(DIRTY_BITMAP);
}

static unsigned long full_exits(struct vm_rig *r, unsigned int vcpu)
{
	return atomic_load(&r->vm->vcpu[vcpu].exits[KVM_EXIT_DIRTY_RING_FULL]);
}

/* Nobody asks until they are stopped. */
static void what_stopped_vcpus_have_in_their_rings_is_found(void **state)
{
	struct watch w;

	need_ring();
	watch_start(&w, boot("writer=2 ws=2 hb=5", DIRTY_RING, 65536));
	some_beats(w.r, 2);
	watch_check(&w);
	assert_int_equal(full_exits(w.r, 0) + full_exits(w.r, 1), 0);
	watch_end(&w);
}

static void a_full_ring_loses_nothing(void **state)
{
	struct watch w;

	need_ring();
	watch_start(&w, boot("writer=2 ws=16 hb=5", DIRTY_RING, 1024));
	/* until each has written more than fits */
	for (int i = 0; i < 1000 && !(full_exits(w.r, 0) && full_exits(w.r, 1));
	     i++)
		some_beats(w.r, 1);
	watch_check(&w);
	assert_true(full_exits(w.r, 0) && full_exits(w.r, 1));
	watch_end(&w);
}

static void tracking_that_ends_and_starts_again_does_not_stop_a_guest(void **state)
{
	struct watch w;

	need_ring();
	watch_start(&w, boot("writer=2 ws=16 hb=5", DIRTY_RING, 1024));
	for (int i = 0; i < 5; i++) {
		struct error err = ERROR_INIT;

		some_beats(w.r, 2);
		dirty_stop(w.r->vm);
		some_beats(w.r, 2);
		check(dirty_start(w.r->vm, &err), &err);
	}
	assert_true(vm_rig_printed(w.r, "bad=0"));
	watch_end(&w);
}

/* A beat in which it wrote much, and the other next to nothing. It may be a while
 * until it has its turn, and the other's few pages a beat add up meanwhile. */
static bool tells_the_writer(struct watch *w, unsigned int writer)
{
	uint64_t before[2], pages[2];

	assert_true(dirty_by_vcpu(w->r->vm, pages));
	for (int i = 0; i < 1000; i++) {
		memcpy(before, pages, sizeof(pages));
		some_beats(w->r, 1);
		sync_now(w);
		assert_true(dirty_by_vcpu(w->r->vm, pages));
		if (pages[writer] - before[writer] >
		    20 + 10 * (pages[!writer] - before[!writer]))
			return true;
	}
	print_message("writer %u: %llu and %llu pages\n", writer,
		      (unsigned long long)pages[0],
		      (unsigned long long)pages[1]);
	return false;
}

static void rings_tell_the_writer_from_the_quiet(void **state)
{
	need_ring();
	for (unsigned int writer = 0; writer < 2; writer++) {
		struct watch w;

		watch_start(&w, boot(writer ? "writer=1 ws=4 hb=20" :
					      "writer=0 ws=4 hb=20",
				     DIRTY_RING, 0));
		assert_true(tells_the_writer(&w, writer));
		vm_pause(w.r->vm, VM_PAUSED);
		watch_end(&w);
	}
}

static void without_rings_vcpus_are_not_told_apart(void **state)
{
	struct vm_rig *r = boot("writer=0", DIRTY_BITMAP, 0);
	uint64_t pages[2];

	assert_false(dirty_by_vcpu(r->vm, pages));
	vm_rig_free(r);
}

/* Each against the other in the same time: other load slows both. */
static void who_is_throttled_more_has_less(void **state)
{
	const unsigned int each[] = { 10, 90 }, other[] = { 90, 0 };
	struct vm_rig *r = boot("writer=2 ws=1 hb=20", DIRTY_BITMAP, 0);

	for (unsigned int turn = 0; turn < 2; turn++) {
		unsigned int fast = turn, tries = 0;
		uint64_t t[2], ratio = 0;

		vm_throttle_each(r->vm, turn ? other : each);
		while (ratio < 200 && tries++ < 20) {
			t[0] = vcpu_time(&r->vm->vcpu[0]);
			t[1] = vcpu_time(&r->vm->vcpu[1]);
			some_beats(r, 10);
			t[0] = vcpu_time(&r->vm->vcpu[0]) - t[0];
			t[1] = vcpu_time(&r->vm->vcpu[1]) - t[1];
			ratio = t[fast] * 100 / MAX(t[!fast], 1ull);
		}
		print_message("vCPU %u has %llu %% of the other's time\n",
			      fast, (unsigned long long)ratio);
		assert_true(ratio >= 200);
	}
	vm_throttle(r->vm, 0);
	assert_null(r->vm->throttle);
	some_beats(r, 2);
	vm_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_ring_finds_what_each_vcpu_wrote),
		cmocka_unit_test(the_bitmap_finds_the_same),
		cmocka_unit_test(what_stopped_vcpus_have_in_their_rings_is_found),
		cmocka_unit_test(a_full_ring_loses_nothing),
		cmocka_unit_test(tracking_that_ends_and_starts_again_does_not_stop_a_guest),
		cmocka_unit_test(rings_tell_the_writer_from_the_quiet),
		cmocka_unit_test(without_rings_vcpus_are_not_told_apart),
		cmocka_unit_test(who_is_throttled_more_has_less),
	};

	return vm_rig_run_tests(tests);
}
