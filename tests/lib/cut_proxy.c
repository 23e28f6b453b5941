/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/cut_proxy.h"

#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/byteorder.h"
#include "vmm/base/fd.h"

#define FRAME_MAX (1 << 20)

static const struct channel_security plain = { .plain = true };

struct link {
	struct cut_proxy *proxy;
	struct channel side[2];		/* 0 the source's, 1 the destination's */
	bool raw;			/* a bulk channel: no frames */
	uint8_t buf[FRAME_MAX];
};

static int forward(struct channel *to, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct error err = ERROR_INIT;

	return channel_writev(to, &iov, 1, 0, &err);
}

static int pump_raw(struct link *l, unsigned int from)
{
	struct iovec iov = { .iov_base = l->buf, .iov_len = sizeof(l->buf) };
	struct error err = ERROR_INIT;
	ssize_t n = channel_readv(&l->side[from], &iov, 1, 1, 0, &err);

	return n < 0 ? -1 : forward(&l->side[!from], l->buf, (size_t)n);
}

/* What came along with it goes along. */
static int forward_fd(struct channel *from, struct channel *to, void *buf,
		      size_t len)
{
	struct error err = ERROR_INIT;
	int ret, fd = -1;

	if (from->fds_came) {
		fd = channel_take_fd(from, &err);
		if (fd < 0 || channel_attach_fd(to, fd, &err) < 0)
			abort();
	}
	ret = forward(to, buf, len);
	fd_close(&fd);
	return ret;
}

/* One whole message; -1 ends the link. */
static int pump_frame(struct link *l, unsigned int from)
{
	struct cut_proxy *p = l->proxy;
	struct error err = ERROR_INIT;
	uint64_t len;
	unsigned int type;

	if (channel_read(&l->side[from], l->buf, WIRE_HEADER, 0, &err) < 0)
		return -1;
	type = get_be16(l->buf + 6);
	len = get_be64(l->buf + 16);
	if (len > FRAME_MAX - WIRE_HEADER ||
	    channel_read(&l->side[from], l->buf + WIRE_HEADER, len, 0, &err) < 0)
		return -1;
	if (type == WIRE_HELLO && from == 1) {
		unsigned int role = get_be16(l->buf + WIRE_HEADER + 4);

		l->raw = role == WIRE_ROLE_BULK || role == WIRE_ROLE_FAULT;
	}
	if (type != p->type || p->cut)
		return forward_fd(&l->side[from], &l->side[!from], l->buf,
				  WIRE_HEADER + len);
	/* first: whoever has the message may look at once */
	p->cut = true;
	if (!p->before)
		(void)!forward(&l->side[!from], l->buf, WIRE_HEADER + len);
	return -1;
}

static void *link_thread(void *arg)
{
	struct link *l = arg;
	int ret = 0;

	while (ret == 0) {
		struct pollfd p[] = {
			{ .fd = l->side[0].fd, .events = POLLIN },
			{ .fd = l->side[1].fd, .events = POLLIN },
			{ .fd = l->proxy->stop_fd, .events = POLLIN },
			{ .fd = l->proxy->cut_fd, .events = POLLIN },
		};

		poll(p, 4, -1);
		if (p[2].revents || p[3].revents)
			break;
		for (unsigned int i = 0; ret == 0 && i < 2; i++)
			if (p[i].revents)
				ret = l->raw ? pump_raw(l, i) :
					       pump_frame(l, i);
	}
	channel_close(&l->side[0]);
	channel_close(&l->side[1]);
	l->proxy->connections--;
	free(l);
	return NULL;
}

static void serve(struct cut_proxy *p)
{
	struct link *l = calloc(1, sizeof(*l));
	struct error err = ERROR_INIT;
	pthread_t thread;

	l->proxy = p;
	channel_init(&l->side[1]);
	if (channel_accept(&p->listener, &l->side[0], &err) < 0 ||
	    (p->cut && p->block) ||
	    channel_connect(&l->side[1], p->to, &plain, -1, 0, &err) < 0) {
		channel_close(&l->side[0]);
		free(l);
		return;
	}
	l->side[0].cancel_fd = l->side[1].cancel_fd = p->stop_fd;
	p->connections++;
	pthread_create(&thread, NULL, link_thread, l);
	pthread_detach(thread);
}

static void *proxy_thread(void *arg)
{
	struct cut_proxy *p = arg;

	while (channel_wait_fd(p->listener.fd, POLLIN, p->stop_fd, 0) == 0)
		serve(p);
	return NULL;
}

void cut_proxy_start(struct cut_proxy *p, const char *uri, const char *to)
{
	struct error err = ERROR_INIT;

	strcpy(p->to, to);
	p->stop_fd = fd_event();
	p->cut_fd = fd_event();
	if (channel_listen(&p->listener, uri, &plain, &err) < 0)
		abort();
	pthread_create(&p->thread, NULL, proxy_thread, p);
}

void cut_proxy_cut(struct cut_proxy *p)
{
	p->cut = true;
	fd_event_signal(p->cut_fd);
	while (p->connections)
		sched_yield();
	fd_event_take(p->cut_fd);
}

void cut_proxy_stop(struct cut_proxy *p)
{
	fd_event_signal(p->stop_fd);
	pthread_join(p->thread, NULL);
	while (p->connections)
		sched_yield();
	listener_close(&p->listener);
	fd_close(&p->stop_fd);
	fd_close(&p->cut_fd);
}
