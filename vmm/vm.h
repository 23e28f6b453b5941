/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtual machine: memory, vCPUs, buses and devices, constructed from its
 * machine tree. Everything hangs from struct vm; a process may hold several.
 *
 * Life of a VM that boots:    vm_create, vm_boot, vm_activate, vm_run
 * Life of one that arrives:   vm_create, (memory is filled), vm_load,
 *                             vm_activate, vm_run
 * Leaving:                    vm_pause, vm_quiesce, vm_save, vm_deactivate
 *
 * Threads: the VM belongs to its loop's thread, but for what says otherwise.
 * "Any thread" means any but a vCPU's.
 */
#ifndef GODWIT_VM_H
#define GODWIT_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/bus.h"
#include "vmm/device.h"
#include "vmm/dirty.h"
#include "vmm/loop.h"
#include "vmm/memory.h"

/* Of all architectures; arch_board.max_vcpus is at most this. */
#define VM_MAX_VCPUS 64u

/* Names are QEMU's run states, as query-status answers them. */
enum vm_state {
	VM_PRELAUNCH = 1,	/* built, never run */
	VM_INMIGRATE,		/* built from an offer, waiting for its state */
	VM_RUNNING,
	VM_PAUSED,		/* by the user */
	VM_IO_ERROR,		/* by a disk that kept a request it can't do */
	VM_FINISH_MIGRATE,	/* stopped by the migration, not yet given away */
	VM_POSTMIGRATE,		/* runs elsewhere now */
	VM_SHUTDOWN,		/* the guest powered off, or is gone */
	VM_INTERNAL_ERROR,	/* a vCPU can't go on */
};

enum vm_event {
	VM_EVENT_STOP = 1,	/* left VM_RUNNING */
	VM_EVENT_RESUME,	/* entered VM_RUNNING */
	VM_EVENT_RESET,		/* the guest rebooted */
	VM_EVENT_SHUTDOWN,	/* the VM is over; value = exit status */
	VM_EVENT_POWERDOWN,	/* the power button was pressed */
	VM_EVENT_DISK_LOST,	/* a disk waits for its server */
	VM_EVENT_DISK_FOUND,
};

struct vm_config {
	const void *tree;	/* copied */
	struct loop *loop;	/* not owned; outlives the VM */
	struct log log;
	bool incoming;		/* starts in VM_INMIGRATE */
	struct dirty_config dirty;
	/* Memory comes from this file, see memory_init_file(); not owned. */
	const struct vm_memory_file {
		int fd;
		uint64_t offset;
		bool shared;	/* memory_init_shared(); offset is 0 */
	} *memory;		/* NULL: as the tree says */
	/* In the loop's thread. @detail is a word or a sentence, never NULL. */
	void (*event)(void *arg, enum vm_event event, int value,
		      const char *detail);
	/* A request failed; the VM was paused if e->stop. May be NULL. */
	void (*io_error)(void *arg, const struct io_error *e);
	/* In each vCPU's thread, before its first guest code, which needs a 0;
	 * see vm_begin(). May be NULL. */
	int (*vcpu_starts)(void *arg, struct error *err);
	void *event_arg;	/* of all three */
	/* Host character device by name; NULL and @err if there is none. */
	struct chardev *(*chardev)(void *arg, const char *name,
				   struct error *err);
	void *chardev_arg;
};

struct vcpu;
struct throttle;
struct arch_vm;

struct vm {
	struct log log;
	const char *name;		/* points into the tree */
	void *tree;			/* machine tree, owned */
	struct loop *loop;
	struct memory mem;
	struct bus pio, mmio;
	struct device_env env;		/* what devices see of this VM */
	struct list devices;		/* by name */
	struct vcpu *vcpu;		/* array */
	unsigned int nvcpus;
	struct kvm_vm *kvm;		/* vmm/kvm.h */
	struct arch_vm *arch;
	pthread_mutex_t lock;		/* state, notes, fate_pending */
	pthread_cond_t idle;		/* a device became idle */
	enum vm_state state;
	bool fate_pending;		/* the guest is on its way out */
	unsigned int runs;		/* times it was run; loop only */
	struct list notes;		/* for the loop: events, fates */
	struct loop_fd note_fd;		/* eventfd that says so */
	bool active;			/* devices hold their locks; loop only */
	uint64_t saved_at;		/* now_ns() when the clocks were read */
	uint64_t loaded_at;		/* since when the clocks stand still; 0:
					 * they don't */
	struct loop_timer announce;
	unsigned int announce_round;
	struct loop_timer reset;	/* waits for devices to be idle */

