/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One connection to an NBD server: handshake, checks of the export, and what
 * the loop is to watch.
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
#define SEND_BYTES (1 << 20)
#define MAX_PIECE (32 * MIB)	/* what every server takes */

/* libnbd prefixes its messages with the function's name. */
const char *nbd_reason(const struct nbd_disk *d)
{
	const char *msg = d->nbd.get_error(), *colon;

	if (!msg)
		return "the server closed the connection";
	colon = strstr(msg, ": ");
	return colon ? colon + 2 : msg;
}

bool nbd_conn_is_down(const struct nbd_conn *c)
{
	const struct nbd_library *nbd = &c->disk->nbd;

	return nbd->aio_is_dead(c->h) == 1 || nbd->aio_is_closed(c->h) == 1;
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

/*
 * A unix socket holds 208 KiB by default, and a large write would be sent in
 * rounds of that, each with a wake-up (measured: 1 MiB costs half the CPU time
 * without). The kernel allows net.core.wmem_max; TCP finds its own size.
 */
static void set_buffer(int fd)
{
	int bytes = SEND_BYTES, domain = AF_UNSPEC;
	socklen_t len = sizeof(domain);

	if (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) &&
	    domain == AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static int check_size(struct nbd_conn *c, struct error *err)
{
	struct nbd_disk *d = c->disk;
	int64_t size = d->nbd.get_size(c->h);

	if (size < 0)
		return error_set(err, EIO, "%s: %s", d->uri, nbd_reason(d));
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

static int check_access(struct nbd_conn *c, struct error *err)
{
	struct nbd_disk *d = c->disk;
	int64_t least = d->nbd.get_block_size(c->h, LIBNBD_SIZE_MINIMUM);

	if (!d->blk.readonly && d->nbd.is_read_only(c->h) == 1)
		return error_set(err, EROFS,
				 "%s: the export is read-only (readonly=on takes it)",
				 d->uri);
	if (least > 512)
		return error_set(err, EINVAL,
				 "%s: the server takes blocks of %lld bytes only, disks have sectors of 512",
				 d->uri, (long long)least);
	return 0;
}

static void find_max_piece(struct nbd_conn *c)
{
	struct nbd_disk *d = c->disk;
	int64_t most = d->nbd.get_block_size(c->h, LIBNBD_SIZE_MAXIMUM);

	d->max_piece = MAX_PIECE;
	if (most > 0 && most < (int64_t)MAX_PIECE)
		d->max_piece = (uint32_t)align_down((uint64_t)most, 512);
}

bool nbd_conn_arrived(struct nbd_conn *c)
{
	return !c->ready && c->disk->nbd.aio_is_ready(c->h) == 1;
}

/* Is this export the disk that the machine has? */
int nbd_conn_check(struct nbd_conn *c, struct error *err)
{
	int ret = check_size(c, err);

	if (!ret)
		ret = check_access(c, err);
	if (ret)
		return ret;
	find_max_piece(c);
	set_keepalive(c->disk->nbd.aio_get_fd(c->h));
	set_buffer(c->disk->nbd.aio_get_fd(c->h));
	loop_timer_cancel(&c->timer);
	c->ready = true;
	return 0;
}

static int refused(const struct nbd_disk *d, struct error *err)
{
	return error_set(err, d->nbd.get_errno() ?: ECONNRESET,
			 "%s: %s (is the server running?)", d->uri,
			 nbd_reason(d));
}

int nbd_conn_begin(struct nbd_conn *c, struct error *err)
{
	struct nbd_disk *d = c->disk;

	c->h = d->nbd.create();
	/* what a server leaves out shows the guest its own memory, or zeroes */
	if (c->h)
		d->nbd.set_pread_initialize(c->h, false);
	if (c->h)
		d->nbd.add_meta_context(c->h, LIBNBD_CONTEXT_BASE_ALLOCATION);
	if (!c->h || d->nbd.aio_connect_uri(c->h, d->uri) < 0)
		return refused(d, err);
	c->used = true;
	loop_timer_set(d->loop, &c->timer, now_ns() + CONNECT_NS);
	return 0;
}

/* Let libnbd work until @cond, but not beyond @deadline. 0 or -1, as poll(). */
static int poll_until(struct nbd_conn *c, int (*cond)(struct nbd_handle *h),
		      uint64_t deadline)
{
	uint64_t now;

	while (cond(c->h) != 1 && !nbd_conn_is_down(c) &&
	       (now = now_ns()) < deadline)
		if (c->disk->nbd.poll(c->h, (int)((deadline - now) /
						  NSEC_PER_MSEC) + 1) < 0)
			return -1;
	return 0;
}

int nbd_conn_wait(struct nbd_conn *c, struct error *err)
{
	struct nbd_disk *d = c->disk;
	int ret = poll_until(c, d->nbd.aio_is_ready, now_ns() + CONNECT_NS);

	if (ret < 0 && !nbd_conn_is_down(c))
		/* libnbd 1.14 looks for another address, and loses its way */
		return error_set(err, ECONNRESET, "%s: %s", d->uri,
				 nbd_reason(d));
	if (nbd_conn_is_down(c))
		return refused(d, err);
	if (d->nbd.aio_is_ready(c->h) != 1)
		return error_set(err, ETIMEDOUT,
				 "%s: no answer in %llu s (does the server serve another client?)",
				 d->uri, CONNECT_NS / NSEC_PER_SEC);
	return nbd_conn_check(c, err);
}

void nbd_conn_cut(struct nbd_conn *c)
{
	struct linger none = { .l_onoff = 1 };

	if (c->h && !nbd_conn_is_down(c))
		setsockopt(c->disk->nbd.aio_get_fd(c->h), SOL_SOCKET,
			   SO_LINGER, &none, sizeof(none));
}

void nbd_conn_part(struct nbd_conn *c, uint64_t deadline)
{
	if (c->h && c->ready)
		poll_until(c, c->disk->nbd.aio_is_closed, deadline);
}

void nbd_conn_drop(struct nbd_conn *c)
{
	loop_timer_cancel(&c->timer);
	loop_del(c->disk->loop, &c->fd);
	if (c->h)
		c->disk->nbd.close(c->h);
	c->h = NULL;
	c->ready = c->used = false;
	c->busy = 0;
}

static void on_event(void *arg, uint32_t events)
{
	struct nbd_conn *c = arg;
	const struct nbd_library *nbd = &c->disk->nbd;
	unsigned int dir = nbd->aio_get_direction(c->h);
	uint32_t gone = EPOLLHUP | EPOLLERR;

	if ((dir & LIBNBD_AIO_DIRECTION_READ) && (events & (EPOLLIN | gone)))
		nbd->aio_notify_read(c->h);
	else if ((dir & LIBNBD_AIO_DIRECTION_WRITE) &&
		 (events & (EPOLLOUT | gone)))
		nbd->aio_notify_write(c->h);
	c->used = true;
	nbd_link_check(c->disk);
}

void nbd_conn_watch(struct nbd_conn *c)
{
	struct nbd_disk *d = c->disk;
	unsigned int dir = d->nbd.aio_get_direction(c->h);
	struct error err = ERROR_INIT;
	uint32_t events = 0;

	if (dir & LIBNBD_AIO_DIRECTION_READ)
		events |= EPOLLIN;
	if (dir & LIBNBD_AIO_DIRECTION_WRITE)
		events |= EPOLLOUT;
	if (c->fd.added && c->ready) {
		loop_mod(d->loop, &c->fd, events);
		return;
	}
	/* while it connects, libnbd may try one socket after the other */
	loop_del(d->loop, &c->fd);
	c->fd.fd = d->nbd.aio_get_fd(c->h);
	c->fd.events = events;
	if (loop_add(d->loop, &c->fd, &err))
		log_error(d->log, "%s: %s", d->uri, err.msg);
}

void nbd_conn_init(struct nbd_conn *c, struct nbd_disk *d,
		   void (*on_timer)(void *arg))
{
	c->disk = d;
	c->fd = (struct loop_fd){ .fd = -1, .fn = on_event, .arg = c };
	loop_timer_init(&c->timer, on_timer, c);
}
