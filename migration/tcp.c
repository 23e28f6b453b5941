/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tcp:HOST:PORT; see tcp(7). IPv6 addresses stand in [brackets]. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/channel.h"
#include "vmm/base/util.h"

/* A dead peer is found in 7 seconds, idle or not. */
#define KEEP_IDLE_S 3
#define KEEP_INTERVAL_S 2
#define KEEP_COUNT 2
#define USER_TIMEOUT_MS 7000
#define LAN_RTT_US 2000
#define CONGESTION_NAME 16	/* TCP_CA_NAME_MAX */
#define UNSENT_BYTES (256 << 10)

struct host_port {
	char host[CHANNEL_URI_MAX];
	char port[16];
};

/* "HOST:PORT" or "[ADDR]:PORT"; an empty host is every local address. */
static int split(const char *rest, struct host_port *hp, struct error *err)
{
	const char *colon = strrchr(rest, ':');
	const char *start = rest;
	size_t len;

	if (!colon || !colon[1] || strlen(colon + 1) >= sizeof(hp->port) ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return error_set(err, EINVAL, "'%s' has no port, expected HOST:PORT",
				 rest);
	len = (size_t)(colon - rest);
	if (len >= 2 && start[0] == '[' && start[len - 1] == ']') {
		start++;
		len -= 2;
	} else if (memchr(start, ':', len)) {
		return error_set(err, EINVAL,
				 "IPv6 address in '%s' must stand in brackets, [ADDR]:PORT",
				 rest);
	}
	if (len >= sizeof(hp->host))
		return error_set(err, EINVAL, "host name is too long");
	/* getaddrinfo() takes a port modulo 65536 */
	if (strtoul(colon + 1, NULL, 10) > UINT16_MAX)
		return error_set(err, EINVAL, "port '%s' in '%s' is not from 0 to %d",
				 colon + 1, rest, UINT16_MAX);
	memcpy(hp->host, start, len);
	hp->host[len] = '\0';
	strcpy(hp->port, colon + 1);
	return 0;
}

static int tcp_check(const char *rest, struct error *err)
{
	struct host_port hp;

	return split(rest, &hp, err);
}

/* @rest was checked. */
static void tcp_host(const char *rest, char name[CHANNEL_URI_MAX])
{
	struct error ignored = ERROR_INIT;
	struct host_port hp = { .host = "" };

	(void)!split(rest, &hp, &ignored);
	strcpy(name, hp.host);
}

static int resolve(const char *rest, int flags, struct addrinfo **out,
		   struct error *err)
{
	struct addrinfo hint = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = flags | AI_NUMERICSERV,
	};
	struct host_port hp;
	int ret = split(rest, &hp, err);

	if (ret < 0)
		return ret;
	ret = getaddrinfo(hp.host[0] ? hp.host : NULL, hp.port, &hint, out);
	if (ret)
		return error_set(err, EHOSTUNREACH, "'%s': %s", hp.host,
				 gai_strerror(ret));
	return 0;
}

static int set_congestion(int fd, const char *name)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name,
			  (socklen_t)strlen(name));
}

/*
 * BBR paces: it sends by a timer, at the rate that it measured. Between hosts
 * of one site there is nothing to win by that, and it takes twice the CPU time
 * and half of the bandwidth (measured: 2.3 instead of 4.3 GiB/s on loopback).
 * A socket that once had it stays paced, so another one is chosen before the
 * connection, whose time then tells whether the path is long. Reno may be
 * chosen by everybody. @usual: what there was instead, or "".
 */
static void tcp_unpace(int fd, char usual[CONGESTION_NAME])
{
	socklen_t len = CONGESTION_NAME - 1;

	memset(usual, 0, CONGESTION_NAME);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, usual, &len) < 0 ||
	    strncmp(usual, "bbr", 3) ||
	    (set_congestion(fd, "cubic") && set_congestion(fd, "reno")))
		usual[0] = '\0';
}

