/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination from STATE on: load, PREPARED, GO, RUNNING or DEAD. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "migration/destination_private.h"
#include "vmm/base/util.h"
#include "vmm/vm.h"

#define SEND_NS (2 * NSEC_PER_SEC)
#define GO_EXTRA_NS (8 * NSEC_PER_SEC)

static uint64_t lap(uint64_t *mark)
{
	uint64_t now = now_ns();
	uint64_t us = (now - *mark) / NSEC_PER_USEC;

	*mark = now;
	return us;
}

static int send_prepared(struct migration_destination *d, struct channel *ch)
{
	uint8_t buf[WIRE_PREPARED_SIZE];

	return message_send(ch, WIRE_PREPARED, buf,
			    wire_prepared_encode(buf, &d->answer), NULL, 0,
			    now_ns() + SEND_NS, &d->err);
}

int destination_send_running(struct migration_destination *d,
			     struct channel *ch)
{
	struct error ignored = ERROR_INIT;
	uint8_t buf[WIRE_RUNNING_SIZE];

	d->running.missing = ram_fetch_missing(&d->fetch);

	return message_send(ch, WIRE_RUNNING, buf,
			    wire_running_encode(buf, &d->running), NULL, 0,
			    now_ns() + SEND_NS, &ignored);
}

static int load(struct migration_destination *d)
{
	const struct wire_state *state = &d->state_head;
	struct wire_prepared *a = &d->answer;
	uint64_t mark = d->state_came;
	int ret;

	a->fence_us = lap(&mark);
	/* long done, but for a source that sent no round before */
	ret = record_going(&d->record, &d->err);
	if (ret == 0 && !(state->flags & WIRE_STATE_POSTCOPY) != !d->fetch.mem)
		ret = error_set(&d->err, EPROTO, "STATE and MISSING disagree about post-copy");
	if (ret == 0)
		ret = d->ops->load(d->vm, state->tree, state->tree_len,
				   state->age_ns + (mark - d->state_came),
				   &d->err);
	a->load_us = lap(&mark);
	if (ret == 0)
		ret = d->ops->activate(d->vm, &d->err);
	a->activate_us = lap(&mark);
	return ret;
}

unsigned int destination_loading(void *ctx)
{
	struct migration_destination *d = ctx;
	uint64_t pause = d->offer.max_pause_ms * NSEC_PER_MSEC;
	/* a thread costs some of the pause: only if that may be long */
	int ret = pause < MESSAGE_IDLE_NS / 2 ? load(d) :
						destination_watched(d, load);

	message_free(&d->state);
	if (ret < 0)
		return destination_event(d, DESTINATION_EV_FAILED);
	d->answer.job = d->job;
	d->go_deadline = now_ns() + GO_EXTRA_NS + pause;
	/* if it can't be sent, the source has not seen it: no GO will come,
	 * but from a QUERY; PREPARED finds out */
	d->prepared = true;
	(void)!send_prepared(d, &d->control);
	return DESTINATION_EV_PREPARED;
}

/* An event for a message that came while GO is awaited; 0: wait on. */
static unsigned int judge(struct migration_destination *d,
			  const struct message *m)
{
	char why[WIRE_MAX_TEXT + 1];
	struct wire_job job;
	int ret;

	if (m->type == WIRE_CANCEL)
		ret = wire_reason_decode(m->payload, m->len, &job, why,
					 &d->err);
	else
		ret = wire_job_decode(m->payload, m->len, &job, &d->err);
	if (ret < 0)
		return DESTINATION_EV_FAILED;
	if (!wire_job_equal(&job, &d->job)) {
		error_set(&d->err, EPROTO, "%s of another job",
			  wire_type_name(m->type));
		return DESTINATION_EV_FAILED;
	}
	if (m->type == WIRE_GO)
		return DESTINATION_EV_GO;
	if (m->type == WIRE_CANCEL) {
		error_set(&d->err, ECANCELED, "source: %s", why);
		return DESTINATION_EV_CANCEL;
	}
	if (m->type == WIRE_QUERY)
		return send_prepared(d, &d->control) < 0 ?
				DESTINATION_EV_LOST : 0;
	error_set(&d->err, EPROTO, "%s instead of GO",
		  wire_type_name(m->type));
	return DESTINATION_EV_FAILED;
}

unsigned int destination_prepared(void *ctx)
{
	struct migration_destination *d = ctx;
	unsigned int event = 0;

	while (!event) {
		struct message m;
		int ret = message_recv(&d->control, &m, d->go_deadline,
				       &d->err);

		if (ret == 0)
			event = judge(d, &m);
		else if (ret == -ETIMEDOUT)
			event = DESTINATION_EV_EXPIRED;
		else if (ret == -EPROTO || ret == -EBADMSG || ret == -EMSGSIZE)
			event = DESTINATION_EV_FAILED;
		else
			event = DESTINATION_EV_LOST;
		message_free(&m);
	}
	/* GO wins over being told to end: the source has given the VM away */
	return event == DESTINATION_EV_GO ? event : destination_event(d, event);
}

unsigned int destination_orphaned(void *ctx)
{
	struct migration_destination *d = ctx;
	uint64_t deadline = now_ns() + d->cfg.go_wait_ms * NSEC_PER_MSEC;

	channel_close(&d->control);
	destination_leave_door(d);
	while (door_wait(&d->door, NULL, 0, deadline) == 1) {
		struct error err = ERROR_INIT;
		struct wire_hello hello;
		struct channel ch;

		if (door_take(&d->door, &ch, &hello, &err) < 0)
			continue;
		if (hello.role != WIRE_ROLE_QUERY) {
			door_refuse(&d->door, &ch,
				    "busy with another migration");
		} else if (destination_asked(d, &ch, &d->job)) {
			d->control = ch;
			d->go_deadline = now_ns() + GO_EXTRA_NS;
			(void)!send_prepared(d, &d->control);
			return DESTINATION_EV_QUERY;
		}
	}
	error_set(&d->err, ETIMEDOUT,
		  "link lost before GO, and the source did not come back");
	return destination_event(d, DESTINATION_EV_EXPIRED);
}

