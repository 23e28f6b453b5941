/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The transport within one process: for tests and fuzzing. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "migration/channel.h"

int channel_pair(struct channel *a, struct channel *b, struct error *err)
{
	int fd[2];

	channel_init(a);
	channel_init(b);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       fd) < 0)
		return error_set(err, errno, "socketpair: %s", strerror(errno));
	a->fd = fd[0];
	b->fd = fd[1];
	strcpy(a->peer, "pair");
	strcpy(b->peer, "pair");
	return 0;
}
