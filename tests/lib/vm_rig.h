/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A real VM inside a test: its loop in a thread of its own, what its guest
 * prints, the events, and the log. Failures end the test that runs.
 *
 * Threads: the test's calls go to the loop's thread by loop_call().
 */
#ifndef GODWIT_TESTS_VM_RIG_H
#define GODWIT_TESTS_VM_RIG_H

#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/vm.h"

#define VM_RIG_TEXT (256 * 1024)

struct vm_rig {
	struct vm *vm;
	struct loop loop;
	pthread_t thread;
	struct chardev chr;		/* behind every device that asks */
	int log_fd;			/* a memfd */
	struct dirty_config dirty;	/* of a VM that is created */
	pthread_mutex_t lock;		/* protects the rest */
	pthread_cond_t news;
	char text[VM_RIG_TEXT];		/* what the guest printed, with a NUL */
	size_t len;
	unsigned int events[VM_EVENT_DISK_FOUND + 1];
	int status;			/* of VM_EVENT_SHUTDOWN */
};

struct vm_spec {
	const char *guest;	/* a file of guests/, or a path with a slash */
	const char *append;
	uint64_t memory;	/* bytes; 0: 64 MiB */
	unsigned int cpus;	/* 0: one */
	bool rng, debug_exit;
	struct dirty_config dirty;
};

/* The loop runs; no VM yet. */
struct vm_rig *vm_rig_new(void);
void vm_rig_free(struct vm_rig *r);
/* The machine tree, malloc'ed. */
void *vm_rig_tree(const struct vm_spec *spec);
/* Build it; boot and run it. */
int vm_rig_create(struct vm_rig *r, const void *tree, bool incoming,
		  struct error *err);
void vm_rig_destroy_vm(struct vm_rig *r);
void vm_rig_run(struct vm_rig *r);
/* All of that. */
struct vm_rig *vm_rig_boot(const struct vm_spec *spec);

/* Wait until the guest has printed it, at or after byte @from; returns how
 * many bytes there are then. */
size_t vm_rig_expect(struct vm_rig *r, const char *text, size_t from);
void vm_rig_expect_event(struct vm_rig *r, enum vm_event event,
			 unsigned int times);
unsigned int vm_rig_events(struct vm_rig *r, enum vm_event event);
/* Bytes so far. */
size_t vm_rig_len(struct vm_rig *r);
bool vm_rig_printed(struct vm_rig *r, const char *text);
/* Does the log hold this? */
bool vm_rig_logged(struct vm_rig *r, const char *text);
/* vm_reset() in the loop's thread. */
void vm_rig_reset(struct vm_rig *r);

/* A kernel of raw 32-bit code at 1 MiB with a PVH note; its path, removed by
 * the caller. The code starts in protected mode without paging. */
void vm_rig_tiny(char path[64], const void *code, size_t len);

/* Run the group, or say of each test why it is skipped: no /dev/kvm. */
#define vm_rig_run_tests(tests) \
	vm_rig_run_group(tests, sizeof(tests) / sizeof((tests)[0]))
int vm_rig_run_group(const struct CMUnitTest *tests, size_t n);

#endif
