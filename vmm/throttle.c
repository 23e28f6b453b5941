/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttling: a thread that lets all vCPUs rest and run by turns. Together, so
 * that none waits for a lock that one at rest holds.
 */
#include <pthread.h>
#include <stdlib.h>

#include "vmm/base/util.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define PERIOD_NS (10 * NSEC_PER_MSEC)
/* Shorter turns would be spent on waking up. */
#define RUN_LEAST_NS (1 * NSEC_PER_MSEC)

struct throttle {
	struct vm *vm;
	pthread_t thread;
	pthread_mutex_t lock;		/* protects the rest */
	pthread_cond_t changed;
	unsigned int percent;		/* 0: end */
};

/* Until @ns have passed, or it shall end; under the lock. */
static void turn(struct throttle *t, uint64_t ns)
{
	uint64_t end = now_ns() + ns;
	struct timespec until = {
		.tv_sec = (time_t)(end / NSEC_PER_SEC),
		.tv_nsec = (long)(end % NSEC_PER_SEC),
	};

	while (t->percent && now_ns() < end)
		pthread_cond_timedwait(&t->changed, &t->lock, &until);
}

static void *throttle_thread(void *arg)
{
	struct throttle *t = arg;

	pthread_mutex_lock(&t->lock);
	while (t->percent) {
		uint64_t run = MAX(PERIOD_NS / 100 * (100 - t->percent),
				   RUN_LEAST_NS);

		turn(t, run);
		vcpus_rest(t->vm, true);
		turn(t, run * t->percent / (100 - t->percent));
		vcpus_rest(t->vm, false);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static struct throttle *throttle_new(struct vm *vm, unsigned int percent)
{
	struct throttle *t = calloc(1, sizeof(*t));
	pthread_condattr_t attr;

	if (!t)
		return NULL;
	t->vm = vm;
	t->percent = percent;
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (!pthread_create(&t->thread, NULL, throttle_thread, t)) {
		pthread_setname_np(t->thread, "throttle");
		return t;
	}
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
	vcpus_rest(vm, on);
}

void vm_throttle(struct vm *vm, unsigned int percent)
{
	struct throttle *t = vm->throttle;

	percent = MIN(percent, 99u);
	if (!t && percent)
		vm->throttle = throttle_new(vm, percent);
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->percent = percent;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	if (percent)
		return;
	throttle_end(t);
	vm->throttle = NULL;
}
