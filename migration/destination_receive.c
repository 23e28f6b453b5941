/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination until all of the VM is here: everything read is hostile. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "migration/destination_private.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"
#include "vmm/state/state.h"
#include "vmm/tree.h"
#include "vmm/vm.h"

#define HELLO_NS (2 * NSEC_PER_SEC)
#define OFFER_NS (30 * NSEC_PER_SEC)
#define CHANNELS_NS (10 * NSEC_PER_SEC)
#define IDLE_NS (60 * NSEC_PER_SEC)
#define PART_NS (500 * NSEC_PER_MSEC)

void destination_part(struct channel *ch)
{
	uint64_t deadline = now_ns() + PART_NS;
	struct error ignored = ERROR_INIT;
	char drop[4096];
	struct iovec iov;

	/* closing with unread bytes would reset the connection, and the
	 * other side might never read why */
	if (ch->fd >= 0)
		channel_finish(ch);
	do
		iov = (struct iovec){ .iov_base = drop,
				      .iov_len = sizeof(drop) };
	while (ch->fd >= 0 && now_ns() < deadline &&
	       channel_readv(ch, &iov, 1, 1, deadline, &ignored) > 0);
	channel_close(ch);
}

void destination_refuse(struct channel *ch, const char *why)
{
	struct error ignored = ERROR_INIT;

	(void)!message_send(ch, WIRE_REFUSE, why, strlen(why), NULL, 0,
			    now_ns() + NSEC_PER_SEC, &ignored);
	destination_part(ch);
}

static int read_hello(struct channel *ch, struct wire_hello *hello,
		      uint64_t deadline, struct error *err)
{
	uint8_t buf[WIRE_HELLO_SIZE];
	struct wire_hello answer;
	struct message m;
	int ret = message_recv(ch, &m, deadline, err);

	if (ret == 0 && m.type != WIRE_HELLO)
		ret = error_set(err, EPROTO, "%s instead of HELLO",
				wire_type_name(m.type));
	if (ret == 0)
		ret = wire_hello_decode(m.payload, m.len, hello, err);
	message_free(&m);
	if (ret < 0)
		return ret;
	answer = *hello;
	answer.oldest = answer.newest = WIRE_VERSION;
	return message_send(ch, WIRE_HELLO, buf,
			    wire_hello_encode(buf, &answer), NULL, 0, deadline,
			    err);
}

int destination_visitor(struct migration_destination *d, struct channel *ch,
			struct wire_hello *hello, uint64_t deadline,
			struct error *err)
{
	int ret = channel_accept(&d->listener, ch, err);

	if (ret < 0)
		return ret;
	ch->cancel_fd = d->stop_fd;
	ret = read_hello(ch, hello, MIN(deadline, now_ns() + HELLO_NS), err);
	if (ret < 0) {
		log_warn(&d->cfg.log, "migration: visitor sent away: %s",
			 err->msg);
		destination_refuse(ch, err->msg);
	}
	return ret;
}

bool destination_asked(struct channel *ch, const struct wire_job *job)
{
	struct error err = ERROR_INIT;
	struct wire_job asked;
	struct message m;
	bool ours = false;

	if (message_recv(ch, &m, now_ns() + HELLO_NS, &err) == 0 &&
	    m.type == WIRE_QUERY &&
	    wire_job_decode(m.payload, m.len, &asked, &err) == 0)
		ours = wire_job_equal(&asked, job);
	message_free(&m);
	if (!ours)
		destination_refuse(ch, "no such job here");
	return ours;
}

/* A QUERY while no job is under way: only the dead are remembered. */
static void answer_query(struct migration_destination *d, struct channel *ch)
{
	struct error ignored = ERROR_INIT;

	if (now_ns() >= d->dead_until) {
		destination_refuse(ch, "no such job here");
		return;
	}
	if (!destination_asked(ch, &d->dead))
		return;
	(void)!message_send_job(ch, WIRE_DEAD, &d->dead,
				"the copy was destroyed",
				now_ns() + NSEC_PER_SEC, &ignored);
	destination_part(ch);
}

