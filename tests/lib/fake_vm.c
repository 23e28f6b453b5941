/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/fake_vm.h"

#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/bits.h"
#include "vmm/base/byteorder.h"

#define TREE_SIZE 4096
#define HOLE_END (64 * GIB)

static struct fake_vm *fake(struct vm *vm)
{
	return (struct fake_vm *)vm;
}

/* The guest: counts, and writes the count to one page after the other. */
static void *guest_thread(void *arg)
{
	struct fake_vm *f = arg;

	while (!f->quit) {
		uint64_t pages;

		pthread_mutex_lock(&f->gate);
		pages = f->guest_pages;
		if (f->state == VM_RUNNING && pages && !f->held) {
			uint64_t count = ++f->counter;

			memory_write(&f->vm.mem,
				     count % pages << PAGE_SHIFT,
				     &count, sizeof(count));
		}
		pthread_mutex_unlock(&f->gate);
		if (f->guest_pause_us)
			usleep(f->guest_pause_us);
	}
	return NULL;
}

static void set_state(struct fake_vm *f, enum vm_state state)
{
	pthread_mutex_lock(&f->gate);
	if (f->state == VM_RUNNING && state != VM_RUNNING)
		f->world->running--;
	if (f->state != VM_RUNNING && state == VM_RUNNING) {
		int now = ++f->world->running;

		if (now > f->world->most_running)
			f->world->most_running = now;
		if (f->world->holder != f)
			f->world->thefts++;
	}
	f->state = state;
	pthread_mutex_unlock(&f->gate);
}

static int fake_dirty_start(struct vm *vm, struct error *err)
{
	(void)err;
	/* between two writes: what was written before is of the first round */
	pthread_mutex_lock(&fake(vm)->gate);
	fake(vm)->first_sync = true;
	memory_track_own(&vm->mem, true);
	pthread_mutex_unlock(&fake(vm)->gate);
	return 0;
}

static void fake_dirty_stop(struct vm *vm)
{
	memory_track_own(&vm->mem, false);
}

static int fake_dirty_sync(struct vm *vm, unsigned int region,
			   unsigned long *bitmap, struct error *err)
{
	uint64_t pages = memory_pages(&vm->mem, region);

	(void)err;
	memory_take_own(&vm->mem, region, bitmap);
	if (fake(vm)->first_sync)
		memset(bitmap, 0xff, bits_longs(pages) * sizeof(long));
	if (region == vm->mem.nregions - 1)
		fake(vm)->first_sync = false;
	return 0;
}

static int fake_dirty_clear(struct vm *vm, unsigned int region, uint64_t first,
			    uint64_t npages, const unsigned long *bitmap,
			    struct error *err)
{
	uint64_t pages = memory_pages(&vm->mem, region);

	(void)bitmap;
	if (first % 64 || !range_within(first, npages, pages) ||
	    (npages % 64 && first + npages != pages))
		return error_set(err, EINVAL, "dirty_clear: wrong range");
	return 0;
}

/* Its vCPUs are as many threads as it has: none. */
static bool fake_dirty_by_vcpu(struct vm *vm, uint64_t *pages)
{
	(void)vm, (void)pages;
	return false;
}

static uint64_t fake_vcpu_time(struct vm *vm)
{
	return fake(vm)->busy_vcpus * now_ns();
}

static void fake_throttle(struct vm *vm, unsigned int percent)
{
	fake(vm)->throttle = percent;
	if (percent > fake(vm)->most_throttle)
		fake(vm)->most_throttle = percent;
}

static void fake_hold(struct vm *vm, bool on)
{
	fake(vm)->held = on;
}

static void fake_pause(struct vm *vm, enum vm_state state)
{
	set_state(fake(vm), state);
}

static int fake_quiesce(struct vm *vm, uint64_t deadline, struct error *err)
{
	(void)deadline;
	if (fake(vm)->hang_quiesce)
		return error_set(err, ETIMEDOUT, "disk0 is busy");
	return 0;
}

static int fake_save(struct vm *vm, void **fdt, size_t *len, struct error *err)
{
	struct fake_vm *f = fake(vm);

	(void)err;
	usleep(f->save_ms * 1000);
	if (f->save_writes)
		memory_write(&vm->mem, vm->mem.region[0].range.size - 8,
			     "goodbye", 8);
	*len = sizeof(f->counter);
	*fdt = malloc(*len);
	put_be64(*fdt, f->counter);
	return 0;
}

static void fake_rehearse(struct vm *vm)
{
	struct fake_vm *f = fake(vm);

	f->rehearsals += f->state != VM_FINISH_MIGRATE && !f->loads;
}

static uint64_t fake_saved_at(struct vm *vm)
{
	(void)vm;
	return now_ns();
}

static int fake_load(struct vm *vm, const void *fdt, size_t len,
		     uint64_t age_ns, struct error *err)
{
	struct fake_vm *f = fake(vm);

	(void)age_ns;
	usleep(f->load_ms * 1000);
	f->loads++;
	if (f->fail_load)
		return error_set(err, EINVAL, "serial@3f8: field ier is 255");
	if (len != sizeof(f->counter))
		return error_set(err, EINVAL, "not a state");
	f->counter = get_be64(fdt);
	memory_turn_watch(&vm->mem);
	return 0;
}

static int fake_activate(struct vm *vm, struct error *err)
{
	struct fake_vm *f = fake(vm);
	int ret = 0;

	if (f->fail_activate) {
		f->fail_activate--;
		return error_set(err, EBUSY, "disk0 is locked by another");
	}
	pthread_mutex_lock(&f->world->lock);
	if (f->world->holder && f->world->holder != f)
		ret = error_set(err, EBUSY, "disk0 is locked by the other");
	else
		f->world->holder = f;
	pthread_mutex_unlock(&f->world->lock);
	return ret;
}