	pthread_mutex_t vcpus_lock;	/* the rest */
	pthread_cond_t vcpus_go;
	pthread_cond_t vcpus_parked;
	bool vcpus_begin;
	bool vcpus_stop;
	bool vcpus_quit;
	struct throttle *throttle;	/* NULL: none; who calls vm_throttle */

	struct vm_config cfg;
};

/* Build the machine that @cfg->tree describes. Nothing runs, no lock of a
 * disk is held. All reasons why it can't be built are in @err. */
int vm_create(struct vm **out, const struct vm_config *cfg,
	      struct error *err) __must_check;
void vm_destroy(struct vm *vm);

/* Load the boot images that /chosen names and set the vCPUs to their start. */
int vm_boot(struct vm *vm, struct error *err) __must_check;

/* Take disk locks and the like / give them up (all idle). Loop's thread or
 * any thread while the loop runs. */
int vm_activate(struct vm *vm, struct error *err) __must_check;
int vm_deactivate(struct vm *vm, struct error *err) __must_check;

/* vCPUs' threads do vm_config's vcpu_starts() now, rather than when they are let
 * run. Doesn't wait for them. Any thread. */
void vm_begin(struct vm *vm);
/* Start devices, which try again what they kept, and let the vCPUs run. -EBUSY
 * if the memory was handed to a process where the guest has run. Any thread. */
int vm_run(struct vm *vm, struct error *err) __must_check;

/* Stop all vCPUs outside of guest mode and enter @state. On return no vCPU
 * executes guest code. Any thread. Idempotent. */
void vm_pause(struct vm *vm, enum vm_state state);

/* Let the vCPUs rest for @percent (0..99) of the time, all at once and in short
 * turns; 0 ends that. A VM that is paused stays so. Any thread, one at a
 * time. */
void vm_throttle(struct vm *vm, unsigned int percent);
/* The same, each by itself: @percent has an element a vCPU, not kept. */
void vm_throttle_each(struct vm *vm, const unsigned int *percent);

/* CPU time that the vCPUs' threads have had so far, all together, in ns. Any
 * thread. */
uint64_t vm_vcpu_time(struct vm *vm);

/* Let the vCPUs rest until told otherwise; the VM's state stays, and nobody waits
 * for those that can't leave the guest now. Any thread; not with vm_throttle. */
void vm_hold(struct vm *vm, bool on);

/* After vm_pause: stop devices and wait until none touches guest memory, at
 * most until @deadline (now_ns). -ETIMEDOUT names the device that was busy;
 * the VM may then be run again. Any thread but the loop's. */
int vm_quiesce(struct vm *vm, uint64_t deadline, struct error *err) __must_check;

/* State of all vCPUs, of the interrupt controllers, clocks and devices, as a
 * state tree (malloc'ed). The VM is paused and quiet. Any thread. */
int vm_save(struct vm *vm, void **fdt, size_t *len, struct error *err)
	__must_check;
/*
 * Go the way of vm_save() and vm_load() once with a machine and a vCPU of zeroes,
 * and forget it: code that was not run for long and memory that is not there yet
 * may cost ten times the rest, which the guest would wait for. The VM may run, and
 * nothing of it is touched. By the thread that will save or load.
 */
void vm_rehearse(struct vm *vm);
/* now_ns() of the moment at which the last vm_save() read the clocks. */
uint64_t vm_saved_at(struct vm *vm);
/* Load a state tree into a VM that has never run. Any thread. @age_ns says how
 * long ago, as of this call, the source's vm_save() read the clocks: the guest's
 * clocks go on by that and by what passes until vm_run(). */
int vm_load(struct vm *vm, const void *fdt, size_t len, uint64_t age_ns,
	    struct error *err) __must_check;

/* The VM has arrived and runs: tell the network. Five rounds in the
 * background. Any thread. */
void vm_announce(struct vm *vm);

/* Back to power-on: when the devices are idle they are reset, the boot images
 * are loaded again, and the VM runs; VM_EVENT_RESET tells. If it can't, the VM
 * is over (VM_EVENT_SHUTDOWN with the reason). Loop's thread. */
void vm_reset(struct vm *vm);
void vm_power_button(struct vm *vm);

/* The disk of the device that is the @index-th (by name) to have one, or NULL:
 * see vmm/disk.h. Any thread. */
struct vm_disk *vm_disk(struct vm *vm, unsigned int index);

enum vm_state vm_get_state(struct vm *vm);	/* any thread */
const char *vm_state_name(enum vm_state state);

#endif