unsigned int destination_listening(void *ctx)
{
	struct migration_destination *d = ctx;

	for (;;) {
		struct error err = ERROR_INIT;
		struct wire_hello hello;
		struct channel ch;

		if (channel_wait_fd(d->listener.fd, POLLIN, d->stop_fd, 0) < 0)
			return DESTINATION_EV_STOP;
		if (destination_visitor(d, &ch, &hello, UINT64_MAX, &err) < 0)
			continue;
		if (hello.role == WIRE_ROLE_CONTROL) {
			d->control = ch;
			d->job = hello.job;
			return DESTINATION_EV_HELLO;
		}
		if (hello.role == WIRE_ROLE_QUERY)
			answer_query(d, &ch);
		else
			destination_refuse(&ch, "a bulk channel without a job");
	}
}

unsigned int destination_mourning(void *ctx)
{
	struct migration_destination *d = ctx;

	while (channel_wait_fd(d->listener.fd, POLLIN, d->stop_fd,
			       d->dead_until) == 0) {
		struct error err = ERROR_INIT;
		struct wire_hello hello;
		struct channel ch;

		if (destination_visitor(d, &ch, &hello, d->dead_until,
					&err) < 0)
			continue;
		if (hello.role == WIRE_ROLE_QUERY)
			answer_query(d, &ch);
		else
			destination_refuse(&ch, "no migration is expected here any more");
	}
	return destination_event(d, DESTINATION_EV_OVER);
}

int destination_check_offer(const struct wire_offer *offer, struct error *err)
{
	if (offer->state_version > STATE_VERSION)
		error_add(err, ENOTSUP,
			  "state version %u, this side reads up to %u",
			  offer->state_version, STATE_VERSION);
	if (offer->memory & (PAGE_BYTES - 1) || !offer->memory)
		error_add(err, EINVAL, "guest memory of %llu bytes",
			  (unsigned long long)offer->memory);
	if (offer->channels > RAM_RECV_CHANNELS)
		error_add(err, EINVAL, "%u bulk channels, limit %d",
			  offer->channels, RAM_RECV_CHANNELS);
	if (err->code)
		return -err->code;
	return tree_check(offer->tree, offer->tree_len, err);
}

static int keep_record(struct migration_destination *d)
{
	struct record_info info = { .role = RECORD_DESTINATION, .job = d->job };

	snprintf(info.vm, sizeof(info.vm), "%s", d->vm->name);
	snprintf(info.uri, sizeof(info.uri), "%s", d->listener.uri);
	return record_open(&d->record, d->cfg.record_dir, &info, &d->err);
}

static int build(struct migration_destination *d)
{
	const struct wire_offer *o = &d->offer;
	int ret = destination_check_offer(o, &d->err);

	if (ret == 0)
		ret = d->cfg.build(d->cfg.arg, o->tree, o->tree_len, &d->vm,
				   &d->err);
	if (ret < 0)
		return ret;
	if (d->vm->mem.size != o->memory)
		return error_set(&d->err, EPROTO,
				 "offer says %llu bytes of memory, its tree %llu",
				 (unsigned long long)o->memory,
				 (unsigned long long)d->vm->mem.size);
	ret = ram_recv_init(&d->ram, &d->vm->mem, o->channels, &d->err);
	d->ram_ready = ret == 0;
	return ret < 0 ? ret : keep_record(d);
}

static int recv_offer(struct migration_destination *d)
{
	struct message m;
	int ret = message_recv(&d->control, &m, now_ns() + OFFER_NS, &d->err);

	if (ret == 0 && m.type != WIRE_OFFER)
		ret = error_set(&d->err, EPROTO, "%s instead of OFFER",
				wire_type_name(m.type));
	if (ret == 0)
		ret = wire_offer_decode(m.payload, m.len, &d->offer, &d->err);
	if (ret == 0)
		ret = build(d);
	d->offer.tree = NULL;
	message_free(&m);
	return ret;
}

