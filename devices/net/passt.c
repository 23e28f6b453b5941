/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User-mode network through passt (https://passt.top), without root: "passt"
 * starts one, "passt:SOCKET" takes one that runs (passt --socket SOCKET).
 *
 * Frames go over a stream socket, each behind its length in 32 bits, big
 * endian (passt(1), the protocol of QEMU's socket backend). passt knows no
 * virtio-net header: it is dropped on the way out and zero on the way in.
 *
 * The guest's connections end in the passt process, so they don't survive a
 * migration; the guest's addresses do.
 *
 * Everything in the loop's thread.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "devices/net/net.h"
#include "devices/net/passt.h"
#include "vmm/base/byteorder.h"

#define LEN_BYTES 4
#define FRAME_MAX 65535
#define IN_BYTES (128 * KIB)	/* several frames a read */
#define OUT_BYTES (LEN_BYTES + FRAME_MAX)
#define SEND_IOVS 64

struct passt {
	struct net net;
	struct loop *loop;
	const struct log *log;
	struct passt_process process;
	struct loop_fd fd;
	struct loop_timer again;	/* frames wait in the buffer */
	bool want_read, want_write;
	bool gone;
	size_t in_start, in_end;	/* what was received and not taken */
	size_t out_start, out_end;	/* rest of a frame, not sent yet */
	uint8_t in[IN_BYTES];
	uint8_t out[OUT_BYTES];
};

static struct passt *to_passt(struct net *net)
{
	return container_of(net, struct passt, net);
}

static void watch(struct passt *p)
{
	bool out = p->want_write || p->out_start < p->out_end;

	loop_mod(p->loop, &p->fd,
		 (p->want_read ? EPOLLIN : 0) | (out ? EPOLLOUT : 0));
}

/* From now on the cable is unplugged. */
static void lost(struct passt *p, int code)
{
	char words[256];

	if (p->gone)
		return;
	p->gone = true;
	loop_del(p->loop, &p->fd);
	passt_last_words(&p->process, words, sizeof(words));
	log_error(p->log, "network: passt is gone (%s%s%s); the guest is off the network",
		  code ? strerror(code) : "it closed the connection",
		  words[0] ? "; it said: " : "", words);
}

/* -- to passt ----------------------------------------------------------- */

static void flush(struct passt *p)
{
	ssize_t n = send(p->fd.fd, p->out + p->out_start,
			 p->out_end - p->out_start, MSG_NOSIGNAL);

	if (n >= 0)
		p->out_start += (size_t)n;
	else if (errno != EAGAIN && errno != EINTR)
		lost(p, errno);
	if (p->out_start == p->out_end)
		p->out_start = p->out_end = 0;
}

/* The frame without the first NET_HDR_BYTES, behind its length; how many
 * iovecs, or 0 if it is no frame that can be sent. */
static int frame_iov(struct iovec *to, uint8_t length[LEN_BYTES],
		     const struct iovec *iov, int niov, size_t *total)
{
	size_t skip = NET_HDR_BYTES, bytes = 0;
	int n = 1;

	for (int i = 0; i < niov; i++) {
		size_t cut = MIN(skip, iov[i].iov_len);

		skip -= cut;
		if (cut == iov[i].iov_len)
			continue;
		if (n == SEND_IOVS)
			return 0;
		to[n].iov_base = (char *)iov[i].iov_base + cut;
		to[n].iov_len = iov[i].iov_len - cut;
		bytes += to[n++].iov_len;
	}
	if (!bytes || bytes > FRAME_MAX)
		return 0;
	put_be32(length, (uint32_t)bytes);
	to[0] = (struct iovec){ length, LEN_BYTES };
	*total = LEN_BYTES + bytes;
	return n;
}

/* A frame that went out in part must go on, or the stream loses its step. */
static void keep_rest(struct passt *p, const struct iovec *iov, int niov,
		      size_t sent)
{
	for (int i = 0; i < niov; i++) {
		size_t cut = MIN(sent, iov[i].iov_len);

		sent -= cut;
		memcpy(p->out + p->out_end, (char *)iov[i].iov_base + cut,
		       iov[i].iov_len - cut);
		p->out_end += iov[i].iov_len - cut;
	}
	watch(p);
}

static int passt_send(struct net *net, const struct iovec *iov, int niov)
{
	struct passt *p = to_passt(net);
	struct iovec to[SEND_IOVS];
	struct msghdr msg = { .msg_iov = to };
	uint8_t length[LEN_BYTES];
	size_t total;
	ssize_t n;

	if (p->gone)
		return 0;
	if (p->out_start < p->out_end)
		return -EAGAIN;
	msg.msg_iovlen = (size_t)frame_iov(to, length, iov, niov, &total);
	if (!msg.msg_iovlen)
		return -EMSGSIZE;
	n = sendmsg(p->fd.fd, &msg, MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n < 0)
		lost(p, errno);
	else if ((size_t)n < total)
		keep_rest(p, to, (int)msg.msg_iovlen, (size_t)n);
	return 0;
}

/* -- from passt --------------------------------------------------------- */

/* Length of the next frame if all of it is in the buffer, else 0. A length
 * that no frame has means that the stream is broken. */
static size_t buffered(struct passt *p)
{
	size_t have = p->in_end - p->in_start;
	uint32_t len;

	if (have < LEN_BYTES)
		return 0;
	len = get_be32(p->in + p->in_start);
	if (!len || len > FRAME_MAX) {
		lost(p, EPROTO);
		return 0;
	}
	return have - LEN_BYTES >= len ? len : 0;
}

/* True if there is more than before. */
static bool fill(struct passt *p)
{
	ssize_t n;

	memmove(p->in, p->in + p->in_start, p->in_end - p->in_start);
	p->in_end -= p->in_start;
	p->in_start = 0;
	n = recv(p->fd.fd, p->in + p->in_end, sizeof(p->in) - p->in_end, 0);
	if (n > 0)
		p->in_end += (size_t)n;
	else if (!n)
		lost(p, 0);
	else if (errno != EAGAIN && errno != EINTR)
		lost(p, errno);
	return n > 0;
}

/* Zeroes and @len bytes of @from into @iov; what they need, or -EMSGSIZE. */
static ssize_t deliver(const struct iovec *iov, int niov, const uint8_t *from,
		       size_t len)
{
	static const uint8_t header[NET_HDR_BYTES];
	size_t at = 0, total = NET_HDR_BYTES + len;

	for (int i = 0; i < niov && at < total; i++) {
		size_t room = iov[i].iov_len, n = 0;
		char *to = iov[i].iov_base;

		if (at < NET_HDR_BYTES) {
			n = MIN(room, NET_HDR_BYTES - at);
			memcpy(to, header, n);
			at += n;
		}
		room = MIN(room - n, total - at);
		if (at >= NET_HDR_BYTES)
			memcpy(to + n, from + (at - NET_HDR_BYTES), room);
		at += room;
	}
	return at == total ? (ssize_t)total : -EMSGSIZE;
}

static ssize_t passt_receive(struct net *net, const struct iovec *iov,
			     int niov)
{
	struct passt *p = to_passt(net);
	size_t len = 0;
	ssize_t ret;

	while (!p->gone && !(len = buffered(p)))
		if (p->gone || !fill(p))
			break;
	if (!len)
		return 0;
	ret = deliver(iov, niov, p->in + p->in_start + LEN_BYTES, len);
	p->in_start += LEN_BYTES + len;
	return ret;
}

static void passt_event(void *arg, uint32_t events)
{
	struct passt *p = arg;

	if ((events & EPOLLOUT) && p->out_start < p->out_end)
		flush(p);
	if (p->want_write && p->out_start == p->out_end && p->net.writable)
		p->net.writable(p->net.arg);
	if ((events & EPOLLIN) && p->want_read && p->net.readable)
		p->net.readable(p->net.arg);
	else if (events & (EPOLLHUP | EPOLLERR))
		lost(p, 0);
	if (!p->gone)
		watch(p);
}

static void passt_again(void *arg)
{
	struct passt *p = arg;

	if (p->want_read && p->net.readable)
		p->net.readable(p->net.arg);
}

static void passt_poll(struct net *net, bool read, bool write)
{
	struct passt *p = to_passt(net);

	p->want_read = read;
	p->want_write = write;
	if (p->gone)
		return;
	/* the socket doesn't tell of frames that are in the buffer already */
	if (read && buffered(p))
		loop_timer_set(p->loop, &p->again, 0);
	watch(p);
}

static void passt_close(struct net *net)
{
	struct passt *p = to_passt(net);

	loop_timer_cancel(&p->again);
	loop_del(p->loop, &p->fd);
	passt_end(&p->process);
	free(p);
}

static int passt_open(struct net **out, const char *backend,
		      struct loop *loop, const struct log *log,
		      struct error *err)
{
	const char *colon = strchr(backend, ':');
	struct passt *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return error_set(err, ENOMEM, "no memory");
	p->loop = loop;
	p->log = log;
	loop_timer_init(&p->again, passt_again, p);
	ret = colon ? passt_connect(&p->process, colon + 1, err)
		    : passt_spawn(&p->process, err);
	p->fd = (struct loop_fd){
		.fd = p->process.socket, .fn = passt_event, .arg = p
	};
	if (!ret)
		ret = loop_add(loop, &p->fd, err);
	if (ret)
		passt_close(&p->net);
	else
		*out = &p->net;
	return ret;
}

static const struct net_driver passt_driver = {
	.scheme = "passt",
	.doc = "user-mode network: passt, or passt:SOCKET of a running one",
	.open = passt_open,
	.send = passt_send,
	.receive = passt_receive,
	.poll = passt_poll,
	.close = passt_close,
};

NET_DRIVER(passt_driver);
