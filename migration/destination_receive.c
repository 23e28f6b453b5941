/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination until all of the VM is here: everything read is hostile. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "migration/channels.h"
#include "migration/compress.h"
#include "migration/destination_private.h"
#include "migration/pinger.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"
#include "vmm/state/state.h"
#include "vmm/tree.h"
#include "vmm/vm.h"

#define HELLO_NS (2 * NSEC_PER_SEC)
#define OFFER_NS (8 * NSEC_PER_SEC)
#define CHANNELS_NS (8 * NSEC_PER_SEC)
#define LOOK_NS (500 * NSEC_PER_MSEC)

/* One reason of several. */
static void check_compression(struct error *err)
{
	struct error why = ERROR_INIT;

	if (compress_check(&why) < 0)
		error_add(err, why.code, "the source wants to compress: %s",
			  why.msg);
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
	if (offer->flags & WIRE_OFFER_ZSTD)
		check_compression(err);
	if (err->code)
		return -err->code;
	return tree_check(offer->tree, offer->tree_len, err);
}

static int keep_record(struct migration_destination *d)
{
	struct record_info info = { .role = RECORD_DESTINATION, .job = d->job };

	snprintf(info.vm, sizeof(info.vm), "%s", d->vm->name);
	snprintf(info.uri, sizeof(info.uri), "%s", d->door.listener.uri);
	return record_open(&d->record, d->cfg.record_dir, &info, &d->err);
}

static int build(struct migration_destination *d)
{
	const struct vm_memory_file file = {
		.fd = d->memory_fd, .shared = true,
	};
	const struct wire_offer *o = &d->offer;
	int ret = destination_check_offer(o, &d->err);

	if (o->flags & WIRE_OFFER_POSTCOPY && d->cfg.userfault_fd < 0)
		ret = error_add(&d->err, ENOTSUP, "post-copy: this side has no userfaultfd: it takes root, or a right to /dev/userfaultfd");
	if (ret == 0)
		ret = d->cfg.build(d->cfg.arg, o->tree, o->tree_len,
				   d->memory.size ? &file : NULL, &d->vm,
				   &d->err);
	if (ret < 0)
		return ret;
	if (d->vm->mem.size != o->memory)
		return error_set(&d->err, EPROTO,
				 "offer says %llu bytes of memory, its tree %llu",
				 (unsigned long long)o->memory,
				 (unsigned long long)d->vm->mem.size);
	if (d->memory.size && d->memory.size != memory_shared_size(&d->vm->mem))
		return error_set(&d->err, EPROTO, "MEMORY says %llu bytes, the machine needs %llu",
				 (unsigned long long)d->memory.size,
				 (unsigned long long)
				 memory_shared_size(&d->vm->mem));
	d->channels = channels_grant(o->channels, o->flags & WIRE_OFFER_FEWER);
	ret = ram_recv_init(&d->ram, &d->vm->mem, d->channels, &d->err);
	d->ram_ready = ret == 0;
	d->ram.compressed = o->flags & WIRE_OFFER_ZSTD;
	d->ram.shared = d->memory.size;
	if (ret == 0 && d->wanted.n)
		ret = disk_recv_open(&d->disks, d->vm, d->ops, &d->wanted,
				     d->stop_fd, &d->err);
	return ret < 0 ? ret : keep_record(d);
}

/* What the source may say while it has to wait: CANCEL. */
static int hear_cancel(struct migration_destination *d, const struct message *m)
{
	char why[WIRE_MAX_TEXT + 1];
	struct wire_job job;
	int ret;

	if (m->type != WIRE_CANCEL)
		return error_set(&d->err, EPROTO, "unexpected %s",
				 wire_type_name(m->type));
	ret = wire_reason_decode(m->payload, m->len, &job, why, &d->err);
	return ret < 0 ? ret : error_set(&d->err, ECANCELED, "source: %s", why);
}

int destination_watched(struct migration_destination *d,
			int (*work)(struct migration_destination *d))
{
	struct error gone = ERROR_INIT;
	struct pinger pinger;
	struct message m;
	int ret, news;

	pinger_start(&pinger, &d->control, NULL, NULL);
	ret = work(d);
	news = pinger_stop(&pinger, &m, &gone);
	if (ret == 0 && news == 1)
		ret = hear_cancel(d, &m);
	else if (ret == 0 && news < 0)
		ret = error_set(&d->err, gone.code, "%s", gone.msg);
	message_free(&m);
	return ret;
}

