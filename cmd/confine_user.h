/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The user and the root directory that a VM's process has while its guest runs.
 * It starts as root, opens what it needs, and then there is no way back: no
 * capability, no group, and no file above the directory.
 *
 * What is named later is opened by that user, below that directory.
 */
#ifndef GODWIT_CMD_CONFINE_USER_H
#define GODWIT_CMD_CONFINE_USER_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "vmm/base/error.h"

struct confine_user {
	bool on;
	uid_t uid;
	gid_t gid;
	int root_fd;		/* of --chroot; -1: none, or it was entered */
	char root[PATH_MAX];	/* canonical; "": none */
};

/* NAME or UID, with :GID or not: numbers of both. -EINVAL, also for root. */
int confine_user_parse(const char *text, uid_t *uid, gid_t *gid,
		       struct error *err) __must_check;
struct option_spec;
/* An option's parse function for that; the text is kept. */
int confine_user_option(const struct option_spec *spec, void *field,
			const char *value, struct error *err);
/* @user, @root: as given, NULL: not given. Without @user nothing changes.
 * -EPERM: only root can. Undone by confine_user_exit(). */
int confine_user_init(struct confine_user *u, const char *user,
		      const char *root, struct error *err) __must_check;
void confine_user_exit(struct confine_user *u);
/*
 * Make the directory of records that this user can write: below the root
 * directory, else beside @dir, the usual one. @dir becomes its path from
 * outside, @inside that from inside. Both of PATH_MAX bytes. By root.
 */
int confine_user_state_dir(const struct confine_user *u, char *dir,
			   char *inside, struct error *err) __must_check;
/* Become it: all threads of the process. Once; an error leaves a process that
 * must not run a guest. */
int confine_user_enter(struct confine_user *u, struct error *err)
	__must_check;
/* @path of the host as it is called below the root directory: a part of @path.
 * NULL: it lies outside. */
const char *confine_user_path(const struct confine_user *u, const char *path);

#endif
