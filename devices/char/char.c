/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A chardev over a file descriptor: output is written at once, input is read
 * when the device has room for it.
 *
 * A far end that is slow is waited for a moment, so that a burst gets through;
 * one that takes nothing in that time gets no more until it does again.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/char/host.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define PATIENCE_MS 50

static struct host_char *to_host(struct chardev *chr)
{
	return container_of(chr, struct host_char, chr);
}

static bool writable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, timeout_ms) == 1 && (p.revents & POLLOUT);
}

/* Bytes written; fewer than @len if the far end doesn't take them. */
static size_t write_some(struct host_char *c, const char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n;

		if (!writable(c->io.fd, c->stalled ? 0 : PATIENCE_MS)) {
			c->stalled = true;
			break;
		}
		n = write(c->io.fd, buf + done, len - done);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			break;
		done += n > 0 ? (size_t)n : 0;
		c->stalled = false;
	}
	return done;
}

static void host_char_write(struct chardev *chr, const void *buf, size_t len)
{
	struct host_char *c = to_host(chr);

	pthread_mutex_lock(&c->lock);
	if (c->io.fd >= 0)
		c->dropped += len - write_some(c, buf, len);
	pthread_mutex_unlock(&c->lock);
}

/* The client left: the next one may come. */
static void hang_up(struct host_char *c)
{
	loop_del(c->loop, &c->io);
	pthread_mutex_lock(&c->lock);
	fd_close(&c->io.fd);
	c->stalled = false;
	pthread_mutex_unlock(&c->lock);
	c->held = 0;
	loop_mod(c->loop, &c->listener, EPOLLIN);
}

/* Offer what is held; the far end is read only when nothing is. */
static void offer(struct host_char *c)
{
	size_t n = c->held;

	if (c->chr.receive)
		n = c->chr.receive(c->chr.receive_arg, c->buf, c->held);
	c->held -= n;
	memmove(c->buf, c->buf + n, c->held);
	loop_mod(c->loop, &c->io, c->held ? 0 : EPOLLIN);
}

static void host_char_accept_input(struct chardev *chr)
{
	struct host_char *c = to_host(chr);

	if (c->held)
		offer(c);
}

static void input(void *arg, uint32_t events)
{
	struct host_char *c = arg;
	ssize_t n = 0;

	/* held, and the far end is gone: nobody waits for an answer */
	if (!c->held)
		n = read(c->io.fd, c->buf, sizeof(c->buf));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		hang_up(c);
		return;
	}
	c->held = (size_t)n;
	offer(c);
}

int host_char_listen(struct host_char *c, struct error *err)
{
	c->io.events = EPOLLIN;
	c->io.fn = input;
	c->io.arg = c;
	fd_set_nonblock(c->io.fd);
	return loop_add(c->loop, &c->io, err);
}

void host_char_destroy(struct chardev *chr)
{
	struct host_char *c = to_host(chr);

	loop_del(c->loop, &c->io);
	loop_del(c->loop, &c->listener);
	if (c->dropped)
		log_warn(c->log, "chardev: %llu bytes of output were dropped",
			 (unsigned long long)c->dropped);
	fd_close(&c->io.fd);
	fd_close(&c->listener.fd);
	fd_close(&c->slave);
	if (c->path)
		unlink(c->path);
	free(c->path);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static const struct chardev_ops host_char_ops = {
	.write = host_char_write,
	.accept_input = host_char_accept_input,
	.destroy = host_char_destroy,
};

struct host_char *host_char_new(struct loop *loop, const struct log *log)
{
	struct host_char *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->chr.ops = &host_char_ops;
	c->loop = loop;
	c->log = log;
	c->io.fd = c->listener.fd = c->slave = -1;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}