static int take_memory(struct migration_destination *d,
		       const struct message *m)
{
	int fd;

	if (d->memory.size)
		return error_set(&d->err, EPROTO, "MEMORY came twice");
	fd = channel_take_fd(&d->control, &d->err);
	if (fd < 0)
		return fd;
	d->memory_fd = fd;
	return wire_memory_decode(m->payload, m->len, &d->memory, &d->err);
}

/* DISKS and MEMORY may stand before the offer. */
static int recv_before_offer(struct migration_destination *d, struct message *m)
{
	int ret = m->type == WIRE_MEMORY ? take_memory(d, m) :
		  wire_disks_decode(m->payload, m->len, &d->wanted, &d->err);

	message_free(m);
	return ret < 0 ? ret : message_recv(&d->control, m,
					    now_ns() + OFFER_NS, &d->err);
}

static int recv_offer(struct migration_destination *d)
{
	struct message m;
	int ret;

	d->control.idle_ns = MESSAGE_IDLE_NS;
	ret = message_recv(&d->control, &m, now_ns() + OFFER_NS, &d->err);

	if (ret == 0 && m.type == WIRE_DISKS)
		ret = recv_before_offer(d, &m);
	if (ret == 0 && m.type == WIRE_MEMORY)
		ret = recv_before_offer(d, &m);
	if (ret == 0 && m.type != WIRE_OFFER)
		ret = error_set(&d->err, EPROTO, "%s instead of OFFER",
				wire_type_name(m.type));
	if (ret == 0)
		ret = wire_offer_decode(m.payload, m.len, &d->offer, &d->err);
	if (ret == 0)
		ret = destination_watched(d, build);
	d->offer.tree = NULL;
	fd_close(&d->memory_fd);
	message_free(&m);
	return ret;
}

static bool expected(const struct migration_destination *d, unsigned int role)
{
	return role == WIRE_ROLE_BULK || role == WIRE_ROLE_DISK ||
	       (role == WIRE_ROLE_FAULT && d->fetch.mem && d->fault.fd < 0);
}

/* Each channel that comes gives the next one as much time. */
static int accept_bulk(struct migration_destination *d, uint64_t *deadline)
{
	struct wire_hello hello;
	struct channel ch;
	int ret = door_take(&d->door, &ch, &hello, &d->err);

	if (ret < 0) {
		/* a stranger's bad manners are not this job's failure */
		error_clear(&d->err);
		return 0;
	}
	if (!wire_job_equal(&hello.job, &d->job) || !expected(d, hello.role)) {
		door_refuse(&d->door, &ch, "busy with another migration");
		return 0;
	}
	ch.cancel_fd = -1;
	*deadline = now_ns() + CHANNELS_NS;
	if (hello.role == WIRE_ROLE_FAULT) {
		d->fault = ch;
		return 0;
	}
	ret = hello.role == WIRE_ROLE_DISK ?
		disk_recv_add(&d->disks, &ch, &d->err) :
		ram_recv_add(&d->ram, hello.channel, &ch, &d->err);
	if (ret < 0)
		channel_close(&ch);
	return ret;
}

/*
 * Without looking here, a source that gave up would keep this side busy until
 * the channels' time is over.
 */
static int hear_source(struct migration_destination *d)
{
	struct message m;
	int ret = message_next(&d->control, &m, now_ns() + HELLO_NS, &d->err);

	if (ret == 1)
		ret = hear_cancel(d, &m);
	message_free(&m);
	return ret;
}

/* 0 if somebody may come in. */
static int wait_visitor(struct migration_destination *d, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = d->control.fd, .events = POLLIN };
		int ret = channel_pending(&d->control) ? 0 :
			  door_wait(&d->door, &p, 1, deadline);

		if (ret == -ECANCELED)
			return error_set(&d->err, ECANCELED,
					 "this side was told to end");
		if (ret == -ETIMEDOUT)
			return error_set(&d->err, ETIMEDOUT,
					 "the bulk channels did not come");
		if (ret == 1)
			return 0;
		if (hear_source(d) < 0)
			return -d->err.code;
	}
}

/* Without a link, the fault channel is to come anew, too. */
static bool channels_complete(const struct migration_destination *d)
{
	return ram_recv_complete(&d->ram) && disk_recv_complete(&d->disks) &&
	       (!d->fetch.mem || d->fault.fd >= 0);
}