static int accept_bulk(struct migration_destination *d, uint64_t deadline)
{
	struct wire_hello hello;
	struct channel ch;
	int ret = destination_visitor(d, &ch, &hello, deadline, &d->err);

	if (ret < 0) {
		/* a stranger's bad manners are not this job's failure */
		error_clear(&d->err);
		return 0;
	}
	if (hello.role != WIRE_ROLE_BULK ||
	    !wire_job_equal(&hello.job, &d->job)) {
		destination_refuse(&ch, "busy with another migration");
		return 0;
	}
	ch.cancel_fd = -1;
	ret = ram_recv_add(&d->ram, hello.channel, &ch, &d->err);
	if (ret < 0)
		channel_close(&ch);
	return ret;
}

/*
 * The source says nothing on control before all channels are there: what comes
 * is its CANCEL, or the end. Without looking, a source that gave up would keep
 * this side busy until the channels' time is over.
 */
static int hear_source(struct migration_destination *d)
{
	char why[WIRE_MAX_TEXT + 1];
	struct wire_job job;
	struct message m;
	int ret = message_recv(&d->control, &m, now_ns() + HELLO_NS, &d->err);

	if (ret == 0 && m.type != WIRE_CANCEL)
		ret = error_set(&d->err, EPROTO, "unexpected %s",
				wire_type_name(m.type));
	if (ret == 0)
		ret = wire_reason_decode(m.payload, m.len, &job, why, &d->err);
	if (ret == 0)
		ret = error_set(&d->err, ECANCELED, "source: %s", why);
	message_free(&m);
	return ret;
}

/* 0 if somebody is at the door. */
static int wait_visitor(struct migration_destination *d, uint64_t deadline)
{
	for (uint64_t now = now_ns(); now < deadline; now = now_ns()) {
		struct pollfd p[] = {
			{ .fd = d->listener.fd, .events = POLLIN },
			{ .fd = d->control.fd, .events = POLLIN },
			{ .fd = d->stop_fd, .events = POLLIN },
		};

		poll(p, ARRAY_SIZE(p),
		     (int)((deadline - now) / NSEC_PER_MSEC) + 1);
		if (p[2].revents)
			return error_set(&d->err, ECANCELED,
					 "this side was told to end");
		if (p[1].revents)
			return hear_source(d);
		if (p[0].revents)
			return 0;
	}
	return error_set(&d->err, ETIMEDOUT, "the bulk channels did not come");
}

static int accept_channels(struct migration_destination *d)
{
	uint64_t deadline = now_ns() + CHANNELS_NS;
	int ret = 0;

	while (ret == 0 && !ram_recv_complete(&d->ram)) {
		ret = wait_visitor(d, deadline);
		if (ret == 0)
			ret = accept_bulk(d, deadline);
	}
	return ret;
}

unsigned int destination_negotiating(void *ctx)
{
	struct migration_destination *d = ctx;
	uint8_t buf[WIRE_ACCEPT_SIZE];
	int ret = recv_offer(d);

	if (ret == 0)
		ret = message_send(&d->control, WIRE_ACCEPT, buf,
				   wire_accept_encode(buf, d->offer.channels),
				   NULL, 0, now_ns() + HELLO_NS, &d->err);
	d->accepted = ret == 0;
	if (ret == 0)
		ret = accept_channels(d);
	if (ret < 0)
		return destination_event(d, DESTINATION_EV_FAILED);
	pthread_mutex_lock(&d->progress.lock);
	d->progress.now.memory_total = d->vm->mem.size;
	d->progress.now.memory_remaining = d->vm->mem.size;
	d->progress.now.setup_time_us =
		(now_ns() - d->progress.started) / NSEC_PER_USEC;
	pthread_mutex_unlock(&d->progress.lock);
	return DESTINATION_EV_READY;
}

static void publish(struct migration_destination *d, uint32_t round)
{
	struct migration_stats *now = &d->progress.now;

	pthread_mutex_lock(&d->progress.lock);
	now->iteration = round;
	now->normal_pages = atomic_load(&d->ram.pages);
	now->constant_pages = atomic_load(&d->ram.zeroes);
	now->normal_bytes = now->normal_pages << PAGE_SHIFT;
	now->memory_processed = (now->normal_pages + now->constant_pages)
				<< PAGE_SHIFT;
	now->memory_remaining = now->memory_total -
				MIN(now->memory_processed, now->memory_total);
	now->wire_bytes = ram_recv_bytes(&d->ram) +
			  atomic_load(&d->control.received);
	pthread_mutex_unlock(&d->progress.lock);
}

