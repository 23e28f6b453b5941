/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One TCP connection for ever: a numbered line every 50 ms, echoed by the
 * other side in order.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

static struct {
	pthread_mutex_t lock;	/* of the counts and why */
	bool on, connected;
	char host[100], port[20];
	int fd;
	uint64_t sent, echoed, errors;
	char why[100];
	char pending[64];	/* of a line, not yet complete */
	size_t length;
} tcp = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

static void broken(const char *why)
{
	pthread_mutex_lock(&tcp.lock);
	tcp.errors++;
	if (tcp.connected)
		snprintf(tcp.why, sizeof(tcp.why), "%s", why);
	tcp.connected = false;
	pthread_mutex_unlock(&tcp.lock);
	say("TCP BROKEN %s", why);
}

/* An address of either family; a static program has no resolver. */
static socklen_t parse_address(struct sockaddr_storage *to)
{
	struct sockaddr_in *four = (struct sockaddr_in *)to;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
	in_port_t port = htons(atoi(tcp.port));

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, tcp.host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = port;
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, tcp.host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = port;
		return sizeof(*six);
	}
	return 0;
}

static int dial(void)
{
	struct sockaddr_storage to;
	socklen_t length = parse_address(&to);
	int fd;

	fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, length)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool send_number(void)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "%llu\n",
			 (unsigned long long)tcp.sent);

	if (send(tcp.fd, line, n, MSG_NOSIGNAL) != n) {
		broken(strerror(errno));
		return false;
	}
	pthread_mutex_lock(&tcp.lock);
	tcp.sent++;
	pthread_mutex_unlock(&tcp.lock);
	return true;
}

static bool take_line(void)
{
	uint64_t n;

	tcp.pending[tcp.length] = '\0';
	tcp.length = 0;
	n = strtoull(tcp.pending, NULL, 10);
	if (n != tcp.echoed) {
		char why[100];

		snprintf(why, sizeof(why), "echo %llu instead of %llu",
			 (unsigned long long)n,
			 (unsigned long long)tcp.echoed);
		broken(why);
		return false;
	}
	pthread_mutex_lock(&tcp.lock);
	tcp.echoed++;
	pthread_mutex_unlock(&tcp.lock);
	if (tcp.echoed % 20 == 0)
		say("tcp ok %llu", (unsigned long long)tcp.echoed);
	return true;
}

static bool take_echo(void)
{
	char bytes[256];
	ssize_t n = recv(tcp.fd, bytes, sizeof(bytes), 0), i;

	if (n <= 0) {
		broken(n ? strerror(errno) : "closed by the other side");
		return false;
	}
	for (i = 0; i < n; i++) {
		if (bytes[i] == '\n') {
			if (!take_line())
				return false;
		} else if (tcp.length < sizeof(tcp.pending) - 1) {
			tcp.pending[tcp.length++] = bytes[i];
		}
	}
	return true;
}

static void talk(void)
{
	double when = seconds(CLOCK_MONOTONIC);

	for (;;) {
		struct pollfd p = { .fd = tcp.fd, .events = POLLIN };
		double left = when - seconds(CLOCK_MONOTONIC);

		if (left <= 0) {
			if (!send_number())
				return;
			when = seconds(CLOCK_MONOTONIC) + 0.05;
			continue;
		}
		if (poll(&p, 1, (int)(left * 1000) + 1) > 0 && !take_echo())
			return;
	}
}

/* The other side may come up later than we; once connected, never again. */
static void *run(void *unused)
{
	int tries;

	for (tries = 0; tcp.fd < 0 && tries < 60; tries++) {
		tcp.fd = dial();
		if (tcp.fd < 0)
			sleep(1);
	}
	if (tcp.fd < 0) {
		broken("no connection in 60 tries");
		return unused;
	}
	tcp.connected = true;
	say("tcp connected to %s:%s", tcp.host, tcp.port);
	talk();
	return unused;
}

bool tcp_start(const char *value)
{
	const char *colon = strrchr(value, ':');

	if (!colon || colon - value >= (int)sizeof(tcp.host))
		return false;
	memcpy(tcp.host, value, colon - value);
	snprintf(tcp.port, sizeof(tcp.port), "%s", colon + 1);
	tcp.on = start_thread(run);
	return tcp.on;
}

static uint64_t count(const uint64_t *of)
{
	uint64_t n;

	pthread_mutex_lock(&tcp.lock);
	n = *of;
	pthread_mutex_unlock(&tcp.lock);
	return n;
}

/* Alive: what is sent from now on comes back within 10 s. */
struct report tcp_check(void)
{
	double start = seconds(CLOCK_MONOTONIC);
	uint64_t goal;

	if (!tcp.on)
		return report(VERDICT_SKIP, "work.tcp is off");
	goal = count(&tcp.sent) + 1;
	while (seconds(CLOCK_MONOTONIC) < start + 10 && !count(&tcp.errors)) {
		if (count(&tcp.echoed) >= goal)
			return report(VERDICT_OK, "%llu lines echoed",
				      (unsigned long long)goal);
		sleep_until(seconds(CLOCK_MONOTONIC) + 0.02);
	}
	return report(VERDICT_FAIL, "%llu sent, %llu echoed; %s",
		      (unsigned long long)count(&tcp.sent),
		      (unsigned long long)count(&tcp.echoed),
		      tcp.why[0] ? tcp.why : "no echo in 10 s");
}

bool tcp_sequence(uint64_t *errors)
{
	*errors = count(&tcp.errors);
	return tcp.on;
}

struct report sequence_check(void)
{
	uint64_t on_disk = 0, on_tcp = 0;
	bool disk = disk_sequence(&on_disk), net = tcp_sequence(&on_tcp);

	if (!disk && !net)
		return report(VERDICT_SKIP, "work.disk and work.tcp are off");
	return report(on_disk || on_tcp ? VERDICT_FAIL : VERDICT_OK,
		      "lost or repeated: disk %llu, tcp %llu",
		      (unsigned long long)on_disk, (unsigned long long)on_tcp);
}
