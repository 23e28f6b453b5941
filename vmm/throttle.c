/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttling: a thread that lets vCPUs rest and run by turns. Their rests end
 * together, so that as few as can be wait for a lock that one at rest holds:
 *
 *	vCPU 0, 70 %	run run run rest rest rest rest rest rest rest
 *	vCPU 1, 20 %	run run run run run run run run rest rest
 */
#include <pthread.h>
#include <stdlib.h>

#include "vmm/base/thread.h"
#include "vmm/base/util.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define PERIOD_NS (10 * NSEC_PER_MSEC)
/* Shorter turns would be spent on waking up. */
#define RUN_LEAST_NS (1 * NSEC_PER_MSEC)
/* What a vCPU runs for longer than it should is made up for, up to this. */
#define LATE_MOST_NS (10 * NSEC_PER_MSEC)
#define THROTTLE_MOST 99u

struct throttle {
	struct vm *vm;
	pthread_t thread;
	pthread_mutex_t lock;		/* protects the rest */
	pthread_cond_t changed;
	bool end;
	struct {
		unsigned int percent;	/* of rest, 0..THROTTLE_MOST */
		uint64_t began;		/* its CPU time at the period's start */
	} each[];			/* vCPU */
};

/* Until @end (now_ns()), or it shall end; under the lock. */
static void turn(struct throttle *t, uint64_t end)
{
	while (!t->end && now_ns() < end)
		cond_wait_until(&t->changed, &t->lock, end);
}

/* The highest share of rest below @below; under the lock. */
static unsigned int next_share(const struct throttle *t, unsigned int below)
{
	unsigned int most = 0;

	for (unsigned int i = 0; i < t->vm->nvcpus; i++)
		if (t->each[i].percent < below)
			most = MAX(most, t->each[i].percent);
	return most;
}

static void rest_those(struct throttle *t, unsigned int share)
{
	for (unsigned int i = 0; i < t->vm->nvcpus; i++)
		if (t->each[i].percent == share)
			vcpu_rest(&t->vm->vcpu[i]);
}

/* CPU time of who had most of it in this period, of those with that share. */
static uint64_t longest_run(const struct throttle *t, unsigned int share)
{
	uint64_t most = 0;

	for (unsigned int i = 0; i < t->vm->nvcpus; i++) {
		uint64_t ran;

		if (t->each[i].percent != share)
			continue;
		ran = vcpu_time(&t->vm->vcpu[i]) - t->each[i].began;
		most = MAX(most, ran);
	}
	return most;
}

/* The period of which @run is what a rest of @share percent leaves, ns. */
static uint64_t period_of(uint64_t run, unsigned int share)
{
	return run * 100 / (100 - share);
}

/*
 * One run and one rest of each; who rests most begins. This thread may get its
 * CPU late, beside a host's other work: then the rest is longer by as much as
 * the run was, or a guest that should slow down would not on a busy host. A
 * vCPU that was late itself has not run for longer.
 */
static void one_period(struct throttle *t)
{
	unsigned int share = next_share(t, THROTTLE_MOST + 1);
	uint64_t run = MAX(PERIOD_NS / 100 * (100 - share), RUN_LEAST_NS);
	uint64_t period = period_of(run, share), start = now_ns();
	uint64_t ran;

	for (unsigned int i = 0; i < t->vm->nvcpus; i++)
		t->each[i].began = vcpu_time(&t->vm->vcpu[i]);
	for (; share && !t->end; share = next_share(t, share)) {
		run = period / 100 * (100 - share);
		turn(t, start + run);
		rest_those(t, share);
		ran = longest_run(t, share);
		ran = MIN(ran, run + LATE_MOST_NS);
		period = MAX(period, period_of(ran, share));
	}
	turn(t, start + period);
	vcpus_rest_over(t->vm);
}

static void *throttle_thread(void *arg)
{
	struct throttle *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->end)
		one_period(t);
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* Under the lock. */
static void set_each(struct throttle *t, const unsigned int *percent)
{
	for (unsigned int i = 0; i < t->vm->nvcpus; i++)
		t->each[i].percent = percent[i];
}

static struct throttle *throttle_new(struct vm *vm,
				     const unsigned int *percent)
{
	struct throttle *t = calloc(1, sizeof(*t) +
					       vm->nvcpus * sizeof(t->each[0]));

	if (!t)
		return NULL;
	t->vm = vm;
	set_each(t, percent);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	if (!thread_start(&t->thread, "throttle", throttle_thread, t))
		return t;
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
	return NULL;
}

static void throttle_end(struct throttle *t)
{
	pthread_join(t->thread, NULL);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void vm_hold(struct vm *vm, bool on)
{
	for (unsigned int i = 0; i < vm->nvcpus && on; i++)
		vcpu_rest(&vm->vcpu[i]);
	if (!on)
		vcpus_rest_over(vm);
}

static void set(struct throttle *t, const unsigned int *percent, bool end)
{
	pthread_mutex_lock(&t->lock);
	set_each(t, percent);
	t->end = end;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

void vm_throttle_each(struct vm *vm, const unsigned int *percent)
{
	struct throttle *t = vm->throttle;
	unsigned int each[VM_MAX_VCPUS];
	bool none = true;

	for (unsigned int i = 0; i < vm->nvcpus; i++) {
		each[i] = MIN(percent[i], THROTTLE_MOST);
		none = none && !each[i];
	}
	if (!t && !none)
		vm->throttle = throttle_new(vm, each);
	if (!t)
		return;
	set(t, each, none);
	if (!none)
		return;
	throttle_end(t);
	vm->throttle = NULL;
}

void vm_throttle(struct vm *vm, unsigned int percent)
{
	unsigned int each[VM_MAX_VCPUS];

	for (unsigned int i = 0; i < vm->nvcpus; i++)
		each[i] = percent;
	vm_throttle_each(vm, each);
}