/* What the source asked for, and is answered when its fences came. */
struct wanted {
	uint32_t round;		/* 0: nothing */
	bool state;
};

/* 0, or an event. */
static unsigned int take_message(struct migration_destination *d,
				 struct wanted *w)
{
	char why[WIRE_MAX_TEXT + 1];
	struct wire_round round;
	struct wire_job job;
	struct message m;
	int ret = message_recv(&d->control, &m, now_ns() + IDLE_NS, &d->err);

	if (ret < 0)
		goto out;
	if (m.type == WIRE_CANCEL) {
		ret = wire_reason_decode(m.payload, m.len, &job, why, &d->err);
		if (ret == 0)
			error_set(&d->err, ECANCELED, "source: %s", why);
		message_free(&m);
		return ret == 0 ? DESTINATION_EV_CANCEL : DESTINATION_EV_FAILED;
	}
	if (w->round || (m.type != WIRE_ROUND && m.type != WIRE_STATE)) {
		ret = error_set(&d->err, EPROTO, "unexpected %s",
				wire_type_name(m.type));
	} else if (m.type == WIRE_ROUND) {
		ret = wire_round_decode(m.payload, m.len, &round, &d->err);
		w->round = ret ? 0 : round.round;
	} else {
		d->state = m;
		m.payload = NULL;
		d->state_came = now_ns();
		ret = wire_state_decode(d->state.payload, d->state.len,
					&d->state_head, &d->err);
		w->round = ret ? 0 : d->state_head.round;
		w->state = true;
	}
out:
	message_free(&m);
	return ret < 0 ? DESTINATION_EV_FAILED : 0;
}

static int answer_round(struct migration_destination *d, uint32_t number)
{
	struct wire_round round = { .round = number };
	uint8_t buf[WIRE_ROUND_SIZE];

	return message_send(&d->control, WIRE_ROUND, buf,
			    wire_round_encode(buf, &round), NULL, 0,
			    now_ns() + IDLE_NS, &d->err);
}

/* Wait for a message, a fence, or the end; 0, or -errno and d->err. */
static int wait_news(struct migration_destination *d)
{
	struct pollfd p[] = {
		{ .fd = d->control.fd, .events = POLLIN },
		{ .fd = d->ram.event_fd, .events = POLLIN },
		{ .fd = d->stop_fd, .events = POLLIN },
	};
	uint64_t bytes = ram_recv_bytes(&d->ram);
	int n;

	do
		n = poll(p, ARRAY_SIZE(p), (int)(IDLE_NS / NSEC_PER_MSEC));
	while (n < 0 && errno == EINTR);
	fd_event_take(d->ram.event_fd);
	if (p[2].revents)
		return error_set(&d->err, ECANCELED, "this side was told to end");
	if (n == 0 && bytes == ram_recv_bytes(&d->ram))
		return error_set(&d->err, ETIMEDOUT,
				 "nothing came from the source for %llu s",
				 (unsigned long long)(IDLE_NS / NSEC_PER_SEC));
	return p[0].revents ? 1 : 0;
}

unsigned int destination_receiving(void *ctx)
{
	struct migration_destination *d = ctx;
	struct wanted w = { 0 };
	unsigned int event = 0;
	int ret = 0;

	while (!event && ret >= 0) {
		ret = ram_recv_reached(&d->ram, w.round, w.state, &d->err);
		if (ret < 0)
			break;
		if (ret && w.state)
			return DESTINATION_EV_STATE;
		if (ret && w.round) {
			publish(d, w.round);
			ret = answer_round(d, w.round);
			w.round = 0;
			/* a sync takes milliseconds: not in the pause */
			if (ret == 0)
				ret = record_going(&d->record, &d->err);
			if (ret < 0)
				break;
		}
		ret = wait_news(d);
		if (ret > 0)
			event = take_message(d, &w);
	}
	return destination_event(d, event ? event : DESTINATION_EV_FAILED);
}
