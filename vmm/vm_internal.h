/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of vmm/ that make up a struct vm. */
#ifndef GODWIT_VM_INTERNAL_H
#define GODWIT_VM_INTERNAL_H

#include "vmm/vm.h"

/* Why a guest stops being runnable. */
enum vm_fate {
	VM_FATE_RESET = 1,
	VM_FATE_OFF,		/* powered off */
	VM_FATE_EXIT,		/* debug-exit; the value is the exit status */
	VM_FATE_ERROR,		/* a vCPU can't go on */
};

/* Tell the loop; carried out there. Any thread, never waits. @why is copied. */
void vm_end(struct vm *vm, enum vm_fate fate, int value, const char *why);
/* Queue an event for cfg.event(). Any thread, never waits. */
void vm_note_event(struct vm *vm, enum vm_event event, int value,
		   const char *detail);

/* A request failed: told, and the VM paused if it must stop. Loop's thread. */
void vm_note_io_error(struct vm *vm, const struct io_error *e);

int vm_notes_init(struct vm *vm, struct error *err) __must_check;
/* No note is acted on any more (loop's thread); then, free what is left. */
void vm_notes_stop(struct vm *vm);
void vm_notes_exit(struct vm *vm);

/* machine.c: devices from the tree, and back. */
void machine_env_init(struct vm *vm);
int machine_create_devices(struct vm *vm, struct error *err) __must_check;
void machine_destroy_devices(struct vm *vm);

void vm_announce_init(struct vm *vm);
void vm_reset_init(struct vm *vm);
void vm_set_state(struct vm *vm, enum vm_state state);

#endif
