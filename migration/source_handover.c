/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source from the pause on. What is done here is felt by users: nothing
 * that could be done before belongs here.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "migration/message.h"
#include "migration/source_private.h"
#include "vmm/base/util.h"

#define RUNNING_NS (8 * NSEC_PER_SEC)
#define RETURN_NS (10 * NSEC_PER_SEC)
#define RETRY_NS (100 * NSEC_PER_MSEC)
#define QUERY_NS (2 * NSEC_PER_SEC)

/* Microseconds since *mark, which becomes now. */
static uint64_t lap(uint64_t *mark)
{
	uint64_t now = now_ns();
	uint64_t us = (now - *mark) / NSEC_PER_USEC;

	*mark = now;
	return us;
}

static int cap_check(struct migration_source *s)
{
	return now_ns() < s->pause_deadline ? 0 : -ETIME;
}

/* The cap; a pause that was asked for may take twice what is expected more. */
static uint64_t longest_pause(const struct migration_source *s)
{
	uint64_t cap = s->cfg.params.max_pause_ms * NSEC_PER_MSEC;

	return s->forced ? cap + 2 * s->policy.expected_ns : cap;
}

static int stop_guest(struct migration_source *s, struct migration_pause *p)
{
	uint64_t mark = now_ns();
	int ret = source_check_vm(s);

	if (ret < 0)
		return ret;
	s->paused = mark;
	s->pause_deadline = mark + longest_pause(s);
	s->before = s->ops->get_state(s->cfg.vm);
	s->ops->pause(s->cfg.vm, VM_FINISH_MIGRATE);
	source_throttle(s, 0);
	p->stop_vcpus = lap(&mark);
	disk_send_let_go(&s->disks);
	ret = s->ops->quiesce(s->cfg.vm, s->pause_deadline, &s->err);
	p->drain_disks = lap(&mark);
	if (ret == 0 && s->disks.started)
		disk_send_finish(&s->disks);
	return ret < 0 ? ret : cap_check(s);
}

/* In post-copy they are only named. */
static int last_pages(struct migration_source *s)
{
	int ret = s->handed ? 0 : ram_send_sync(&s->ram, &s->err);

	if (ret == 0 && !s->handed && !s->postcopy)
		ret = ram_send_pages(&s->ram, s->pause_deadline, &s->err);
	return ret < 0 ? ret : cap_check(s);
}

/* A VM that stopped for a disk tries again there, where the disk may work. */
static bool should_run(const struct migration_source *s)
{
	return s->before == VM_RUNNING || s->before == VM_IO_ERROR;
}

/* After it bulk channels are silent, or pages appear before a guest that runs. */
static int last_fence(struct migration_source *s)
{
	int ret = s->postcopy ? source_let_go(s, s->pause_deadline) : 0;

	return ret < 0 ? ret :
	       ram_send_fence(&s->ram, s->round,
			      s->postcopy ? RUN_POSTCOPY : RUN_LAST,
			      s->pause_deadline, &s->err);
}

static int send_state(struct migration_source *s, const void *fdt, size_t len)
{
	struct wire_state state = {
		.round = s->round,
		.flags = (should_run(s) ? WIRE_STATE_RUN : 0) |
			 (s->postcopy ? WIRE_STATE_POSTCOPY : 0),
		.age_ns = now_ns() - s->ops->saved_at(s->cfg.vm),
	};
	uint8_t buf[WIRE_STATE_SIZE];

	return message_send(&s->control, WIRE_STATE, buf,
			    wire_state_encode(buf, &state), fdt, len,
			    s->pause_deadline, &s->err);
}

/*
 * Pages twice: saving state may write guest memory (kvmclock's page), and
 * those few pages belong to this round too. The fence goes before the disks
 * are flushed, so that pages travel meanwhile; so do the last blocks of disks.
 */
static int hand_over(struct migration_source *s, struct migration_pause *p)
{
	void *fdt = NULL;
	size_t len = 0;
	uint64_t mark = now_ns();
	int ret;

	s->round++;
	ret = last_pages(s);
	p->last_pages = lap(&mark);
	if (ret == 0)
		ret = s->ops->save(s->cfg.vm, &fdt, &len, &s->err);
	p->save_state = lap(&mark);
	if (ret == 0)
		ret = last_pages(s);
	if (ret == 0)
		ret = last_fence(s);
	p->last_pages += lap(&mark);
	if (ret == 0 && s->disks.started)
		ret = disk_send_wait(&s->disks, s->pause_deadline, &s->err);
	p->last_blocks = lap(&mark);
	if (ret == 0) {
		s->deactivated = true;	/* even if it fails half-way */
		ret = s->ops->deactivate(s->cfg.vm, &s->err);
	}
	p->deactivate = lap(&mark);
	if (ret == 0)
		ret = cap_check(s);
	if (ret == 0)
		ret = send_state(s, fdt, len);
	p->send_state = lap(&mark);
	free(fdt);
	return ret;
}