int destination_accept_channels(struct migration_destination *d)
{
	uint64_t deadline = now_ns() + CHANNELS_NS;
	int ret = 0;

	while (ret == 0 && !channels_complete(d)) {
		ret = wait_visitor(d, deadline);
		if (ret == 0)
			ret = accept_bulk(d, &deadline);
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
				   wire_accept_encode(buf, d->channels),
				   NULL, 0, now_ns() + HELLO_NS, &d->err);
	d->accepted = ret == 0;
	if (ret == 0)
		ret = destination_accept_channels(d);
	if (ret < 0)
		return destination_event(d, DESTINATION_EV_FAILED);
	pthread_mutex_lock(&d->progress.lock);
	d->progress.now.memory_total = d->vm->mem.size;
	d->progress.now.memory_remaining = d->vm->mem.size;
	d->progress.now.channels = d->channels;
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
			  disk_recv_bytes(&d->disks) +
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
	int ret = message_next(&d->control, &m, now_ns() + MESSAGE_IDLE_NS,
			       &d->err);

	if (ret <= 0)
		goto out;
	if (m.type == WIRE_CANCEL) {
		ret = wire_reason_decode(m.payload, m.len, &job, why, &d->err);
		if (ret == 0)
			error_set(&d->err, ECANCELED, "source: %s", why);
		message_free(&m);
		return ret == 0 ? DESTINATION_EV_CANCEL : DESTINATION_EV_FAILED;
	}
	if (m.type == WIRE_MISSING && !w->round) {
		ret = destination_mark_missing(d, &m);
		goto out;
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

/* In the pause it says nothing, for as long as that may be. */
static uint64_t silence_ns(const struct migration_destination *d)
{
	return MESSAGE_IDLE_NS + d->offer.max_pause_ms * NSEC_PER_MSEC;
}

static int answer_round(struct migration_destination *d, uint32_t number)
{
	struct wire_round round = { .round = number };
	uint8_t buf[WIRE_ROUND_SIZE];

	return message_send(&d->control, WIRE_ROUND, buf,
			    wire_round_encode(buf, &round), NULL, 0,
			    now_ns() + MESSAGE_IDLE_NS, &d->err);
}

int destination_wait_news(struct migration_destination *d,
			  struct destination_heard *heard)
{
	struct pollfd p[] = {
		{ .fd = d->control.fd, .events = POLLIN },
		{ .fd = d->ram.event_fd, .events = POLLIN },
		{ .fd = d->disks.event_fd, .events = POLLIN },
		{ .fd = d->stop_fd, .events = POLLIN },
		{ .fd = d->fetch.event_fd, .events = POLLIN },
	};
	bool pending = channel_pending(&d->control);
	int n = poll(p, ARRAY_SIZE(p), pending ? 0 : LOOK_NS / NSEC_PER_MSEC);
	uint64_t bytes = ram_recv_bytes(&d->ram) + disk_recv_bytes(&d->disks);

	if (n > 0)
		fd_event_take(d->ram.event_fd);
	if (n > 0)
		fd_event_take(d->disks.event_fd);
	if (n > 0 && d->fetch.mem)
		fd_event_take(d->fetch.event_fd);
	if (n > 0 && p[3].revents)
		return error_set(&d->err, ECANCELED, "this side was told to end");
	if (n || bytes != heard->bytes)
		*heard = (struct destination_heard){ now_ns(), bytes };
	if (now_ns() - heard->at >= silence_ns(d))
		return error_set(&d->err, ETIMEDOUT,
				 "no sign of life from the source for %llu ms",
				 (unsigned long long)
				 (silence_ns(d) / NSEC_PER_MSEC));
	return pending || (n > 0 && p[0].revents) ? 1 : 0;
}

unsigned int destination_receiving(void *ctx)
{
	struct migration_destination *d = ctx;
	struct destination_heard heard = { .at = now_ns() };
	struct wanted w = { 0 };
	unsigned int event = 0;
	int ret = 0;

	destination_keep_door(d);
	while (!event && ret >= 0) {
		int flushed = disk_recv_reached(&d->disks, &d->err);

		ret = flushed;
		if (ret >= 0)
			ret = ram_recv_reached(&d->ram, w.round, w.state,
					       &d->err);
		if (ret < 0)
			break;
		if (ret && w.state && flushed)
			return DESTINATION_EV_STATE;
		if (ret && w.round && !w.state) {
			publish(d, w.round);
			ret = answer_round(d, w.round);
			w.round = 0;
			/* a sync takes milliseconds: not in the pause */
			if (ret == 0)
				ret = record_going(&d->record, &d->err);
			if (ret < 0)
				break;
			d->ops->rehearse(d->vm);
		}
		ret = destination_wait_news(d, &heard);
		if (ret > 0)
			event = take_message(d, &w);
	}
	return destination_event(d, event ? event : DESTINATION_EV_FAILED);
}
