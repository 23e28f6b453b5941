/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "arch/arch.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"
#include "vmm/dirty_ring.h"
#include "vmm/kvm.h"
#include "vmm/slice.h"
#include "vmm/vm.h"
#include "vmm/vm_internal.h"

#define KICK_SIGNAL SIGRTMIN

/* kvm_run is shared with KVM and written by who kicks. */
static void set_immediate_exit(struct vcpu *cpu, uint8_t on)
{
	__atomic_store_n(&cpu->run->immediate_exit, on, __ATOMIC_RELAXED);
}

static bool immediate_exit(struct vcpu *cpu)
{
	return __atomic_load_n(&cpu->run->immediate_exit, __ATOMIC_RELAXED);
}

/* Only there so that the signal interrupts KVM_RUN. */
static void on_kick(int sig)
{
}

static void run_io(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	/* a string instruction repeats on one port, through its data */
	for (uint32_t i = 0; i < run->io.count; i++) {
		bus_dispatch(&cpu->vm->pio, run->io.port, data, run->io.size,
			     run->io.direction == KVM_EXIT_IO_OUT);
		data += run->io.size;
	}
}

static void run_mmio(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;

	bus_dispatch(&cpu->vm->mmio, run->mmio.phys_addr, run->mmio.data,
		     run->mmio.len, run->mmio.is_write);
}

/* The VM is over or starts anew; the loop sees to it. Not runnable till then. */
static void ask(struct vcpu *cpu, enum vm_fate fate, const char *why)
{
	pthread_mutex_lock(&cpu->vm->vcpus_lock);
	cpu->vm->vcpus_stop = true;
	pthread_mutex_unlock(&cpu->vm->vcpus_lock);
	set_immediate_exit(cpu, 1);
	vm_end(cpu->vm, fate, 0, why);
}

static void run_other(struct vcpu *cpu)
{
	struct error err = ERROR_INIT;
	char where[512];

	switch (arch_vcpu_exit(cpu->arch, &err)) {
	case ARCH_EXIT_CONTINUE:
		break;
	case ARCH_EXIT_RESET:
		ask(cpu, VM_FATE_RESET, "guest reset");
		break;
	case ARCH_EXIT_SHUTDOWN:
		ask(cpu, VM_FATE_OFF, "guest shutdown");
		break;
	case ARCH_EXIT_ERROR:
		arch_vcpu_describe(cpu->arch, &cpu->vm->mem, where,
				   sizeof(where));
		log_error(&cpu->vm->log, "vCPU %u: %s", cpu->index, err.msg);
		log_error(&cpu->vm->log, "vCPU %u: %s", cpu->index, where);
		ask(cpu, VM_FATE_ERROR, err.msg);
		break;
	}
}

/* KVM runs no guest code of this vCPU until there is room again. */
static void run_ring_full(struct vcpu *cpu)
{
	struct error err = ERROR_INIT;

	if (dirty_ring_full(cpu->vm->kvm, cpu->index, &err) == 0)
		return;
	log_error(&cpu->vm->log, "vCPU %u: %s", cpu->index, err.msg);
	ask(cpu, VM_FATE_ERROR, err.msg);
}

static void handle_exit(struct vcpu *cpu)
{
	uint32_t reason = cpu->run->exit_reason;

	atomic_fetch_add_explicit(&cpu->exits[MIN(reason, VCPU_EXITS - 1u)], 1,
				  memory_order_relaxed);
	switch (reason) {
	case KVM_EXIT_IO:
		run_io(cpu);
		break;
	case KVM_EXIT_MMIO:
		run_mmio(cpu);
		break;
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_DIRTY_RING_FULL:
		run_ring_full(cpu);
		break;
	default:
		run_other(cpu);
	}
}

/* One stretch of guest code. False when the vCPU was kicked out. */
static bool run_guest(struct vcpu *cpu)
{
	char why[128];

	if (ioctl(cpu->fd, KVM_RUN, 0) == 0) {
		handle_exit(cpu);
		return true;
	}
	if (errno == EINTR)
		return false;
	if (errno == EAGAIN)	/* a waiting vCPU was woken: try again */
		return true;
	snprintf(why, sizeof(why), "vCPU %u: KVM_RUN: %s", cpu->index,
		 strerror(errno));
	log_error(&cpu->vm->log, "%s", why);
	ask(cpu, VM_FATE_ERROR, why);
	return false;
}