unsigned int source_stopping(void *ctx)
{
	struct migration_source *s = ctx;
	struct migration_pause pause = { 0 };
	int ret = stop_guest(s, &pause);

	if (ret == 0)
		ret = hand_over(s, &pause);
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.pause = pause;
	s->progress.now.iteration = s->round;
	pthread_mutex_unlock(&s->progress.lock);
	if (ret == 0)
		return SOURCE_EV_STATE_SENT;
	source_explain(s, 0);
	return source_event(s);
}

/*
 * What the destination says of our job: PREPARED, RUNNING, DEAD (the reason in
 * s->err), or 0 and s->err.
 */
static unsigned int recv_verdict(struct migration_source *s, uint64_t deadline)
{
	struct migration_pause *p = &s->progress.now.pause;
	char text[WIRE_MAX_TEXT + 1];
	struct wire_prepared prepared = { 0 };
	struct wire_running running = { 0 };
	struct wire_job job = { 0 };
	unsigned int event = 0;
	struct message m;

	if (message_recv(&s->control, &m, deadline, &s->err) < 0)
		goto out;
	error_set(&s->err, EPROTO, "unexpected %s", wire_type_name(m.type));
	if (m.type == WIRE_PREPARED &&
	    !wire_prepared_decode(m.payload, m.len, &prepared, &s->err)) {
		job = prepared.job;
		event = SOURCE_EV_PREPARED;
	} else if (m.type == WIRE_RUNNING &&
		   !wire_running_decode(m.payload, m.len, &running, &s->err)) {
		job = running.job;
		event = running.missing ? SOURCE_EV_INCOMPLETE :
					  SOURCE_EV_RUNNING;
	} else if (m.type == WIRE_DEAD &&
		   !wire_reason_decode(m.payload, m.len, &job, text, &s->err)) {
		error_set(&s->err, ECONNABORTED, "destination: %s", text);
		event = SOURCE_EV_DEAD;
	}
	if (event && !wire_job_equal(&job, &s->job)) {
		error_set(&s->err, EPROTO, "%s of another job",
			  wire_type_name(m.type));
		event = 0;
	}
	pthread_mutex_lock(&s->progress.lock);
	if (event == SOURCE_EV_PREPARED) {
		p->last_fence = prepared.fence_us;
		p->load_state = prepared.load_us;
		p->activate = prepared.activate_us;
	} else if (event == SOURCE_EV_RUNNING ||
		   event == SOURCE_EV_INCOMPLETE) {
		p->run = running.run_us;
	}
	pthread_mutex_unlock(&s->progress.lock);
out:
	message_free(&m);
	return event;
}

/* The one place where GO becomes irrevocable: no cancel comes in between. */
static bool commit(struct migration_source *s)
{
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = !s->cancelled && now_ns() < s->pause_deadline;
	s->committed = ok;
	pthread_mutex_unlock(&s->lock);
	return ok;
}

unsigned int source_preparing(void *ctx)
{
	struct migration_source *s = ctx;
	uint64_t mark = now_ns();
	unsigned int event = recv_verdict(s, s->pause_deadline);

	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.pause.prepared = lap(&mark);
	pthread_mutex_unlock(&s->progress.lock);
	if (event != SOURCE_EV_PREPARED || !commit(s))
		return source_event(s);
	s->control.cancel_fd = -1;
	return SOURCE_EV_PREPARED;
}

static void account_pause(struct migration_source *s)
{
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.downtime_us = (now_ns() - s->paused) / NSEC_PER_USEC;
	pthread_mutex_unlock(&s->progress.lock);
}

