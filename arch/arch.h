/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam: all that vmm/ asks of an architecture. arch/<a>/ implements it
 * with KVM's ioctls on file descriptors it is handed, with vmm/memory.h,
 * vmm/tree.h, vmm/state/ and vmm/base/, and knows nothing else of vmm/.
 * One architecture is linked into a binary.
 */
#ifndef GODWIT_ARCH_H
#define GODWIT_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/nameset.h"
#include "vmm/memory.h"
#include "vmm/state/state.h"

struct kvm_run;
struct arch_vm;		/* per VM, allocated by the architecture */
struct arch_vcpu;	/* per vCPU */

/* The board: where the machine tree puts things. */
struct arch_board {
	const char *name;		/* root's "model" in the tree: "x86_64" */
	gpa_t mmio_base;		/* first virtio-mmio slot */
	uint64_t mmio_stride;
	unsigned int mmio_slots;
	unsigned int first_gsi;		/* of slot 0, the next slots follow */
	unsigned int max_vcpus;
	bool virtio_power_key;		/* no button that every kernel knows */
};

extern const struct arch_board arch_board;

/* Split @size bytes of RAM into ranges around the board's holes. Returns how
 * many ranges (at most MEMORY_MAX_REGIONS). */
unsigned int arch_memory_layout(uint64_t size,
				struct memory_range range[MEMORY_MAX_REGIONS]);

/* What the user chose, for the parts of the tree that the architecture adds. */
struct arch_machine {
	const char *cpu_model;		/* "host", "kvm64", "x86-64-v2", ... */
	const struct nameset *cpu;	/* not NULL: just these features */
	unsigned int cpus;
	const char *console;		/* backend of the serial port */
};

/*
 * Append to a tree being written sequentially (libfdt fdt_sw, inside the root
 * node): /cpus with the exact identity that guests will see, and the board's
 * own devices (serial, clock, power). @kvm_fd is /dev/kvm.
 */
int arch_tree_add(void *fdt, int kvm_fd, const struct arch_machine *machine,
		  struct error *err);

/* The models that are known, but for "host"; NULL behind the last. */
extern const char *const arch_cpu_models[];
/* What this model promises on every host. */
int arch_cpu_needs(const char *model, struct nameset *out, struct error *err);
/* The features of a guest of this model on this host, by their usual names,
 * and "vendor=NAME"; or what the host lacks for it. */
int arch_cpu_features(const char *model, int kvm_fd, struct nameset *out,
		      struct error *err);

/* Every reason why a machine with this tree can't run on this host: features
 * missing, by name. 0 if there is none. */
int arch_tree_check(const void *tree, int kvm_fd, struct error *err);

/* Interrupt controllers, timers, clock: after KVM_CREATE_VM, before vCPUs. */
int arch_vm_create(struct arch_vm **out, int kvm_fd, int vm_fd,
		   const void *tree, const struct log *log, struct error *err);
void arch_vm_destroy(struct arch_vm *arch);

/* One vCPU: identity from the tree. @run is its mapped kvm_run. */
int arch_vcpu_create(struct arch_vcpu **out, struct arch_vm *arch, int vcpu_fd,
		     struct kvm_run *run, unsigned int index,
		     struct error *err);
void arch_vcpu_destroy(struct arch_vcpu *cpu);

/* Open files of boot images; -1 where absent. Not owned. */
struct arch_boot {
	int kernel_fd;
	int initrd_fd;
	const char *cmdline;		/* never NULL */
};

/* Load kernel, initrd, command line and firmware tables into memory (a fresh
 * or a used one) and remember the entry point for arch_vcpu_reset(). */
int arch_boot_load(struct arch_vm *arch, struct memory *mem,
		   const struct arch_boot *boot, struct error *err);
/* Power-on state: the boot CPU at the entry point, others waiting. Not in
 * guest mode. */
int arch_vcpu_reset(struct arch_vcpu *cpu, struct error *err);
/* Interrupt controllers back to power-on. */
int arch_vm_reset(struct arch_vm *arch, struct error *err);

enum arch_exit {
	ARCH_EXIT_CONTINUE = 1,	/* handled: run on */
	ARCH_EXIT_RESET,	/* e.g. a triple fault */
	ARCH_EXIT_SHUTDOWN,	/* guest is off */
	ARCH_EXIT_ERROR,	/* @err says why the vCPU can't go on */
};

/* An exit that the generic loop doesn't know (anything but I/O, MMIO, INTR). */
enum arch_exit arch_vcpu_exit(struct arch_vcpu *cpu, struct error *err);
/* Where the vCPU stands, one line: registers and bytes at the instruction
 * pointer, for logs. */
void arch_vcpu_describe(struct arch_vcpu *cpu, struct memory *mem, char *buf,
			size_t size);

/*
 * State. The objects belong to the architecture; get() reads KVM into the
 * object, put() writes the object into KVM, each in the order of the ordered
 * tables of arch/<a>/. All vCPUs stand still. put() of the VM comes first,
 * then each vCPU, then arch_clock_start() when it runs.
 */
extern const struct state_table arch_vm_table;
extern const struct state_table arch_vcpu_table;
void *arch_vm_state(struct arch_vm *arch);
void *arch_vcpu_state(struct arch_vcpu *cpu);
int arch_vm_get(struct arch_vm *arch, struct error *err);
int arch_vm_put(struct arch_vm *arch, struct error *err);
int arch_vcpu_get(struct arch_vcpu *cpu, struct error *err);
int arch_vcpu_put(struct arch_vcpu *cpu, struct error *err);
/* Interrupt line @gsi as KVM_IRQ_LINE wants it. */
uint32_t arch_irq_line(unsigned int gsi);

/* Just before a loaded VM runs: set the clocks, @elapsed_ns on from where they
 * stood when they were saved. */
int arch_clock_start(struct arch_vm *arch, uint64_t elapsed_ns,
		     struct error *err);
/* Before a vCPU runs again after a pause (KVM_KVMCLOCK_CTRL). */
void arch_vcpu_resume(struct arch_vcpu *cpu);

/* `godwit doctor`: what this KVM is and can't do, lines to @out. Returns
 * true if stock Linux guests can run on it. */
bool arch_doctor(FILE *out, int kvm_fd);

#endif