unsigned int destination_starting(void *ctx)
{
	struct migration_destination *d = ctx;
	uint64_t mark = now_ns();
	int ret = 0;

	if (d->state_head.flags & WIRE_STATE_RUN)
		ret = d->ops->run(d->vm, &d->err);
	else
		d->ops->pause(d->vm, VM_PAUSED);
	d->running.job = d->job;
	d->running.run_us = lap(&mark);
	if (ret < 0)
		return DESTINATION_EV_FAILED;
	(void)!destination_send_running(d, &d->control);
	if (d->state_head.flags & WIRE_STATE_RUN)
		d->ops->announce(d->vm);
	pthread_mutex_lock(&d->progress.lock);
	d->progress.now.pause = (struct migration_pause){
		.last_fence = d->answer.fence_us,
		.load_state = d->answer.load_us,
		.activate = d->answer.activate_us,
		.run = d->running.run_us,
	};
	d->progress.now.memory_remaining = d->running.missing;
	pthread_mutex_unlock(&d->progress.lock);
	return d->running.missing ? DESTINATION_EV_INCOMPLETE :
				    DESTINATION_EV_RUNNING;
}

/* A message on the source's connection after RUNNING. true: it said BYE. */
static bool serve_source(struct migration_destination *d)
{
	struct error ignored = ERROR_INIT;
	struct message m;
	bool bye = false;
	int ret = message_recv(&d->control, &m, now_ns() + SEND_NS, &ignored);

	if (ret == 0 && (m.type == WIRE_GO || m.type == WIRE_QUERY))
		ret = destination_send_running(d, &d->control);
	else if (ret == 0)
		bye = m.type == WIRE_BYE;
	message_free(&m);
	if (ret < 0)
		channel_close(&d->control);
	return bye;
}

static void serve_visitor(struct migration_destination *d)
{
	struct error err = ERROR_INIT;
	struct wire_hello hello;
	struct channel ch;

	if (door_take(&d->door, &ch, &hello, &err) < 0)
		return;
	if (hello.role != WIRE_ROLE_QUERY && hello.role != WIRE_ROLE_RECOVER) {
		door_refuse(&d->door, &ch, "a VM has arrived here already");
		return;
	}
	if (hello.role == WIRE_ROLE_QUERY ?
	    !destination_asked(d, &ch, &d->job) :
	    !wire_job_equal(&hello.job, &d->job)) {
		channel_close(&ch);
		return;
	}
	channel_close(&d->control);
	d->control = ch;
	if (destination_send_running(d, &d->control) < 0)
		channel_close(&d->control);
}

unsigned int destination_lingering(void *ctx)
{
	struct migration_destination *d = ctx;
	uint64_t deadline = now_ns() + d->cfg.linger_ms * NSEC_PER_MSEC;

	destination_memory_is_here(d);
	destination_leave_door(d);
	for (;;) {
		struct pollfd p = { .fd = d->control.fd, .events = POLLIN };
		int ret = channel_pending(&d->control) ? 0 :
			  door_wait(&d->door, &p, 1, deadline);

		if (ret == -ECANCELED)
			return DESTINATION_EV_STOP;
		if (ret == -ETIMEDOUT || (ret == 0 && serve_source(d)))
			break;
		if (ret == 1)
			serve_visitor(d);
	}
	return DESTINATION_EV_OVER;
}

/* Only now that the copy is gone may anybody be told so. */
static void tell_source(struct migration_destination *d)
{
	struct error ignored = ERROR_INIT;

	d->control.cancel_fd = -1;
	if (d->control.fd < 0)
		return;
	if (d->accepted)
		(void)!message_send_job(&d->control, WIRE_DEAD, &d->job,
					d->err.msg, now_ns() + SEND_NS,
					&ignored);
	else
		(void)!message_send(&d->control, WIRE_REFUSE, d->err.msg,
				    strlen(d->err.msg), NULL, 0,
				    now_ns() + SEND_NS, &ignored);
	destination_part(&d->control);
}

unsigned int destination_discarding(void *ctx)
{
	struct migration_destination *d = ctx;
	struct migration_stats stats;

	destination_leave_door(d);
	/* the receivers write the memory and the disks that go next */
	if (d->ram_ready)
		ram_recv_exit(&d->ram);
	d->ram_ready = false;
	ram_fetch_abandon(&d->fetch);
	channel_close(&d->fault);
	disk_recv_exit(&d->disks);
	message_free(&d->state);
	if (d->vm)
		d->cfg.destroy(d->cfg.arg, d->vm);
	d->vm = NULL;
	record_done(&d->record);
	if (!d->err.code)
		error_set(&d->err, EIO, "the migration ended");
	if (d->prepared) {
		d->dead = d->job;
		d->dead_until = now_ns() + d->cfg.linger_ms * NSEC_PER_MSEC;
	}
	tell_source(d);
	log_warn(&d->cfg.log, "incoming migration failed: %s", d->err.msg);
	migration_progress_end(&d->progress, MIGRATION_FAILED, &d->err);
	migration_destination_stats(d, &stats);
	if (d->cfg.notify)
		d->cfg.notify(d->cfg.arg, &stats);
	if (!d->cfg.once)
		return destination_event(d, DESTINATION_EV_AGAIN);
	return destination_event(d, d->prepared ? DESTINATION_EV_MOURN :
						  DESTINATION_EV_OVER);
}
