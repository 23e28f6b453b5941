/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination in post-copy: the VM runs here, and its memory follows. Until
 * all of it is here the source is needed; a link that is lost makes both wait.
 */
#include <errno.h>
#include <string.h>

#include "migration/destination_private.h"
#include "migration/missing.h"
#include "vmm/base/util.h"
#include "vmm/vm.h"

#define SEND_NS (2 * NSEC_PER_SEC)
#define TELL_NS (8 * NSEC_PER_SEC)

/* -- before it runs ------------------------------------------------------- */

/* The fault channel came before the first word about pages. */
static int begin(struct migration_destination *d)
{
	int ret;

	destination_leave_door(d);
	destination_keep_door(d);
	if (d->fault.fd < 0)
		return error_set(&d->err, EPROTO, "MISSING without a fault channel");
	if (d->cfg.userfault_fd < 0)
		return error_set(&d->err, ENOTSUP, "post-copy: this side has no userfaultfd");
	ret = ram_fetch_init(&d->fetch, &d->vm->mem, d->cfg.userfault_fd,
			     &d->err);
	if (ret < 0)
		return ret;
	ram_recv_resume(&d->ram, &d->fetch, 0);
	return ram_fetch_start(&d->fetch, &d->fault, &d->err);
}

int destination_mark_missing(struct migration_destination *d,
			     const struct message *m)
{
	struct wire_missing missing;
	int ret = wire_missing_decode(m->payload, m->len, &missing, &d->err);

	if (ret == 0 && !d->fetch.mem)
		ret = begin(d);
	return ret < 0 ? ret : ram_fetch_mark(&d->fetch, &missing, &d->err);
}

/* -- it runs -------------------------------------------------------------- */

static void set_link(struct migration_destination *d, enum migration_link link)
{
	struct migration_postcopy *p = &d->progress.now.postcopy;
	struct wire_fetched told;

	ram_fetch_told(&d->fetch, &told);
	pthread_mutex_lock(&d->progress.lock);
	d->progress.now.type = "post-copy";
	d->progress.now.memory_remaining = ram_fetch_missing(&d->fetch);
	p->link = link;
	p->waits = told;
	if (link == MIGRATION_LINK_LOST)
		p->lost = d->err;
	pthread_mutex_unlock(&d->progress.lock);
}

static int send_fetched(struct migration_destination *d)
{
	struct wire_fetched told;
	uint8_t buf[WIRE_FETCHED_SIZE];

	ram_fetch_told(&d->fetch, &told);
	told.job = d->job;
	return message_send(&d->control, WIRE_FETCHED, buf,
			    wire_fetched_encode(buf, &told), NULL, 0,
			    now_ns() + SEND_NS, &d->err);
}

void destination_memory_is_here(struct migration_destination *d)
{
	if (!d->fetch.mem)
		return;
	set_link(d, MIGRATION_LINK_UP);
	/* the receivers know what is missing: they go first */
	if (d->ram_ready)
		ram_recv_exit(&d->ram);
	d->ram_ready = false;
	ram_fetch_finish(&d->fetch);
}

/* 0, or an event; *round is what the source wants answered. */
static unsigned int take_word(struct migration_destination *d, uint32_t *round)
{
	struct wire_round m_round;
	struct message m;
	int ret = message_next(&d->control, &m, now_ns() + MESSAGE_IDLE_NS,
			       &d->err);

	if (ret == 1 && m.type == WIRE_ROUND) {
		ret = wire_round_decode(m.payload, m.len, &m_round, &d->err);
		*round = ret ? 0 : m_round.round;
	} else if (ret == 1) {
		ret = error_set(&d->err, EPROTO, "unexpected %s",
				wire_type_name(m.type));
	}
	message_free(&m);
	return ret < 0 ? DESTINATION_EV_LOST : 0;
}

/* Has all come that the source wants an answer for? 1, 0 or -errno. */
static int all_here(struct migration_destination *d, uint32_t round)
{
	int ret = ram_recv_reached(&d->ram, round, round != 0, &d->err);

	if (ret >= 0 && ram_fetch_check(&d->fetch, &d->err) < 0)
		ret = -EIO;
	return ret == 1 && round && !ram_fetch_missing(&d->fetch) ? 1 :
	       MIN(ret, 0);
}

unsigned int destination_fetching(void *ctx)
{
	struct migration_destination *d = ctx;
	struct destination_heard heard = { .at = now_ns() };
	unsigned int event = 0;
	uint32_t round = 0;
	int ret = 0;

	error_clear(&d->err);
	while (!event && ret >= 0) {
		set_link(d, MIGRATION_LINK_UP);
		ret = all_here(d, round);
		if (ret == 1) {
			/* if it gets lost, the source asks */
			(void)!send_fetched(d);
			destination_memory_is_here(d);
			return DESTINATION_EV_FETCHED;
		}
		if (ret == 0)
			ret = destination_wait_news(d, &heard);
		if (ret > 0)
			event = take_word(d, &round);
	}
	return destination_event(d, DESTINATION_EV_LOST);
}

/* -- the link was lost ---------------------------------------------------- */

