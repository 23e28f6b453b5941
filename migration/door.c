/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/door.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/allow.h"
#include "migration/message.h"
#include "migration/tls.h"
#include "vmm/base/util.h"

#define HELLO_NS (2 * NSEC_PER_SEC)
#define TLS_NS (5 * NSEC_PER_SEC)	/* handshake and HELLO */
#define PART_NS (500 * NSEC_PER_MSEC)
#define LINES 5				/* of log, a second */

enum visitor_state {
	VISITOR_SHAKES = 1,	/* TLS handshake */
	VISITOR_SPEAKS,		/* HELLO comes */
	VISITOR_READY,		/* may be taken */
	VISITOR_LEAVES,		/* was told the last; reads it, we hope */
};

struct door_visitor {
	enum visitor_state state;
	struct channel ch;
	short events;
	uint64_t came, deadline;
	size_t have;			/* bytes of HELLO */
	uint8_t buf[WIRE_HEADER + WIRE_HELLO_SIZE];
	struct wire_hello hello;
};

/* Strangers must not be able to fill the disk with log lines. */
static void tell(struct door *d, const char *who, const char *why)
{
	uint64_t now = now_ns();

	if (now - d->told_since >= NSEC_PER_SEC) {
		if (d->untold)
			log_warn(d->log, "migration: %u more visitors sent away",
				 d->untold);
		d->told_since = now;
		d->told = d->untold = 0;
	}
	if (d->told++ < LINES)
		log_warn(d->log, "migration: visitor from %s sent away: %s",
			 who, why);
	else
		d->untold++;
}

static void dismiss(struct door_visitor **slot)
{
	channel_close(&(*slot)->ch);
	free(*slot);
	*slot = NULL;
}

/* From now on what it says is not heard: only its going is waited for. */
static void leave(struct door_visitor *v)
{
	channel_finish(&v->ch);
	v->state = VISITOR_LEAVES;
	v->events = POLLIN;
	v->deadline = now_ns() + PART_NS;
}

static void send_refuse(struct channel *ch, const char *why)
{
	struct error ignored = ERROR_INIT;

	/* the first words on a connection: the socket takes them at once */
	(void)!message_send(ch, WIRE_REFUSE, why, strlen(why), NULL, 0,
			    now_ns() + NSEC_PER_MSEC, &ignored);
}

/* -- steps of a visitor ------------------------------------------------------ */

/* One that has shown a right certificate deserves to be told why. */
static void send_away(struct door *d, struct door_visitor *v, const char *why)
{
	tell(d, v->ch.peer, why);
	if (v->state != VISITOR_SHAKES)
		send_refuse(&v->ch, why);
	leave(v);
}

static void shaken(struct door *d, struct door_visitor *v)
{
	const struct tls_peer *peer = tls_peer(&v->ch);
	char why[TLS_NAME_MAX + 64];

	v->state = VISITOR_SPEAKS;
	v->events = POLLIN;
	if (allow_peer(d->security.allow, peer)) {
		log_info(d->log, "migration: %s from %s%s", peer->id, v->ch.peer,
			 tls_in_kernel(&v->ch) ? ", TLS by the kernel" : "");
		return;
	}
	snprintf(why, sizeof(why), "'%s' is not allowed in (--allow)", peer->id);
	send_away(d, v, why);
}

static void shake(struct door *d, struct door_visitor *v)
{
	struct error err = ERROR_INIT;
	int ret = tls_handshake_step(&v->ch, &v->events, &err);

	if (ret == 0)
		shaken(d, v);
	else if (ret != -EAGAIN)
		send_away(d, v, err.msg);
}

/* The whole HELLO, as message_recv() and its decoder judge it. */
static int read_hello(struct door_visitor *v, struct error *err)
{
	struct wire_header h;
	int ret = wire_header_decode(v->buf, &h, err);

	if (ret == 0 && h.type != WIRE_HELLO)
		return error_set(err, EPROTO, "%s instead of HELLO",
				 wire_type_name(h.type));
	if (ret == 0 && h.length != WIRE_HELLO_SIZE)
		return error_set(err, EPROTO, "HELLO of %llu bytes",
				 (unsigned long long)h.length);
	if (ret < 0 || v->have < sizeof(v->buf))
		return ret < 0 ? ret : -EAGAIN;
	ret = wire_crc_check(v->buf, v->buf + WIRE_HEADER, WIRE_HELLO_SIZE,
			     err);
	return ret < 0 ? ret : wire_hello_decode(v->buf + WIRE_HEADER,
						 WIRE_HELLO_SIZE, &v->hello,
						 err);
}

