/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unix:PATH, a stream socket; see unix(7). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "migration/channel.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define BUFFER (4 << 20)

static int unix_check(const char *path, struct error *err)
{
	size_t len = strlen(path);
	size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	if (len && len <= most)
		return 0;
	return error_set(err, EINVAL, "path of a socket has %zu bytes, accepted are 1 to %zu",
			 len, most);
}

static int unix_socket(const char *path, struct sockaddr_un *addr,
		       struct error *err)
{
	int fd = unix_check(path, err);

	if (fd < 0)
		return fd;
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	strcpy(addr->sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, errno, "socket: %s", strerror(errno));
	return fd;
}

static int unix_connect(const char *rest, int cancel_fd, uint64_t deadline,
			struct error *err)
{
	struct sockaddr_un addr;
	int fd = unix_socket(rest, &addr, err);
	int ret = 0;

	if (fd < 0)
		return fd;
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		ret = -errno;
		if (ret != -EAGAIN)	/* the listener's queue is full */
			break;
		ret = channel_wait_fd(-1, 0, cancel_fd,
				      now_ns() + 10 * NSEC_PER_MSEC);
		if (ret != -ETIMEDOUT || (deadline && now_ns() >= deadline))
			break;
		ret = 0;
	}
	if (!ret)
		return fd;
	close(fd);
	return error_set(err, -ret, "%s", strerror(-ret));
}

/* A socket that nobody listens on was left by a process that died. */
static void remove_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd;

	if (lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(addr->sun_path);
	close(fd);
}

static int unix_listen(const char *rest, char uri[CHANNEL_URI_MAX],
		       struct error *err)
{
	struct sockaddr_un addr;
	int fd = unix_socket(rest, &addr, err);
	int code;

	if (fd < 0)
		return fd;
	remove_stale(&addr);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	    listen(fd, 32) == 0) {
		snprintf(uri, CHANNEL_URI_MAX, "unix:%s", rest);
		return fd;
	}
	code = errno;
	close(fd);
	return error_set(err, code, "%s", strerror(code));
}

static void unix_unlisten(const char *rest)
{
	unlink(rest);
}

static void unix_tune(int fd)
{
	int size = BUFFER;

	/* beyond the limit of net.core.wmem_max if we may; any size works */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* More than one is too many, and closed; so is what was not taken. */
static void take_rights(struct channel *ch, struct msghdr *msg)
{
	struct cmsghdr *c;
	int fd;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(fd) <= c->cmsg_len;
		     at += sizeof(fd)) {
			memcpy(&fd, (const char *)c + at, sizeof(fd));
			fd_close(&ch->fd_in);
			ch->fd_in = fd;
			ch->fds_came++;
		}
	}
	/* what had no room was closed by the kernel */
	if (msg->msg_flags & MSG_CTRUNC)
		ch->fds_came++;
}

static ssize_t unix_readv(struct channel *ch, const struct iovec *iov, int n)
{
	union {
		char room[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iovlen = (size_t)n,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	ssize_t got;

	memcpy(&msg.msg_iov, &iov, sizeof(iov));
	got = recvmsg(ch->fd, &msg, MSG_CMSG_CLOEXEC);
	if (got < 0)
		return -errno;
	take_rights(ch, &msg);
	return got;
}

static void give_right(int fd, struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
}

static ssize_t unix_writev(struct channel *ch, const struct iovec *iov, int n)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .room = "" };
	struct msghdr msg = { .msg_iovlen = (size_t)n };
	ssize_t put;

	memcpy(&msg.msg_iov, &iov, sizeof(iov));
	if (ch->fd_out >= 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof(control.room);
		give_right(ch->fd_out, &msg);
	}
	put = sendmsg(ch->fd, &msg, MSG_NOSIGNAL);
	if (put < 0)
		return -errno;
	ch->fd_out = -1;
	return put;
}

static const struct channel_ops unix_ops = {
	.readv = unix_readv,
	.writev = unix_writev,
	.passes_fd = true,
};

const struct transport transport_unix = {
	.scheme = "unix",
	.syntax = "unix:PATH",
	.check = unix_check,
	.connect = unix_connect,
	.listen = unix_listen,
	.unlisten = unix_unlisten,
	.tune = unix_tune,
	.ops = &unix_ops,
};
