/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/tls.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

static const struct transport *const transports[] = {
	&transport_tcp,
	&transport_unix,
};

static ssize_t socket_readv(struct channel *ch, const struct iovec *iov, int n)
{
	ssize_t got = readv(ch->fd, iov, n);

	return got < 0 ? -errno : got;
}

/* sendmsg for MSG_NOSIGNAL: a peer that left must not raise SIGPIPE */
static ssize_t socket_writev(struct channel *ch, const struct iovec *iov,
			     int n)
{
	struct msghdr msg = { .msg_iovlen = (size_t)n };
	ssize_t put;

	memcpy(&msg.msg_iov, &iov, sizeof(iov));
	put = sendmsg(ch->fd, &msg, MSG_NOSIGNAL);
	return put < 0 ? -errno : put;
}

static const struct channel_ops socket_ops = {
	.readv = socket_readv,
	.writev = socket_writev,
};

void channel_init(struct channel *ch)
{
	memset(ch, 0, sizeof(*ch));
	ch->ops = &socket_ops;
	ch->fd = -1;
	ch->cancel_fd = -1;
	ch->fd_out = ch->fd_in = -1;
}

static const struct transport *transport_find(const char *uri,
					      const char **rest,
					      struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(transports); i++) {
		size_t n = strlen(transports[i]->scheme);

		if (strncmp(uri, transports[i]->scheme, n) || uri[n] != ':')
			continue;
		*rest = uri + n + 1;
		return transports[i];
	}
	error_set(err, EINVAL, "'%s' is no migration address, expected %s or %s",
		  uri, transport_tcp.syntax, transport_unix.syntax);
	return NULL;
}

int channel_uri_check(const char *uri, struct error *err)
{
	const struct transport *t;
	const char *rest;

	if (strlen(uri) >= CHANNEL_URI_MAX)
		return error_set(err, EINVAL, "migration address is longer than %d bytes",
				 CHANNEL_URI_MAX - 1);
	t = transport_find(uri, &rest, err);
	return t ? t->check(rest, err) : -EINVAL;
}

int channel_security_check(const char *uri,
			   const struct channel_security *security,
			   struct error *err)
{
	const struct transport *t;
	const char *rest;

	if (channel_uri_check(uri, err) < 0)
		return -EINVAL;
	t = transport_find(uri, &rest, err);
	if (!t->exposed || (security && (security->tls || security->plain)))
		return 0;
	return error_set(err, EINVAL,
			 "%s: who is there, and who listens? Choose --tls DIR (certificates) or --tls psk=FILE (a key), or --plain on a network that you trust",
			 uri);
}

/* To its end, which is the other side's business, too. */
static int handshake(struct channel *ch, uint64_t deadline, struct error *err)
{
	short events = 0;
	int ret;

	while ((ret = tls_handshake_step(ch, &events, err)) == -EAGAIN) {
		ret = channel_wait_fd(ch->fd, events, ch->cancel_fd, deadline);
		if (ret < 0)
			return error_set(err, -ret, ret == -ECANCELED ?
					 "cancelled" : "TLS: %s",
					 strerror(-ret));
	}
	return ret;
}

static int secure(struct channel *ch, const struct transport *t,
		  const char *rest, const struct channel_security *security,
		  uint64_t deadline, struct error *err)
{
	char name[CHANNEL_URI_MAX] = "";
	int ret;

	if (t->host)
		t->host(rest, name);
	if (security->tls_name)
		snprintf(name, sizeof(name), "%s", security->tls_name);
	ret = tls_start(ch, security->tls, TLS_CLIENT, name, err);
	return ret < 0 ? ret : handshake(ch, deadline, err);
}

int channel_connect(struct channel *ch, const char *uri,
		    const struct channel_security *security, int cancel_fd,
		    uint64_t deadline, struct error *err)
{
	const struct transport *t;
	const char *rest;
	int ret, fd;

	channel_init(ch);
	if (channel_security_check(uri, security, err) < 0)
		return -EINVAL;
	t = transport_find(uri, &rest, err);
	fd = t->connect(rest, cancel_fd, deadline, err);
	if (fd < 0) {
		error_prefix(err, "connect to %s", uri);
		return fd;
	}
	t->tune(fd);
	ch->fd = fd;
	if (t->ops)
		ch->ops = t->ops;
	ch->cancel_fd = cancel_fd;
	strcpy(ch->peer, uri);
	if (!security || !security->tls)
		return 0;
	ret = secure(ch, t, rest, security, deadline, err);
	if (ret == 0)
		return 0;
	channel_close(ch);
	error_prefix(err, "%s", uri);
	return ret;
}

int channel_listen(struct listener *l, const char *uri,
		   const struct channel_security *security, struct error *err)
{
	const char *rest;

	l->fd = -1;
	if (channel_security_check(uri, security, err) < 0)
		return -EINVAL;
	l->transport = transport_find(uri, &rest, err);
	l->fd = l->transport->listen(rest, l->uri, err);
	if (l->fd >= 0)
		return 0;
	error_prefix(err, "listen on %s", uri);
	return -err->code;
}

void listener_close(struct listener *l)
{
	if (l->fd >= 0 && l->transport->unlisten)
		l->transport->unlisten(strchr(l->uri, ':') + 1);
	fd_close(&l->fd);
}

int channel_accept(struct listener *l, struct channel *ch, struct error *err)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	channel_init(ch);
	if (fd < 0)
		return error_set(err, errno, "accept on %s: %s", l->uri,
				 strerror(errno));
	l->transport->tune(fd);
	ch->fd = fd;
	if (l->transport->ops)
		ch->ops = l->transport->ops;
	strcpy(ch->peer, l->uri);
	if (l->transport->peer)
		l->transport->peer(fd, ch->peer);
	return 0;
}