static bool look(void *arg, unsigned int r, uint64_t first, uint64_t n,
		 uint8_t *bits)
{
	struct migration_destination *d = arg;

	return ram_fetch_look(&d->fetch, r, first, (uint32_t)n, bits);
}

/* What is still to come, and whether there is anything. */
static int tell_missing(struct migration_destination *d)
{
	struct wire_round round = {
		.round = d->state_head.round,
		.remaining = ram_fetch_missing(&d->fetch),
	};
	uint8_t buf[WIRE_ROUND_SIZE];
	int ret = destination_send_running(d, &d->control);

	if (ret == 0)
		ret = missing_tell(&d->control, &d->vm->mem, look, d, 0,
				   &d->err);
	return ret < 0 ? ret :
	       message_send(&d->control, WIRE_ROUND, buf,
			    wire_round_encode(buf, &round), NULL, 0,
			    now_ns() + TELL_NS, &d->err);
}

static void cut_all(struct migration_destination *d)
{
	channel_close(&d->control);
	channel_close(&d->fault);
	if (d->ram_ready)
		ram_recv_exit(&d->ram);
	d->ram_ready = false;
	ram_fetch_cut(&d->fetch);
}

/* The source is back, on @d->control; new channels for pages. */
static int resume(struct migration_destination *d)
{
	int ret;

	d->control.idle_ns = MESSAGE_IDLE_NS;
	error_clear(&d->err);
	ret = ram_recv_init(&d->ram, &d->vm->mem, d->channels, &d->err);
	d->ram_ready = ret == 0;
	if (ret == 0) {
		ram_recv_resume(&d->ram, &d->fetch, d->state_head.round);
		ret = tell_missing(d);
	}
	if (ret == 0)
		ret = destination_accept_channels(d);
	if (ret == 0)
		ret = ram_fetch_start(&d->fetch, &d->fault, &d->err);
	return ret;
}

/* A visitor while both sides wait; true: the source is back. */
static bool receive(struct migration_destination *d)
{
	struct error err = ERROR_INIT;
	struct wire_hello hello;
	struct channel ch;

	if (door_take(&d->door, &ch, &hello, &err) < 0)
		return false;
	if (hello.role == WIRE_ROLE_QUERY &&
	    destination_asked(d, &ch, &d->job)) {
		(void)!destination_send_running(d, &ch);
		destination_part(&ch);
		return false;
	}
	if (hello.role == WIRE_ROLE_QUERY)
		return false;
	if (hello.role == WIRE_ROLE_RECOVER &&
	    wire_job_equal(&hello.job, &d->job)) {
		d->control = ch;
		return true;
	}
	door_refuse(&d->door, &ch, "busy with another migration");
	return false;
}

/* Its vCPUs need not rest any more. */
static unsigned int let_go(struct migration_destination *d, unsigned int event)
{
	d->ops->hold(d->vm, false);
	return event;
}

/* It may be that the last page came, and the source's last word did not. */
unsigned int destination_severed(void *ctx)
{
	struct migration_destination *d = ctx;

	destination_leave_door(d);
	d->ops->hold(d->vm, true);
	for (;;) {
		cut_all(d);
		if (!ram_fetch_missing(&d->fetch))
			return let_go(d, DESTINATION_EV_FETCHED);
		set_link(d, MIGRATION_LINK_LOST);
		destination_tell(d);
		log_warn(&d->cfg.log, "post-copy: the link was lost, %llu KiB of memory are missing: `godwit migrate --recover` on the other side goes on: %s",
			 (unsigned long long)(ram_fetch_missing(&d->fetch) / KIB),
			 d->err.msg);
		while (door_wait(&d->door, NULL, 0, UINT64_MAX) >= 0)
			if (receive(d))
				break;
		if (d->control.fd < 0)
			return DESTINATION_EV_STOP;
		set_link(d, MIGRATION_LINK_RECOVERING);
		if (resume(d) == 0)
			break;
	}
	log_info(&d->cfg.log, "post-copy: the link is back, %llu KiB of memory are missing",
		 (unsigned long long)(ram_fetch_missing(&d->fetch) / KIB));
	destination_keep_door(d);
	pthread_mutex_lock(&d->progress.lock);
	d->progress.now.postcopy.recoveries++;
	pthread_mutex_unlock(&d->progress.lock);
	return let_go(d, DESTINATION_EV_RECOVERED);
}

/*
 * The process ends, or the VM has: whoever waits for a page gets none, and
 * nothing here may take zeroes for memory.
 */
void destination_break(void *ctx)
{
	struct migration_destination *d = ctx;
	struct error ignored = ERROR_INIT;

	destination_leave_door(d);
	d->ops->hold(d->vm, true);
	if (d->control.fd >= 0) {
		d->control.cancel_fd = -1;
		(void)!message_send_job(&d->control, WIRE_DEAD, &d->job,
					"the VM ended there before all of its memory had come",
					now_ns() + SEND_NS, &ignored);
		destination_part(&d->control);
	}
	cut_all(d);
	/* what the guest has asked of devices is not looked at any more */
	(void)!d->ops->quiesce(d->vm, now_ns(), &ignored);
	ram_fetch_abandon(&d->fetch);
	d->ops->pause(d->vm, VM_INTERNAL_ERROR);
	d->ops->hold(d->vm, false);
}