unsigned int source_committing(void *ctx)
{
	struct migration_source *s = ctx;
	uint64_t deadline = now_ns() + RUNNING_NS;
	uint64_t mark = now_ns();
	unsigned int event = SOURCE_EV_PREPARED;

	if (message_send_job(&s->control, WIRE_GO, &s->job, NULL, deadline,
			     &s->err) < 0)
		return SOURCE_EV_LOST;
	/* a PREPARED that was asked for twice may still be on its way */
	while (event == SOURCE_EV_PREPARED)
		event = recv_verdict(s, deadline);
	if (event == SOURCE_EV_RUNNING || event == SOURCE_EV_INCOMPLETE)
		account_pause(s);
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.pause.go = lap(&mark);
	pthread_mutex_unlock(&s->progress.lock);
	return event ? event : SOURCE_EV_LOST;
}

unsigned int source_ask(struct migration_source *s, uint64_t limit)
{
	struct wire_hello hello = {
		.oldest = WIRE_VERSION,
		.newest = WIRE_VERSION,
		.role = WIRE_ROLE_QUERY,
		.job = s->job,
	};
	uint64_t deadline = MIN(now_ns() + QUERY_NS, limit);

	channel_close(&s->control);
	if (channel_connect(&s->control, s->uri, &s->cfg.params.security, -1,
			    deadline, &s->err) < 0 ||
	    message_hello(&s->control, &hello, deadline, &s->err) < 0 ||
	    message_send_job(&s->control, WIRE_QUERY, &s->job, NULL, deadline,
			     &s->err) < 0)
		return 0;
	return recv_verdict(s, deadline);
}

unsigned int source_asking(void *ctx)
{
	struct migration_source *s = ctx;
	const char *name = s->cfg.vm->name;

	if (!s->ask_deadline)
		s->ask_deadline = now_ns() +
				  s->cfg.params.resolve_s * NSEC_PER_SEC;
	while (now_ns() < s->ask_deadline) {
		unsigned int event = source_ask(s, s->ask_deadline);

		if (event == SOURCE_EV_RUNNING || event == SOURCE_EV_INCOMPLETE)
			account_pause(s);
		if (event)
			return event;
		channel_wait_fd(-1, 0, -1, now_ns() + RETRY_NS);
	}
	error_prefix(&s->err,
		     "nobody answers after GO: '%s' may run on the other side and stays paused here. There, `godwit info %s` tells; `godwit resolve %s` here shows what is known and settles it. Last",
		     name, name, name);
	if (s->postcopy)
		error_add(&s->err, ETIMEDOUT, "it may need memory that is here: `godwit migrate --recover %s` asks again when the link is back",
			  name);
	return SOURCE_EV_SILENT;
}

/* Locks first. The destination may need a moment to give them up. */
static int take_locks(struct migration_source *s, struct error *err)
{
	uint64_t limit = now_ns() + RETURN_NS;
	int ret = 0;

	while (s->deactivated) {
		ret = s->ops->activate(s->cfg.vm, err);
		if (ret == 0)
			s->deactivated = false;
		else if (now_ns() >= limit)
			return ret;
		else
			channel_wait_fd(-1, 0, -1, now_ns() + RETRY_NS);
	}
	return 0;
}

unsigned int source_returning(void *ctx)
{
	struct migration_source *s = ctx;
	struct error why = ERROR_INIT;
	int ret = take_locks(s, &why);

	/* a guest that powered itself off was never stopped by us */
	if (ret == 0 && s->paused && s->before == VM_RUNNING)
		ret = s->ops->run(s->cfg.vm, &why);
	else if (ret == 0 && s->paused)
		s->ops->pause(s->cfg.vm, s->before);
	if (s->paused)
		account_pause(s);
	if (ret < 0) {
		error_add(&s->err, EIO,
			  "and the VM stays paused here, it could not be resumed: %s",
			  why.msg);
		return SOURCE_EV_STUCK;
	}
	return s->err.code == ECANCELED ? SOURCE_EV_CANCEL :
					  SOURCE_EV_RESUMED;
}

/* -- for everybody -------------------------------------------------------- */

int migration_source_take_back(struct migration_source *s, struct error *err)
{
	int ret = 0;

	migration_source_wait(s);
	if (s->ops->get_state(s->cfg.vm) != VM_FINISH_MIGRATE)
		return error_set(err, EINVAL,
				 "nothing to take back: the VM is not held by a migration");
	if (s->deactivated)
		ret = s->ops->activate(s->cfg.vm, err);
	if (ret < 0)
		return ret;
	source_dismiss(s);
	s->deactivated = false;
	ret = s->ops->run(s->cfg.vm, err);
	if (ret == 0)
		migration_source_settled(s);
	return ret;
}

void migration_source_settled(struct migration_source *s)
{
	migration_source_wait(s);
	record_done(&s->record);
}