static void tcp_pace(int fd, const char *usual)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (usual[0] &&
	    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	    info.tcpi_rtt > LAN_RTT_US)
		(void)set_congestion(fd, usual);
}

static int connect_within(int fd, const struct addrinfo *ai, int cancel_fd,
			  uint64_t deadline)
{
	socklen_t len = sizeof(int);
	int code = 0;
	int ret;

	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return 0;
	ret = -errno;
	if (ret == -EINPROGRESS)
		ret = channel_wait_fd(fd, POLLOUT, cancel_fd, deadline);
	if (ret == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len))
		code = errno;
	return ret ? ret : -code;
}

static int connect_one(const struct addrinfo *ai, int cancel_fd,
		       uint64_t deadline)
{
	int fd = socket(ai->ai_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char usual[CONGESTION_NAME];
	int ret;

	if (fd < 0)
		return -errno;
	tcp_unpace(fd, usual);
	ret = connect_within(fd, ai, cancel_fd, deadline);
	if (ret == 0) {
		tcp_pace(fd, usual);
		return fd;
	}
	close(fd);
	return ret;
}

static int tcp_connect(const char *rest, int cancel_fd, uint64_t deadline,
		       struct error *err)
{
	struct addrinfo *list;
	int ret = resolve(rest, 0, &list, err);

	if (ret < 0)
		return ret;
	ret = -EHOSTUNREACH;
	for (struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		ret = connect_one(ai, cancel_fd, deadline);
		if (ret >= 0 || ret == -ECANCELED)
			break;
	}
	freeaddrinfo(list);
	if (ret < 0)
		return error_set(err, -ret, "%s", ret == -ECANCELED ?
				 "cancelled" : strerror(-ret));
	return ret;
}

static void address_text(const struct sockaddr_storage *addr, socklen_t len,
			 char uri[CHANNEL_URI_MAX])
{
	char host[64], port[16];

	uri[0] = '\0';
	if (getnameinfo((const struct sockaddr *)addr, len, host, sizeof(host),
			port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	snprintf(uri, CHANNEL_URI_MAX, addr->ss_family == AF_INET6 ?
		 "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

/* The URI to connect to, with the port that the kernel chose for 0. */
static void name_of(int fd, char uri[CHANNEL_URI_MAX])
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	uri[0] = '\0';
	if (getsockname(fd, (struct sockaddr *)&addr, &len) == 0)
		address_text(&addr, len, uri);
}

static void tcp_peer(int fd, char name[CHANNEL_URI_MAX])
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getpeername(fd, (struct sockaddr *)&addr, &len) == 0)
		address_text(&addr, len, name);
}

static int listen_one(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;
	int code;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, 32) == 0)
		return fd;
	code = errno;
	close(fd);
	return -code;
}

static int tcp_listen(const char *rest, char uri[CHANNEL_URI_MAX],
		      struct error *err)
{
	struct addrinfo *list;
	int fd = resolve(rest, AI_PASSIVE, &list, err);

	if (fd < 0)
		return fd;
	fd = listen_one(list);
	freeaddrinfo(list);
	if (fd < 0)
		return error_set(err, -fd, "%s", strerror(-fd));
	name_of(fd, uri);
	return fd;
}

/*
 * Buffers are left to the kernel: setting a size ends its own tuning, which
 * goes to several megabytes where the path wants them. But what waits there
 * unsent falls out of the cache before it is read again: with a bound, which the
 * path's window does not count in, a copy on one host takes a fifth less CPU.
 */
static void tcp_tune(int fd)
{
	static const struct {
		int level, name, value;
	} option[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S },
		{ IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S },
		{ IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(option); i++)
		setsockopt(fd, option[i].level, option[i].name,
			   &option[i].value, sizeof(option[i].value));
}

const struct transport transport_tcp = {
	.scheme = "tcp",
	.syntax = "tcp:HOST:PORT",
	.exposed = true,
	.check = tcp_check,
	.connect = tcp_connect,
	.listen = tcp_listen,
	.tune = tcp_tune,
	.host = tcp_host,
	.peer = tcp_peer,
};
