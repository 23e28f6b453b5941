/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a VM's process gives up before its guest runs, so that a guest which
 * breaks out of its machine finds little: privileges, and system calls by
 * seccomp(2), more of them for a vCPU's thread than for the others.
 *
 * Three answers: what is used is allowed; what only an intruder wants (another
 * program, another process' memory, mounts, modules, keys, other users) ends
 * the process with SIGSYS; all else is refused, because a library that tries
 * something new is no reason to lose a VM.
 */
#ifndef GODWIT_CMD_CONFINE_H
#define GODWIT_CMD_CONFINE_H

#include <pthread.h>
#include <stdbool.h>

#include "cmd/confine_user.h"
#include "vmm/base/error.h"

struct confine {
	bool on;			/* seccomp */
	struct confine_user user;
	pthread_mutex_t lock;		/* of the next two */
	bool entered;			/* it has become its user */
	bool done;			/* all threads have the filter */
};

/* Before any thread is made: gives up capabilities that nothing here wants.
 * @user: but for those that it takes to become another one. */
void confine_capabilities(bool user);
/* -ENOTSUP: built without filters; it is off then. */
int confine_init(struct confine *c, bool on, struct error *err) __must_check;
/* Has the process become its user? Any thread. */
bool confine_entered(struct confine *c);
void confine_exit(struct confine *c);
/*
 * Called by a vCPU's thread before its first guest code: on return all threads
 * of the process are confined, and this one more than the others. @programs: it
 * is alone in that, because the others must be able to run programs.
 */
int confine_vcpu(struct confine *c, bool programs, struct error *err)
	__must_check;

#endif
