/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection of an NBD disk: handshake, checks of the export, and, when
 * the server is lost, another attempt after 100 ms, 200 ms, ... 5 s.
 *
 * libnbd connects without blocking; only the look-up of a host name may take
 * time, so that an address is the better choice in a URI.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "devices/block/nbd.h"

#define CONNECT_NS (5 * NSEC_PER_SEC)
#define GOODBYE_NS NSEC_PER_SEC
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define MAX_PIECE (32 * MIB)	/* what every server takes */

/* libnbd prefixes its messages with the function's name. */
static const char *reason(const struct nbd_disk *d)
{
	const char *msg = d->nbd.get_error(), *colon;

	if (!msg)
		return "the server closed the connection";
	colon = strstr(msg, ": ");
	return colon ? colon + 2 : msg;
}

bool nbd_link_is_down(const struct nbd_disk *d)
{
	return d->nbd.aio_is_dead(d->h) == 1 || d->nbd.aio_is_closed(d->h) == 1;
}

/* A peer that vanished is found in seconds. Not for unix sockets: ignored. */
static void set_keepalive(int fd)
{
	int on = 1, idle = 5, interval = 2, count = 3, timeout = 10000;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval,
		   sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout,
		   sizeof(timeout));
}

static int check_size(struct nbd_disk *d, struct error *err)
{
	int64_t size = d->nbd.get_size(d->h);

	if (size < 0)
		return error_set(err, EIO, "%s: %s", d->uri, reason(d));
	size &= ~(int64_t)511;
	if (!size)
		return error_set(err, EINVAL, "%s: the export is empty",
				 d->uri);
	if (d->want_size && (uint64_t)size != d->want_size)
		return error_set(err, EINVAL,
				 "%s: the export has %lld bytes, the machine's disk has %llu",
				 d->uri, (long long)size,
				 (unsigned long long)d->want_size);
	d->want_size = d->blk.size = (uint64_t)size;
	return 0;
}

/* Is this export the disk that the machine has? */
static int check_export(struct nbd_disk *d, struct error *err)
{
	int64_t most = d->nbd.get_block_size(d->h, LIBNBD_SIZE_MAXIMUM);
	int64_t least = d->nbd.get_block_size(d->h, LIBNBD_SIZE_MINIMUM);
	int ret = check_size(d, err);

	if (ret)
		return ret;
	if (!d->blk.readonly && d->nbd.is_read_only(d->h) == 1)
		return error_set(err, EROFS,
				 "%s: the export is read-only (readonly=on takes it)",
				 d->uri);
	if (least > 512)
		return error_set(err, EINVAL,
				 "%s: the server takes blocks of %lld bytes only, disks have sectors of 512",
				 d->uri, (long long)least);
	d->max_piece = MAX_PIECE;
	if (most > 0 && most < (int64_t)MAX_PIECE)
		d->max_piece = (uint32_t)align_down((uint64_t)most, 512);
	return 0;
}

static int refused(const struct nbd_disk *d, struct error *err)
{
	return error_set(err, d->nbd.get_errno() ?: ECONNREFUSED,
			 "%s: %s (is the server running?)", d->uri, reason(d));
}

static int begin(struct nbd_disk *d, struct error *err)
{
	d->h = d->nbd.create();
	if (!d->h || d->nbd.aio_connect_uri(d->h, d->uri) < 0)
		return refused(d, err);
	d->state = NBD_LINK_CONNECTING;
	return 0;
}

static int finish(struct nbd_disk *d, struct error *err)
{
	int ret = check_export(d, err);

	if (ret)
		return ret;
	set_keepalive(d->nbd.aio_get_fd(d->h));
	loop_timer_cancel(&d->timer);
	d->state = NBD_LINK_READY;
	d->backoff_ms = BACKOFF_MIN_MS;
	return 0;
}

/* Let libnbd work until @cond, but not beyond @deadline. */
static void poll_until(struct nbd_disk *d, int (*cond)(struct nbd_handle *h),
		       uint64_t deadline)
{
	while (cond(d->h) != 1 && !nbd_link_is_down(d)) {
		uint64_t now = now_ns();

		if (now >= deadline ||
		    d->nbd.poll(d->h, (int)((deadline - now) / NSEC_PER_MSEC) + 1)
		    < 0)
			return;
	}
}

static int shake_hands(struct nbd_disk *d, struct error *err)
{
	int ret = begin(d, err);

	if (ret)
		return ret;
	poll_until(d, d->nbd.aio_is_ready, now_ns() + CONNECT_NS);
	if (nbd_link_is_down(d))
		return refused(d, err);
	if (d->nbd.aio_is_ready(d->h) != 1)
		return error_set(err, ETIMEDOUT,
				 "%s: no answer in %llu s (does the server serve another client?)",
				 d->uri, CONNECT_NS / NSEC_PER_SEC);
	return finish(d, err);
}

int nbd_link_open(struct nbd_disk *d, struct error *err)
{
	int ret = shake_hands(d, err);

	if (ret) {
		nbd_link_close(d, false);
		return ret;
	}
	nbd_link_watch(d);
	return 0;
}

