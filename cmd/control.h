/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket of a VM: a unix socket that speaks QMP to several clients
 * at once. A client that doesn't read, or that sends nonsense, costs bounded
 * memory and its own connection, never the VM.
 *
 * Threads: all in the loop's thread.
 */
#ifndef GODWIT_CMD_CONTROL_H
#define GODWIT_CMD_CONTROL_H

#include <jansson.h>

#include "cmd/confine_user.h"
#include "cmd/qmp.h"
#include "vmm/base/error.h"
#include "vmm/loop.h"

struct control;

struct control_config {
	const char *path;
	struct loop *loop;
	struct qmp_server server;
	/* The last client has left. May be NULL. */
	void (*deserted)(void *arg);
	void *arg;
};

/* Listens when it returns. A dead socket at the path is replaced; -EADDRINUSE
 * if somebody answers there. */
int control_create(struct control **out, const struct control_config *cfg,
		   struct error *err) __must_check;
/* The process sees other paths now; a socket that it can't unlink any more stays
 * until a VM of that name starts, or root removes it. */
void control_entered(struct control *ctl, const struct confine_user *user);
void control_destroy(struct control *ctl);
void control_event(struct control *ctl, const char *name, json_t *data);
unsigned int control_clients(const struct control *ctl);
/* Move the socket to another name, unless somebody lives there. */
int control_rename(struct control *ctl, const char *path, struct error *err);
/* The same, from whoever lives there: his socket has no name any more. */
int control_take(struct control *ctl, const char *path, struct error *err)
	__must_check;
const char *control_path(const struct control *ctl);
/* Serve a connection that is already there (a test's); takes over the fd. */
int control_adopt(struct control *ctl, int fd, struct error *err);

#endif
