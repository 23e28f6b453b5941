/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM without KVM for migration tests: real memory, a "guest" thread that
 * writes to it while the VM runs, a disk that one VM at a time may hold, and
 * ways to make each step fail.
 */
#ifndef GODWIT_TESTS_FAKE_VM_H
#define GODWIT_TESTS_FAKE_VM_H

#include <pthread.h>
#include <stdatomic.h>

#include "migration/vm_ops.h"
#include "vmm/vm.h"

struct fake_vm;

/* What both hosts share. */
struct fake_world {
	pthread_mutex_t lock;
	struct fake_vm *holder;		/* of the disk's lock */
	atomic_int running;		/* VMs that run now */
	atomic_int most_running;	/* the most there ever were at once */
	atomic_int thefts;		/* ran without the lock */
};

struct fake_vm {
	struct vm vm;			/* first */
	struct fake_world *world;
	pthread_t guest;
	pthread_mutex_t gate;		/* held by the guest while it writes */
	atomic_bool quit;
	atomic_bool held;		/* rests, though it runs */
	atomic_uint state;		/* enum vm_state */
	bool first_sync;
	_Atomic uint64_t guest_pages;	/* the guest writes the first so many */
	atomic_uint guest_pause_us;	/* between its writes */
	_Atomic uint64_t counter;	/* travels as the state */
	unsigned int busy_vcpus;	/* it says: so many want all of a CPU */
	unsigned int throttle, most_throttle;	/* percent; asked, not done */
	unsigned int loads, announces, destroyed;
	unsigned int rehearsals;	/* before the pause, and before a load */
	/* injected */
	unsigned int fail_load, fail_activate, fail_run, fail_build;
	unsigned int save_ms, load_ms;	/* saving, loading take so long */
	bool save_writes;		/* saving writes guest memory */
	bool hang_quiesce;
};

extern const struct migration_vm_ops fake_vm_ops;

void fake_world_init(struct fake_world *w);
/* @mib of memory in two ranges around a hole, the guest not running. */
struct fake_vm *fake_vm_new(struct fake_world *w, unsigned int mib,
			    bool incoming);
/* The same in a memfd: that of @memory, or with NULL one of its own. NULL and
 * @err if that can't be. */
struct fake_vm *fake_vm_new_shared(struct fake_world *w, unsigned int mib,
				   const struct vm_memory_file *memory,
				   struct error *err);
void fake_vm_free(struct fake_vm *f);
/* Take the lock and run. */
void fake_vm_start(struct fake_vm *f);
/* Fill pages [first, first + n) with bytes that depend on @seed and page. */
void fake_vm_fill(struct fake_vm *f, uint64_t first, uint64_t n,
		  unsigned int seed);
bool fake_vm_same_memory(struct fake_vm *a, struct fake_vm *b);

#endif