void channel_close(struct channel *ch)
{
	if (ch->ops->close && ch->tls)
		ch->ops->close(ch);
	fd_close(&ch->fd);
	fd_close(&ch->fd_in);
}

int channel_attach_fd(struct channel *ch, int fd, struct error *err)
{
	if (!ch->ops->passes_fd)
		return error_set(err, ENOTSUP, "%s: an open file goes over a unix socket without TLS only",
				 ch->peer);
	ch->fd_out = fd;
	return 0;
}

int channel_take_fd(struct channel *ch, struct error *err)
{
	unsigned int came = ch->fds_came;
	int fd = ch->fd_in;

	ch->fd_in = -1;
	ch->fds_came = 0;
	if (came == 1 && fd >= 0)
		return fd;
	fd_close(&fd);
	return error_set(err, EPROTO, "%s: %u open files came, expected one",
			 ch->peer, came);
}

void channel_shutdown(struct channel *ch)
{
	if (ch->fd >= 0)
		shutdown(ch->fd, SHUT_RDWR);
}

void channel_finish(struct channel *ch)
{
	if (ch->ops->finish)
		ch->ops->finish(ch);
	shutdown(ch->fd, SHUT_WR);
}

static int poll_timeout(uint64_t deadline)
{
	uint64_t now = now_ns();

	if (!deadline)
		return -1;
	if (now >= deadline)
		return 0;
	/* rounded up, so as not to spin in the last millisecond */
	return (int)MIN((deadline - now) / NSEC_PER_MSEC + 1, 1000000000ull);
}

int channel_wait_fd(int fd, short events, int cancel_fd, uint64_t deadline)
{
	struct pollfd p[] = {
		{ .fd = fd, .events = events },
		{ .fd = cancel_fd, .events = POLLIN },
	};

	for (;;) {
		int n = poll(p, ARRAY_SIZE(p), poll_timeout(deadline));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[1].revents)
			return -ECANCELED;
		if (n > 0 && p[0].revents)
			return 0;
		if (deadline && now_ns() >= deadline)
			return -ETIMEDOUT;
	}
}

static int channel_wait(struct channel *ch, short events, uint64_t deadline,
			struct error *err)
{
	uint64_t limit = deadline;
	int ret;

	if (ch->idle_ns && (!limit || now_ns() + ch->idle_ns < limit))
		limit = now_ns() + ch->idle_ns;
	ret = channel_wait_fd(ch->fd, events, ch->cancel_fd, limit);
	if (ret == -ECANCELED)
		return error_set(err, ECANCELED, "cancelled");
	if (ret == -ETIMEDOUT)
		return error_set(err, ETIMEDOUT, "%s: no progress in time",
				 ch->peer);
	if (ret < 0)
		return error_set(err, -ret, "%s: %s", ch->peer,
				 strerror(-ret));
	return 0;
}

void iovec_skip(struct iovec **iov, int *n, size_t len)
{
	while (*n && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}

/* The result of one transfer: bytes, 0 to try again, or an error in @err. */
static ssize_t judge(struct channel *ch, ssize_t n, bool reading,
		     uint64_t deadline, struct error *err)
{
	if (n > 0) {
		atomic_fetch_add_explicit(reading ? &ch->received : &ch->sent,
					  (unsigned long long)n,
					  memory_order_relaxed);
		return n;
	}
	if (n == -EINTR)
		return 0;
	if (n == -EAGAIN)
		return channel_wait(ch, reading ? POLLIN : POLLOUT, deadline,
				    err);
	if (n == 0)
		return error_set(err, ECONNRESET,
				 "%s: the other side closed the connection",
				 ch->peer);
	return error_set(err, (int)-n, "%s: %s", ch->peer,
			 ch->why ? ch->why : strerror((int)-n));
}

ssize_t channel_readv(struct channel *ch, struct iovec *iov, int n,
		      size_t want, uint64_t deadline, struct error *err)
{
	size_t got = 0;

	iovec_skip(&iov, &n, 0);
	while (got < want) {
		ssize_t r = judge(ch, ch->ops->readv(ch, iov, n), true,
				  deadline, err);

		if (r < 0)
			return r;
		got += (size_t)r;
		iovec_skip(&iov, &n, (size_t)r);
	}
	return (ssize_t)got;
}

int channel_read(struct channel *ch, void *buf, size_t len, uint64_t deadline,
		 struct error *err)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	ssize_t n = channel_readv(ch, &iov, 1, len, deadline, err);

	return n < 0 ? (int)n : 0;
}

int channel_writev(struct channel *ch, struct iovec *iov, int n,
		   uint64_t deadline, struct error *err)
{
	iovec_skip(&iov, &n, 0);
	while (n) {
		ssize_t r = ch->ops->writev(ch, iov, n);

		/* nothing was asked for in vain: 0 is no end of file here */
		r = judge(ch, r ? r : -EAGAIN, false, deadline, err);
		if (r < 0)
			return (int)r;
		iovec_skip(&iov, &n, (size_t)r);
	}
	return 0;
}

bool channel_pending(const struct channel *ch)
{
	return ch->fd >= 0 && ch->ops->pending && ch->ops->pending(ch);
}

bool channel_readable(const struct channel *ch)
{
	struct pollfd p = { .fd = ch->fd, .events = POLLIN };

	return channel_pending(ch) || poll(&p, 1, 0) > 0;
}
