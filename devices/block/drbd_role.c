/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process holds the role for as long as its standard input lasts. So the
 * role is given back, too, when the VMM is killed: the peer could not become
 * primary otherwise, and nobody would be there to step down.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/drbd.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

/* DRBD takes 10.5 s to notice that its peer is gone (ping-int, ping-timeout),
 * and answers nothing until then. */
#define LIMIT_NS (30 * NSEC_PER_SEC)

/* Like udev, others look at a device that was just closed: hence the 2 s. */
static const char script[] =
	"trap '' PIPE HUP INT TERM\n"
	"drbdadm primary \"$1\" || exit\n"
	"echo held\n"
	"read -r end\n"
	"n=0\n"
	"until why=$(drbdadm secondary \"$1\" 2>&1); do\n"
	"	n=$((n + 1))\n"
	"	[ $n -lt 20 ] || { echo \"$why\"; exit 1; }\n"
	"	sleep 0.1\n"
	"done\n";

static int start(struct drbd_role *r, const char *resource, struct error *err)
{
	const char *argv[] = { "sh", "-c", script, "godwit-drbd", resource,
			       NULL };
	int hold[2], said[2], ret;

	if (pipe2(hold, O_CLOEXEC) < 0)
		return error_set(err, errno, "pipe: %s", strerror(errno));
	if (pipe2(said, O_CLOEXEC) < 0) {
		close(hold[0]);
		close(hold[1]);
		return error_set(err, EMFILE, "no descriptor for a pipe");
	}
	ret = drbd_spawn(&r->pid, argv, hold[0], said[1], err);
	close(hold[0]);
	close(said[1]);
	r->hold_fd = hold[1];
	r->said_fd = said[0];
	if (ret < 0) {
		fd_close(&r->hold_fd);
		fd_close(&r->said_fd);
	}
	return ret;
}

/* It steps down if it is primary, or will be yet, and ends. */
static int finish(struct drbd_role *r, const char *what, struct error *err)
{
	char text[DRBD_TEXT_BYTES];

	fd_close(&r->hold_fd);
	if (drbd_hear(r->said_fd, text, sizeof(text), NULL, LIMIT_NS) < 0)
		return error_set(err, ETIMEDOUT, "`%s` did not end", what);
	fd_close(&r->said_fd);
	if (drbd_reap(r->pid))
		drbd_explain(what, text, err);
	*r = (struct drbd_role){ 0 };
	return -err->code;
}

int drbd_role_take(struct drbd_role *r, const char *resource,
		   struct error *err)
{
	char text[DRBD_TEXT_BYTES];
	/* one that was too slow the last time */
	int ret = drbd_role_release(r, err) ?: start(r, resource, err);

	if (ret)
		return ret;
	ret = drbd_hear(r->said_fd, text, sizeof(text), "held\n", LIMIT_NS);
	if (!ret)
		return 0;
	fd_close(&r->hold_fd);
	if (ret < 0)
		return error_set(err, ETIMEDOUT,
				 "`drbdadm primary` did not end");
	drbd_explain("drbdadm primary", text, err);
	fd_close(&r->said_fd);
	drbd_reap(r->pid);
	*r = (struct drbd_role){ 0 };
	return -err->code;
}

int drbd_role_release(struct drbd_role *r, struct error *err)
{
	return r->pid ? finish(r, "drbdadm secondary", err) : 0;
}
