/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the DRBD driver: drbd.c is the disk, drbd_role.c takes and gives
 * back the role, drbd_status.c reads what both sides are, drbd_tool.c runs
 * DRBD's commands.
 */
#ifndef GODWIT_BLOCK_DRBD_H
#define GODWIT_BLOCK_DRBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/error.h"

#define DRBD_NAME_BYTES 128
#define DRBD_WORD_BYTES 32
#define DRBD_TEXT_BYTES 4096

/* A resource as this side sees it; of several peers, the one that is worst. */
struct drbd_status {
	bool connected;			/* to all peers */
	bool primary;
	bool peer_primary;
	char disk[DRBD_WORD_BYTES];	/* UpToDate, Inconsistent, ... */
	char peer_disk[DRBD_WORD_BYTES];
	char connection[DRBD_WORD_BYTES];
	char replication[DRBD_WORD_BYTES];
};

/* The process that holds the role; zeroes: nobody does. */
struct drbd_role {
	pid_t pid;
	int hold_fd;	/* its standard input: it steps down when this ends */
	int said_fd;
};

/* drbd_tool.c */

/* A process whose input is @in (-1: none), and both outputs @out. */
int drbd_spawn(pid_t *pid, const char *const argv[], int in, int out,
	       struct error *err);
/* Until the text ends with @last (NULL: never), the file ends (1), or the time
 * is over (-ETIMEDOUT). What doesn't fit is dropped. */
int drbd_hear(int fd, char *out, size_t size, const char *last,
	      uint64_t limit_ns);
/* Its exit status, when it has ended. */
int drbd_reap(pid_t pid);
/* What a failed command printed, and in plain words what it means. */
int drbd_explain(const char *what, char *text, struct error *err);
/* Run a command, some seconds at most; what it printed is in @out. */
int drbd_tool(const char *const argv[], char *out, size_t size,
	      struct error *err);

/* drbd_role.c */

/* Primary, until drbd_role_release() or the end of this process. */
int drbd_role_take(struct drbd_role *r, const char *resource,
		   struct error *err);
/* Secondary. On failure it may still be primary: take it again to know. */
int drbd_role_release(struct drbd_role *r, struct error *err);

/* drbd_status.c */

int drbd_status(const char *resource, struct drbd_status *st,
		struct error *err);
/* What `drbdsetup status NAME --verbose` prints. */
int drbd_status_parse(const char *text, struct drbd_status *st);

#endif
