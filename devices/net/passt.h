/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the passt driver: its process, or the socket of a running one. */
#ifndef GODWIT_NET_PASST_H
#define GODWIT_NET_PASST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "vmm/base/error.h"

struct passt_process {
	pid_t pid;		/* 0 if it is not ours */
	int socket;		/* non-blocking stream */
	int messages;		/* what it writes to standard error, or -1 */
};

int passt_spawn(struct passt_process *p, struct error *err);
int passt_connect(struct passt_process *p, const char *path,
		  struct error *err);
/* What it said last, one line; for a process that is gone. */
void passt_last_words(struct passt_process *p, char *buf, size_t size);
void passt_end(struct passt_process *p);

#endif
