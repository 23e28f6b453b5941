/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notes from any thread to the loop: events for people, and the guest's fate
 * (a vCPU can't reset the machine that it is part of).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/fd.h"
#include "vmm/vcpu.h"
#include "vmm/vm_internal.h"

struct note {
	struct list link;
	enum vm_fate fate;	/* 0: an event */
	enum vm_event event;
	int value;
	char detail[256];
	struct io_error io;	/* device is NULL: it's none */
	char device[48];
	unsigned int runs;	/* of the VM, when that happened */
};

static void add(struct vm *vm, const struct note *from, const char *detail)
{
	struct note *n = malloc(sizeof(*n));

	if (!n)
		abort();	/* our own invariant: no note is lost */
	*n = *from;
	snprintf(n->detail, sizeof(n->detail), "%s", detail);
	pthread_mutex_lock(&vm->lock);
	if (n->fate)
		vm->fate_pending = true;
	list_add_tail(&vm->notes, &n->link);
	pthread_mutex_unlock(&vm->lock);
	fd_event_signal(vm->note_fd.fd);
}

void vm_end(struct vm *vm, enum vm_fate fate, int value, const char *why)
{
	add(vm, &(struct note){ .fate = fate, .value = value }, why);
}

void vm_note_event(struct vm *vm, enum vm_event event, int value,
		   const char *detail)
{
	add(vm, &(struct note){ .event = event, .value = value }, detail);
}

void vm_note_io_error(struct vm *vm, const struct io_error *e)
{
	struct note n = {
		.io = *e, .runs = vm->runs
	};

	snprintf(n.device, sizeof(n.device), "%s", e->device);
	add(vm, &n, e->reason);
}

/*
 * The next note, if it may be acted on now: a reboot in the middle of a
 * hand-over would run a VM that is being given away. Such a note waits until
 * the VM leaves that state (and vm_quiesce() refuses meanwhile).
 */
static struct note *take(struct vm *vm, bool all)
{
	struct note *n = NULL;

	pthread_mutex_lock(&vm->lock);
	if (!list_empty(&vm->notes))
		n = list_entry(vm->notes.next, struct note, link);
	if (n && n->fate && vm->state == VM_FINISH_MIGRATE && !all)
		n = NULL;
	if (n)
		list_del(&n->link);
	pthread_mutex_unlock(&vm->lock);
	return n;
}

static void over(struct vm *vm, enum vm_state state, int value,
		 const char *detail)
{
	vm_pause(vm, state);
	vm->cfg.event(vm->cfg.event_arg, VM_EVENT_SHUTDOWN, value, detail);
}

static void carry_out(struct vm *vm, const struct note *n)
{
	pthread_mutex_lock(&vm->lock);
	vm->fate_pending = false;
	pthread_mutex_unlock(&vm->lock);
	switch (n->fate) {
	case VM_FATE_RESET:
		vm_reset(vm);
		break;
	case VM_FATE_OFF:
		over(vm, VM_SHUTDOWN, 0, n->detail);
		break;
	case VM_FATE_EXIT:
		over(vm, VM_SHUTDOWN, n->value, n->detail);
		break;
	case VM_FATE_ERROR:
		over(vm, VM_INTERNAL_ERROR, 1, n->detail);
		break;
	}
}

/* A VM that the migration has stopped stays the migration's. */
static void stop_for_disk(struct vm *vm)
{
	bool runs;

	pthread_mutex_lock(&vm->lock);
	runs = vm->state == VM_RUNNING;
	if (runs)
		vm->state = VM_IO_ERROR;
	pthread_mutex_unlock(&vm->lock);
	if (!runs)
		return;
	vcpus_pause(vm);
	vm_note_event(vm, VM_EVENT_STOP, 0, vm_state_name(VM_IO_ERROR));
}

static void io_error(struct vm *vm, struct note *n)
{
	/* run since then, it has begun to try again */
	if (n->io.stop && n->runs == vm->runs)
		stop_for_disk(vm);
	n->io.device = n->device;
	n->io.reason = n->detail;
	if (vm->cfg.io_error)
		vm->cfg.io_error(vm->cfg.event_arg, &n->io);
}

static void on_notes(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct note *n;

	fd_event_take(vm->note_fd.fd);
	/* one a turn: the callback may destroy the VM */
	n = take(vm, false);
	if (!n)
		return;
	fd_event_signal(vm->note_fd.fd);
	if (n->fate)
		carry_out(vm, n);
	else if (n->io.device)
		io_error(vm, n);
	else
		vm->cfg.event(vm->cfg.event_arg, n->event, n->value,
			      n->detail);
	free(n);
}

int vm_notes_init(struct vm *vm, struct error *err)
{
	list_init(&vm->notes);
	vm->note_fd = (struct loop_fd){
		.fd = fd_event(), .events = EPOLLIN, .fn = on_notes, .arg = vm
	};
	if (vm->note_fd.fd < 0)
		return error_set(err, -vm->note_fd.fd, "eventfd: %s",
				 strerror(-vm->note_fd.fd));
	return loop_add(vm->loop, &vm->note_fd, err);
}

void vm_notes_stop(struct vm *vm)
{
	loop_del(vm->loop, &vm->note_fd);
}

void vm_notes_exit(struct vm *vm)
{
	struct note *n;

	fd_close(&vm->note_fd.fd);
	while ((n = take(vm, true)))
		free(n);
}
