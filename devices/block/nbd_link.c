/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The link to an NBD server: one connection, and more behind it where the
 * server offers that. When one that took requests ends, all of it counts as
 * lost: nothing of ours is left at the server when requests are replayed, and
 * another attempt is made after 100 ms, 200 ms, ... 5 s.
 *
 * More connections than one are a help, not a need: a server that refuses them,
 * or lets them wait, is used as it is.
 */
#include <errno.h>
#include <poll.h>

#include "devices/block/nbd.h"

#define TURNED_AWAY_NS (NSEC_PER_SEC / 2)
#define TRY_MS 2
#define FULL_BYTES MIB
#define GOODBYE_NS NSEC_PER_SEC
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000

#define for_each_conn(c, d) \
	for (c = (d)->conn; c < (d)->conn + NBD_MAX_CONNS; c++)

static struct nbd_conn *first(struct nbd_disk *d)
{
	return &d->conn[0];
}

bool nbd_link_is_down(const struct nbd_disk *d)
{
	const struct nbd_conn *c;

	for_each_conn(c, d)
		if (c->ready && c->used && nbd_conn_is_down(c))
			return true;
	return false;
}

/* The first that is not full, else the least full: many small requests travel
 * better together (measured: half the time of the CPU). */
struct nbd_conn *nbd_link_next(struct nbd_disk *d)
{
	struct nbd_conn *c, *best = first(d);

	for_each_conn(c, d) {
		if (best->busy < FULL_BYTES)
			break;
		if (c->ready && c->busy < best->busy)
			best = c;
	}
	best->used = true;
	return best;
}

/* -- more connections */

static void open_more(struct nbd_disk *d)
{
	struct error ignored = ERROR_INIT;
	struct nbd_conn *c;

	if (d->nbd.can_multi_conn(first(d)->h) != 1)
		return;
	for_each_conn(c, d)
		if (c != first(d) && nbd_conn_begin(c, &ignored))
			nbd_conn_drop(c);
}

static void look_at_more(struct nbd_disk *d)
{
	struct error err = ERROR_INIT;
	struct nbd_conn *c;

	for_each_conn(c, d) {
		if (!c->h || c->ready)
			continue;
		if (nbd_conn_is_down(c) ||
		    (nbd_conn_arrived(c) && nbd_conn_check(c, &err))) {
			log_info(d->log, "%s: the server takes no connection more",
				 d->uri);
			nbd_conn_drop(c);
		}
	}
}

/* -- the first one */

static void ready(struct nbd_disk *d)
{
	d->state = NBD_LINK_READY;
	d->backoff_ms = BACKOFF_MIN_MS;
	open_more(d);
}

static int try_first(struct nbd_disk *d, struct error *err)
{
	int ret;

	nbd_conn_drop(first(d));
	ret = nbd_conn_begin(first(d), err);
	return ret ? ret : nbd_conn_wait(first(d), err);
}

/* A server for one client turns us away until it has noticed that the last one,
 * the side where the VM ran, has left. */
int nbd_link_open(struct nbd_disk *d, struct error *err)
{
	uint64_t end = now_ns() + TURNED_AWAY_NS;
	int ret;

	while ((ret = try_first(d, err)) == -ECONNRESET && now_ns() < end)
		poll(NULL, 0, TRY_MS);
	if (ret) {
		nbd_link_close(d, false);
		return ret;
	}
	ready(d);
	nbd_link_watch(d);
	return 0;
}

static void say_goodbye(struct nbd_disk *d)
{
	uint64_t deadline = now_ns() + GOODBYE_NS;
	struct nbd_conn *c;

	for_each_conn(c, d)
		if (c->ready)
			(void)!d->nbd.aio_disconnect(c->h, 0);
	for_each_conn(c, d)
		nbd_conn_part(c, deadline);
}

void nbd_link_close(struct nbd_disk *d, bool polite)
{
	struct nbd_conn *c;

	loop_timer_cancel(&d->give_up);
	if (polite)
		say_goodbye(d);
	for_each_conn(c, d)
		nbd_conn_drop(c);
	d->state = NBD_LINK_CLOSED;
}

void nbd_link_watch(struct nbd_disk *d)
{
	struct nbd_conn *c;

	for_each_conn(c, d) {
		if (!c->h || !c->used)
			continue;
		c->used = nbd_conn_is_down(c);
		if (c->used)
			loop_del(d->loop, &c->fd);	/* libnbd closed it */
		else
			nbd_conn_watch(c);
	}
}

static void connected(struct nbd_disk *d)
{
	struct error err = ERROR_INIT;

	if (nbd_conn_check(first(d), &err)) {
		/* not ours: somebody else's export stands there now */
		log_error(d->log, "%s", err.msg);
		nbd_link_lost(d, err.msg);
		return;
	}
	log_info(d->log, "%s: the server is back", d->uri);
	ready(d);
	d->lost = d->given_up = false;
	loop_timer_cancel(&d->give_up);
	if (d->events.found)
		d->events.found(d->events.arg);
}

void nbd_link_check(struct nbd_disk *d)
{
	if (nbd_link_is_down(d) || (d->state == NBD_LINK_CONNECTING &&
				    nbd_conn_is_down(first(d)))) {
		nbd_link_lost(d, nbd_reason(d));
		return;
	}
	if (d->state == NBD_LINK_CONNECTING && nbd_conn_arrived(first(d)))
		connected(d);
	if (d->state == NBD_LINK_READY) {
		look_at_more(d);
		nbd_settle(d);
	}
	nbd_link_watch(d);
}

/* -- lost */

static void tell_lost(struct nbd_disk *d, const char *why)
{
	d->lost = true;
	log_warn(d->log, "%s: lost the server (%s), requests wait", d->uri,
		 why);
	if (d->events.lost)
		d->events.lost(d->events.arg, why);
	if (d->reconnect_s)
		loop_timer_set(d->loop, &d->give_up,
			       now_ns() + d->reconnect_s * NSEC_PER_SEC);
}

void nbd_link_lost(struct nbd_disk *d, const char *why)
{
	struct nbd_conn *c;

	if (!d->lost)
		tell_lost(d, why);
	for_each_conn(c, d) {
		nbd_conn_cut(c);
		nbd_conn_drop(c);
	}
	nbd_requeue(d);
	d->state = NBD_LINK_WAITING;
	loop_timer_set(d->loop, &first(d)->timer,
		       now_ns() + d->backoff_ms * NSEC_PER_MSEC);
	d->backoff_ms = MIN(2 * d->backoff_ms, BACKOFF_MAX_MS);
}

static void on_timer(void *arg)
{
	struct nbd_conn *c = arg;
	struct nbd_disk *d = c->disk;
	struct error err = ERROR_INIT;

	if (c != first(d)) {
		nbd_conn_drop(c);	/* it waits for others to leave */
	} else if (d->state == NBD_LINK_CONNECTING) {
		nbd_link_lost(d, "no answer");
	} else if (nbd_conn_begin(c, &err)) {
		nbd_link_lost(d, err.msg);
	} else {
		d->state = NBD_LINK_CONNECTING;
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
	struct nbd_conn *c;

	d->state = NBD_LINK_CLOSED;
	d->backoff_ms = BACKOFF_MIN_MS;
	for_each_conn(c, d)
		nbd_conn_init(c, d, on_timer);
	loop_timer_init(&d->give_up, on_give_up, d);
}
