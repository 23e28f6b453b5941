/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs: one thread each, running guest code or parked.
 *
 * Pausing: vcpus_pause() asks, kicks every thread out of guest mode (a signal
 * and kvm_run's immediate_exit), and waits until all are parked. A thread
 * completes the I/O instruction it is in before it parks, so that a parked
 * vCPU's registers are whole.
 */
#ifndef GODWIT_VCPU_H
#define GODWIT_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"

struct vm;
struct kvm_run;
struct arch_vcpu;

#define VCPU_EXITS 40		/* counters, by KVM exit reason */

struct vcpu {
	struct vm *vm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	struct arch_vcpu *arch;
	pthread_t thread;
	bool started;
	bool parked;			/* under vm->vcpus_lock, as the next */
	bool rest;			/* it is in a turn of rest */
	atomic_ulong exits[VCPU_EXITS];	/* by reason, the last for "other" */
};

/* Create vm->nvcpus vCPUs and their threads, parked. */
int vcpus_create(struct vm *vm, struct error *err) __must_check;
/* End the threads and close everything. */
void vcpus_destroy(struct vm *vm);
/* Let them run / stop them and wait. Any thread but a vCPU's. */
void vcpus_resume(struct vm *vm);
void vcpus_pause(struct vm *vm);
/* CPU time that its thread has had so far, in ns. Any thread. */
uint64_t vcpu_time(const struct vcpu *cpu);
/* A turn of rest begins, for one, and ends, for all. Doesn't wait for them. */
void vcpu_rest(struct vcpu *cpu);
void vcpus_rest_over(struct vm *vm);

#endif