/* Finish the instruction that the last exit interrupted: KVM does it on
 * entry, and leaves again at once. A string I/O may need several turns. */
static void complete_io(struct vcpu *cpu)
{
	set_immediate_exit(cpu, 1);
	while (run_guest(cpu))
		;
}

/* Under vcpus_lock, as the next. */
static bool held(const struct vcpu *cpu)
{
	return (cpu->vm->vcpus_stop || cpu->rest) && !cpu->vm->vcpus_quit;
}

static bool not_begun(const struct vcpu *cpu)
{
	return !cpu->vm->vcpus_begin && !cpu->vm->vcpus_quit;
}

/* Park while @asked to. False: the thread ends. */
static bool park(struct vcpu *cpu, bool (*asked)(const struct vcpu *cpu))
{
	struct vm *vm = cpu->vm;
	bool quit;

	pthread_mutex_lock(&vm->vcpus_lock);
	while (asked(cpu)) {
		cpu->parked = true;
		pthread_cond_broadcast(&vm->vcpus_parked);
		pthread_cond_wait(&vm->vcpus_go, &vm->vcpus_lock);
	}
	quit = vm->vcpus_quit;
	cpu->parked = quit;
	set_immediate_exit(cpu, 0);
	pthread_mutex_unlock(&vm->vcpus_lock);
	return !quit;
}

/* Whoever built the VM may want something done by this thread. */
static bool starts(struct vcpu *cpu)
{
	const struct vm_config *cfg = &cpu->vm->cfg;
	struct error err = ERROR_INIT;

	if (!cfg->vcpu_starts || cfg->vcpu_starts(cfg->event_arg, &err) == 0)
		return true;
	log_error(&cpu->vm->log, "vCPU %u: %s", cpu->index, err.msg);
	ask(cpu, VM_FATE_ERROR, err.msg);
	return false;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *cpu = arg;
	bool started;	/* or it is tried again */
	sigset_t set;

	/* all signals but the kick belong to the main thread */
	sigfillset(&set);
	sigdelset(&set, KICK_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	slice_shorten();
	started = park(cpu, not_begun) && starts(cpu);
	while (park(cpu, held)) {
		started = started || starts(cpu);
		while (started && run_guest(cpu) && !immediate_exit(cpu))
			;
		if (started)
			complete_io(cpu);
	}
	return NULL;
}

static int vcpu_create(struct vm *vm, unsigned int index, struct error *err)
{
	struct vcpu *cpu = &vm->vcpu[index];
	int ret;

	cpu->vm = vm;
	cpu->index = index;
	cpu->fd = ioctl(vm->kvm->vm_fd, KVM_CREATE_VCPU, index);
	if (cpu->fd < 0)
		return error_set(err, errno, "KVM_CREATE_VCPU %u: %s", index,
				 strerror(errno));
	cpu->run = mmap(NULL, vm->kvm->run_bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED, cpu->fd, 0);
	if (cpu->run == MAP_FAILED) {
		cpu->run = NULL;
		return error_set(err, errno, "vCPU %u: mmap: %s", index,
				 strerror(errno));
	}
	ret = dirty_ring_map(vm->kvm, index, cpu->fd, err);
	if (ret < 0)
		return ret;
	ret = arch_vcpu_create(&cpu->arch, vm->arch, cpu->fd, cpu->run, index,
			       err);
	if (ret < 0)
		error_prefix(err, "vCPU %u", index);
	return ret;
}

static int start_thread(struct vcpu *cpu, struct error *err)
{
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "vcpu%u", cpu->index);
	ret = thread_start(&cpu->thread, name, vcpu_thread, cpu);
	if (ret)
		return error_set(err, ret, "vCPU %u: thread: %s", cpu->index,
				 strerror(ret));
	cpu->started = true;
	return 0;
}