static int fake_deactivate(struct vm *vm, struct error *err)
{
	struct fake_vm *f = fake(vm);

	(void)err;
	pthread_mutex_lock(&f->world->lock);
	if (f->world->holder == f)
		f->world->holder = NULL;
	pthread_mutex_unlock(&f->world->lock);
	return 0;
}

static int fake_run(struct vm *vm, struct error *err)
{
	if (fake(vm)->fail_run)
		return error_set(err, EIO, "KVM_RUN: no");
	if (memory_turn_claim(&vm->mem, err) < 0)
		return -err->code;
	set_state(fake(vm), VM_RUNNING);
	return 0;
}

static void fake_announce(struct vm *vm)
{
	fake(vm)->announces++;
}

static enum vm_state fake_get_state(struct vm *vm)
{
	return fake(vm)->state;
}

static struct vm_disk *fake_disk(struct vm *vm, unsigned int index)
{
	(void)vm, (void)index;
	return NULL;
}

const struct migration_vm_ops fake_vm_ops = {
	.dirty_start = fake_dirty_start,
	.dirty_stop = fake_dirty_stop,
	.dirty_sync = fake_dirty_sync,
	.dirty_clear = fake_dirty_clear,
	.vcpu_time = fake_vcpu_time,
	.dirty_by_vcpu = fake_dirty_by_vcpu,
	.throttle = fake_throttle,
	.hold = fake_hold,
	.pause = fake_pause,
	.quiesce = fake_quiesce,
	.save = fake_save,
	.rehearse = fake_rehearse,
	.saved_at = fake_saved_at,
	.load = fake_load,
	.activate = fake_activate,
	.deactivate = fake_deactivate,
	.run = fake_run,
	.announce = fake_announce,
	.get_state = fake_get_state,
	.disk = fake_disk,
};

void fake_world_init(struct fake_world *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
}

static int init_memory(struct memory *mem, unsigned int mib,
		       enum memory_backing backing,
		       const struct vm_memory_file *memory, struct error *err)
{
	struct memory_range range[] = {
		{ .base = 0, .size = (mib - 1) * MIB },
		{ .base = HOLE_END, .size = 1 * MIB },
	};

	if (memory)
		return memory_init_shared(mem, range, 2, memory->fd, err);
	return memory_init(mem, range, 2, backing, err);
}

/* With @mem, which becomes its own. */
static struct fake_vm *start(struct fake_world *w, const struct memory *mem,
			     bool incoming)
{
	struct fake_vm *f = calloc(1, sizeof(*f));

	f->world = w;
	f->vm.mem = *mem;
	f->vm.name = "fake";
	f->vm.log.fd = 2;
	f->vm.tree = malloc(TREE_SIZE);
	fdt_create_empty_tree(f->vm.tree, TREE_SIZE);
	fdt_setprop_string(f->vm.tree, 0, "compatible", "godwit,machine");
	f->state = incoming ? VM_INMIGRATE : VM_PRELAUNCH;
	f->guest_pages = 64;
	f->guest_pause_us = 100;
	pthread_mutex_init(&f->gate, NULL);
	pthread_create(&f->guest, NULL, guest_thread, f);
	return f;
}

struct fake_vm *fake_vm_new(struct fake_world *w, unsigned int mib,
			    bool incoming)
{
	struct error err = ERROR_INIT;
	struct memory mem;

	if (init_memory(&mem, mib, MEMORY_ANON, NULL, &err) < 0)
		abort();
	return start(w, &mem, incoming);
}

struct fake_vm *fake_vm_new_shared(struct fake_world *w, unsigned int mib,
				   const struct vm_memory_file *memory,
				   struct error *err)
{
	struct memory mem;

	if (init_memory(&mem, mib, MEMORY_MEMFD, memory, err) < 0)
		return NULL;
	return start(w, &mem, memory);
}

void fake_vm_free(struct fake_vm *f)
{
	struct error err = ERROR_INIT;

	if (!f)
		return;
	set_state(f, VM_SHUTDOWN);
	f->quit = true;
	pthread_join(f->guest, NULL);
	fake_deactivate(&f->vm, &err);
	memory_exit(&f->vm.mem);
	free(f->vm.tree);
	free(f);
}

void fake_vm_start(struct fake_vm *f)
{
	struct error err = ERROR_INIT;

	if (fake_activate(&f->vm, &err) < 0 || fake_run(&f->vm, &err) < 0)
		abort();
}

void fake_vm_fill(struct fake_vm *f, uint64_t first, uint64_t n,
		  unsigned int seed)
{
	for (uint64_t p = first; p < first + n; p++) {
		uint64_t *page = memory_ptr(&f->vm.mem, p << PAGE_SHIFT,
					    PAGE_BYTES);

		for (unsigned int i = 0; i < 512; i++)
			page[i] = (p << 32) ^ (i * 2654435761u) ^ seed;
		memory_mark_dirty(&f->vm.mem, p << PAGE_SHIFT, PAGE_BYTES);
	}
}

bool fake_vm_same_memory(struct fake_vm *a, struct fake_vm *b)
{
	for (unsigned int r = 0; r < a->vm.mem.nregions; r++)
		if (memcmp(a->vm.mem.region[r].host, b->vm.mem.region[r].host,
			   a->vm.mem.region[r].range.size))
			return false;
	return true;
}