static void listen_to(struct door *d, struct door_visitor *v)
{
	size_t want = v->have < WIRE_HEADER ? WIRE_HEADER : sizeof(v->buf);
	struct iovec iov = {
		.iov_base = v->buf + v->have, .iov_len = want - v->have,
	};
	struct error err = ERROR_INIT;
	ssize_t n = v->ch.ops->readv(&v->ch, &iov, 1);
	int ret;

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) {
		send_away(d, v, n ? strerror((int)-n) : "it left");
		return;
	}
	v->have += (size_t)n;
	if (v->have < WIRE_HEADER)
		return;
	ret = read_hello(v, &err);
	if (ret == 0)
		v->state = VISITOR_READY;
	else if (ret != -EAGAIN)
		send_away(d, v, err.msg);
}

/* To close with unread bytes would reset the connection, and the last word
 * might never be read. Raw bytes: TLS is over. */
static void drain(struct door_visitor **slot)
{
	char drop[4096];
	ssize_t n = recv((*slot)->ch.fd, drop, sizeof(drop), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		dismiss(slot);
}

static void step(struct door *d, struct door_visitor **slot)
{
	if ((*slot)->state == VISITOR_SHAKES)
		shake(d, *slot);
	else if ((*slot)->state == VISITOR_LEAVES)
		return drain(slot);
	/* what came along with the handshake is in no socket any more */
	do {
		if ((*slot)->state == VISITOR_SPEAKS)
			listen_to(d, *slot);
	} while ((*slot)->state == VISITOR_SPEAKS &&
		 channel_pending(&(*slot)->ch));
}

/* -- who stands there -------------------------------------------------------- */

static void expire(struct door *d, uint64_t now)
{
	for (unsigned int i = 0; i < DOOR_MAX; i++) {
		struct door_visitor *v = d->visitor[i];

		if (!v || v->state == VISITOR_READY || now < v->deadline)
			continue;
		if (v->state != VISITOR_LEAVES)
			tell(d, v->ch.peer, "it did not say HELLO in time");
		dismiss(&d->visitor[i]);
	}
}

/* Whom may we send away for another one: who leaves, then who came first. */
static bool before(const struct door_visitor *a, const struct door_visitor *b)
{
	bool leaves = a->state == VISITOR_LEAVES;

	if (leaves != (b->state == VISITOR_LEAVES))
		return leaves;
	return a->came < b->came;
}

/* A free place; NULL if all are taken by visitors who said HELLO. */
static struct door_visitor **make_room(struct door *d)
{
	struct door_visitor **worst = NULL;

	for (unsigned int i = 0; i < DOOR_MAX; i++) {
		struct door_visitor **slot = &d->visitor[i];

		if (!*slot)
			return slot;
		if ((*slot)->state != VISITOR_READY &&
		    (!worst || before(*slot, *worst)))
			worst = slot;
	}
	if (worst) {
		if ((*worst)->state != VISITOR_LEAVES)
			tell(d, (*worst)->ch.peer,
			     "too many at once, and it came first");
		dismiss(worst);
	}
	return worst;
}

static int greet(struct door *d, struct door_visitor *v, struct error *err)
{
	struct sockaddr_storage addr = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(addr);

	if (getpeername(v->ch.fd, (struct sockaddr *)&addr, &len) < 0 ||
	    !allow_address(d->security.allow, (struct sockaddr *)&addr))
		return error_set(err, EACCES,
				 "its address is not allowed in (--allow)");
	v->ch.cancel_fd = d->stop_fd;
	v->came = now_ns();
	v->events = POLLIN;
	v->state = d->security.tls ? VISITOR_SHAKES : VISITOR_SPEAKS;
	v->deadline = v->came + (d->security.tls ? TLS_NS : HELLO_NS);
	return d->security.tls ? tls_start(&v->ch, d->security.tls, TLS_SERVER,
					   NULL, err) : 0;
}

static void admit(struct door *d)
{
	struct door_visitor *v = calloc(1, sizeof(*v));
	struct error err = ERROR_INIT;
	struct door_visitor **slot;
	struct channel ch;

	if (channel_accept(&d->listener, &ch, &err) == 0 && v) {
		v->ch = ch;
		slot = make_room(d);
		if (slot && greet(d, v, &err) == 0) {
			*slot = v;
			return;
		}
		tell(d, ch.peer, slot ? err.msg : "too many at once");
		channel_close(&v->ch);
	} else {
		channel_close(&ch);
	}
	free(v);
}

static struct door_visitor **ready(struct door *d)
{
	for (unsigned int i = 0; i < DOOR_MAX; i++)
		if (d->visitor[i] && d->visitor[i]->state == VISITOR_READY)
			return &d->visitor[i];
	return NULL;
}

/* -- waiting ----------------------------------------------------------------- */

#define P_STOP 0
#define P_LISTEN 1
#define P_EXTRA 2
#define P_VISITOR (P_EXTRA + DOOR_EXTRA)
#define P_ALL (P_VISITOR + DOOR_MAX)

static void fill(const struct door *d, struct pollfd p[P_ALL],
		 uint64_t *deadline)
{
	p[P_STOP] = (struct pollfd){ .fd = d->stop_fd, .events = POLLIN };
	p[P_LISTEN] = (struct pollfd){ .fd = d->listener.fd,
				       .events = POLLIN };
	for (unsigned int i = 0; i < DOOR_MAX; i++) {
		const struct door_visitor *v = d->visitor[i];

		p[P_VISITOR + i] = (struct pollfd){
			.fd = v ? v->ch.fd : -1,
			.events = v ? v->events : 0,
		};
		if (v && v->deadline < *deadline)
			*deadline = v->deadline;
	}
}

static int timeout_ms(uint64_t deadline)
{
	uint64_t now = now_ns();

	if (deadline == UINT64_MAX)
		return -1;
	return now >= deadline ? 0 :
	       (int)MIN((deadline - now) / NSEC_PER_MSEC + 1, 1000000000ull);
}

/* One look; true if @extra has something. */
static bool look(struct door *d, struct pollfd *extra, unsigned int n,
		 uint64_t deadline, bool *stop)
{
	struct pollfd p[P_ALL];
	bool some = false;

	for (unsigned int i = 0; i < DOOR_EXTRA; i++)
		p[P_EXTRA + i] = i < n ? extra[i] :
				 (struct pollfd){ .fd = -1 };
	fill(d, p, &deadline);
	if (poll(p, P_ALL, timeout_ms(deadline)) <= 0)
		return false;
	*stop = p[P_STOP].revents;
	for (unsigned int i = 0; i < n; i++) {
		extra[i].revents = p[P_EXTRA + i].revents;
		some |= extra[i].revents != 0;
	}
	for (unsigned int i = 0; i < DOOR_MAX; i++)
		if (p[P_VISITOR + i].revents)
			step(d, &d->visitor[i]);
	if (p[P_LISTEN].revents)
		admit(d);
	return some;
}

int door_wait(struct door *d, struct pollfd *extra, unsigned int n,
	      uint64_t deadline)
{
	bool stop = false, some;

	for (unsigned int i = 0; i < n; i++)
		extra[i].revents = 0;
	for (;;) {
		if (ready(d))
			return 1;
		some = look(d, extra, n, deadline, &stop);
		if (stop)
			return -ECANCELED;
		if (some)
			return 0;
		expire(d, now_ns());
		if (!ready(d) && now_ns() >= deadline)
			return -ETIMEDOUT;
	}
}

int door_take(struct door *d, struct channel *ch, struct wire_hello *hello,
	      struct error *err)
{
	struct door_visitor **slot = ready(d);
	uint8_t buf[WIRE_HELLO_SIZE];
	struct wire_hello answer;
	int ret;

	*ch = (*slot)->ch;
	*hello = answer = (*slot)->hello;
	free(*slot);
	*slot = NULL;
	answer.oldest = answer.newest = WIRE_VERSION;
	ret = message_send(ch, WIRE_HELLO, buf, wire_hello_encode(buf, &answer),
			   NULL, 0, now_ns() + HELLO_NS, err);
	if (ret < 0) {
		tell(d, ch->peer, err->msg);
		channel_close(ch);
	}
	return ret;
}

void door_refuse(struct door *d, struct channel *ch, const char *why)
{
	struct door_visitor **slot = make_room(d);
	struct door_visitor *v = slot ? calloc(1, sizeof(*v)) : NULL;

	send_refuse(ch, why);
	if (!v) {
		channel_close(ch);
		return;
	}
	*slot = v;
	v->ch = *ch;
	v->came = now_ns();
	channel_init(ch);
	leave(v);
}

/* A pattern that can't match would keep everybody out, or nobody. */
static int check_allow(const struct door *d, struct error *err)
{
	const struct allow *a = d->security.allow;

	if (!d->security.tls &&
	    (allow_has(a, ALLOW_CERTIFICATE) || allow_has(a, ALLOW_KEY)))
		return error_set(err, EINVAL,
				 "--allow cert: and psk: need --tls: without it nobody proves a name");
	if (!d->listener.transport->exposed && allow_has(a, ALLOW_NETWORK))
		return error_set(err, EINVAL,
				 "--allow: who comes to %s has no address",
				 d->listener.uri);
	return 0;
}

int door_open(struct door *d, const char *uri,
	      const struct channel_security *security, const struct log *log,
	      int stop_fd, struct error *err)
{
	int ret;

	memset(d, 0, sizeof(*d));
	d->log = log;
	d->stop_fd = stop_fd;
	d->security = *security;
	ret = channel_listen(&d->listener, uri, security, err);
	if (ret == 0)
		ret = check_allow(d, err);
	if (ret < 0)
		listener_close(&d->listener);
	return ret;
}

void door_close(struct door *d)
{
	for (unsigned int i = 0; i < DOOR_MAX; i++)
		if (d->visitor[i])
			dismiss(&d->visitor[i]);
	listener_close(&d->listener);
}