int vcpus_create(struct vm *vm, struct error *err)
{
	struct sigaction sa = { .sa_handler = on_kick };
	int ret = 0;

	sigaction(KICK_SIGNAL, &sa, NULL);
	vm->vcpus_stop = true;
	vm->vcpu = calloc(vm->nvcpus, sizeof(*vm->vcpu));
	if (!vm->vcpu)
		return error_set(err, ENOMEM, "no memory for %u vCPUs",
				 vm->nvcpus);
	for (unsigned int i = 0; i < vm->nvcpus; i++)
		vm->vcpu[i].fd = -1;
	for (unsigned int i = 0; i < vm->nvcpus && !ret; i++)
		ret = vcpu_create(vm, i, err);
	for (unsigned int i = 0; i < vm->nvcpus && !ret; i++)
		ret = start_thread(&vm->vcpu[i], err);
	return ret;
}

void vcpus_destroy(struct vm *vm)
{
	if (!vm->vcpu)
		return;
	vm_throttle(vm, 0);
	vcpus_pause(vm);
	pthread_mutex_lock(&vm->vcpus_lock);
	vm->vcpus_quit = true;
	pthread_cond_broadcast(&vm->vcpus_go);
	pthread_mutex_unlock(&vm->vcpus_lock);
	for (unsigned int i = 0; i < vm->nvcpus; i++) {
		struct vcpu *cpu = &vm->vcpu[i];

		if (cpu->started)
			pthread_join(cpu->thread, NULL);
		arch_vcpu_destroy(cpu->arch);
		if (cpu->run)
			munmap(cpu->run, vm->kvm->run_bytes);
		fd_close(&cpu->fd);
	}
	free(vm->vcpu);
	vm->vcpu = NULL;
}

uint64_t vcpu_time(const struct vcpu *cpu)
{
	clockid_t clock;

	return pthread_getcpuclockid(cpu->thread, &clock) ? 0 : clock_ns(clock);
}

uint64_t vm_vcpu_time(struct vm *vm)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < vm->nvcpus; i++)
		sum += vcpu_time(&vm->vcpu[i]);
	return sum;
}

void vm_begin(struct vm *vm)
{
	pthread_mutex_lock(&vm->vcpus_lock);
	vm->vcpus_begin = true;
	pthread_cond_broadcast(&vm->vcpus_go);
	pthread_mutex_unlock(&vm->vcpus_lock);
}

void vcpus_resume(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nvcpus; i++)
		arch_vcpu_resume(vm->vcpu[i].arch);
	pthread_mutex_lock(&vm->vcpus_lock);
	vm->vcpus_begin = true;
	vm->vcpus_stop = false;
	pthread_cond_broadcast(&vm->vcpus_go);
	pthread_mutex_unlock(&vm->vcpus_lock);
}

/* Out of guest mode, to where it sees what is asked. Under vcpus_lock. */
static void kick(struct vcpu *cpu)
{
	if (!cpu->started || cpu->parked)
		return;
	set_immediate_exit(cpu, 1);
	pthread_kill(cpu->thread, KICK_SIGNAL);
}

void vcpu_rest(struct vcpu *cpu)
{
	pthread_mutex_lock(&cpu->vm->vcpus_lock);
	cpu->rest = true;
	kick(cpu);
	pthread_mutex_unlock(&cpu->vm->vcpus_lock);
}

void vcpus_rest_over(struct vm *vm)
{
	pthread_mutex_lock(&vm->vcpus_lock);
	for (unsigned int i = 0; i < vm->nvcpus; i++)
		vm->vcpu[i].rest = false;
	pthread_cond_broadcast(&vm->vcpus_go);
	pthread_mutex_unlock(&vm->vcpus_lock);
}

void vcpus_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->vcpus_lock);
	vm->vcpus_stop = true;
	for (unsigned int i = 0; i < vm->nvcpus; i++)
		kick(&vm->vcpu[i]);
	for (unsigned int i = 0; i < vm->nvcpus; i++)
		while (vm->vcpu[i].started && !vm->vcpu[i].parked)
			pthread_cond_wait(&vm->vcpus_parked, &vm->vcpus_lock);
	pthread_mutex_unlock(&vm->vcpus_lock);
}