/* What was not sent yet must not arrive after what is sent next. */
static void cut(struct nbd_disk *d)
{
	struct linger none = { .l_onoff = 1 };

	if (d->h && !nbd_link_is_down(d))
		setsockopt(d->nbd.aio_get_fd(d->h), SOL_SOCKET, SO_LINGER,
			   &none, sizeof(none));
}

static void drop(struct nbd_disk *d)
{
	loop_timer_cancel(&d->timer);
	loop_del(d->loop, &d->fd);
	if (d->h)
		d->nbd.close(d->h);
	d->h = NULL;
}

void nbd_link_close(struct nbd_disk *d, bool polite)
{
	loop_timer_cancel(&d->give_up);
	if (polite && d->h && !d->nbd.aio_disconnect(d->h, 0))
		poll_until(d, d->nbd.aio_is_closed, now_ns() + GOODBYE_NS);
	drop(d);
	d->state = NBD_LINK_CLOSED;
}

static void on_event(void *arg, uint32_t events)
{
	struct nbd_disk *d = arg;
	unsigned int dir = d->nbd.aio_get_direction(d->h);
	uint32_t gone = EPOLLHUP | EPOLLERR;

	if ((dir & LIBNBD_AIO_DIRECTION_READ) && (events & (EPOLLIN | gone)))
		d->nbd.aio_notify_read(d->h);
	else if ((dir & LIBNBD_AIO_DIRECTION_WRITE) &&
		 (events & (EPOLLOUT | gone)))
		d->nbd.aio_notify_write(d->h);
	nbd_link_check(d);
}

void nbd_link_watch(struct nbd_disk *d)
{
	unsigned int dir = d->nbd.aio_get_direction(d->h);
	struct error err = ERROR_INIT;
	uint32_t events = 0;

	if (dir & LIBNBD_AIO_DIRECTION_READ)
		events |= EPOLLIN;
	if (dir & LIBNBD_AIO_DIRECTION_WRITE)
		events |= EPOLLOUT;
	if (d->fd.added && d->state == NBD_LINK_READY) {
		loop_mod(d->loop, &d->fd, events);
		return;
	}
	/* while it connects, libnbd may try one socket after the other */
	loop_del(d->loop, &d->fd);
	d->fd.fd = d->nbd.aio_get_fd(d->h);
	d->fd.events = events;
	if (loop_add(d->loop, &d->fd, &err))
		log_error(d->log, "%s: %s", d->uri, err.msg);
}

static void connected(struct nbd_disk *d)
{
	struct error err = ERROR_INIT;

	if (finish(d, &err)) {
		/* not ours: somebody else's export stands there now */
		log_error(d->log, "%s", err.msg);
		nbd_link_lost(d, err.msg);
		return;
	}
	log_info(d->log, "%s: the server is back", d->uri);
	d->lost = d->given_up = false;
	loop_timer_cancel(&d->give_up);
	if (d->events.found)
		d->events.found(d->events.arg);
}

void nbd_link_check(struct nbd_disk *d)
{
	if (nbd_link_is_down(d)) {
		nbd_link_lost(d, reason(d));
		return;
	}
	if (d->state == NBD_LINK_CONNECTING && d->nbd.aio_is_ready(d->h) == 1)
		connected(d);
	if (d->state == NBD_LINK_READY)
		nbd_settle(d);
	if (d->h)
		nbd_link_watch(d);
}

void nbd_link_lost(struct nbd_disk *d, const char *why)
{
	bool told = d->lost;

	d->lost = true;
	if (!told) {
		log_warn(d->log, "%s: lost the server (%s), requests wait",
			 d->uri, why);
		if (d->events.lost)
			d->events.lost(d->events.arg, why);
		if (d->reconnect_s)
			loop_timer_set(d->loop, &d->give_up, now_ns() +
				       d->reconnect_s * NSEC_PER_SEC);
	}
	cut(d);
	drop(d);
	nbd_requeue(d);
	d->state = NBD_LINK_WAITING;
	loop_timer_set(d->loop, &d->timer,
		       now_ns() + d->backoff_ms * NSEC_PER_MSEC);
	d->backoff_ms = MIN(2 * d->backoff_ms, BACKOFF_MAX_MS);
}

static void on_timer(void *arg)
{
	struct nbd_disk *d = arg;
	struct error err = ERROR_INIT;

	if (d->state == NBD_LINK_CONNECTING) {
		nbd_link_lost(d, "no answer");
	} else if (begin(d, &err)) {
		nbd_link_lost(d, err.msg);
	} else {
		loop_timer_set(d->loop, &d->timer, now_ns() + CONNECT_NS);
		nbd_link_check(d);
	}
}

static void on_give_up(void *arg)
{
	struct nbd_disk *d = arg;

	log_warn(d->log, "%s: the server was not back in %u s", d->uri,
		 d->reconnect_s);
	d->given_up = true;
	nbd_fail_waiting(d);
}

void nbd_link_init(struct nbd_disk *d)
{
	d->state = NBD_LINK_CLOSED;
	d->backoff_ms = BACKOFF_MIN_MS;
	d->fd = (struct loop_fd){ .fd = -1, .fn = on_event, .arg = d };
	loop_timer_init(&d->timer, on_timer, d);
	loop_timer_init(&d->give_up, on_give_up, d);
}
