/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A process that stands where another one stood: see `godwit upgrade`. */
#ifndef GODWIT_CMD_UPGRADE_SPAWN_H
#define GODWIT_CMD_UPGRADE_SPAWN_H

#include <sys/types.h>

#include "vmm/base/error.h"

struct upgrade_spawn {
	const char *binary;
	char *const *argv;
	pid_t like;		/* whose environment and namespaces it has */
	const char *directory;
	int files[3];		/* input, output, error */
};

/* Start it, in a session of its own. Until it says otherwise (prctl
 * PR_SET_PDEATHSIG) it ends when this process does. */
int upgrade_spawn(const struct upgrade_spawn *s, pid_t *pid, struct error *err)
	__must_check;

#endif
