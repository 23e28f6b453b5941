/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source while the guest runs, once it was accepted: rounds. */
#include <errno.h>

#include "migration/message.h"
#include "migration/source_private.h"
#include "vmm/base/util.h"

#define ROUND_NS (30 * NSEC_PER_SEC)
#define STATE_NS (4 * NSEC_PER_MSEC)
#define VCPU_NS (200 * NSEC_PER_USEC)
#define TRY_NS NSEC_PER_SEC
#define EXPLAIN_NS (500 * NSEC_PER_MSEC)

unsigned int source_event(struct migration_source *s)
{
	bool cancelled;

	pthread_mutex_lock(&s->lock);
	cancelled = s->cancelled;
	pthread_mutex_unlock(&s->lock);
	if (cancelled) {
		error_set(&s->err, ECANCELED, "cancelled");
		return SOURCE_EV_CANCEL;
	}
	if (s->paused && (now_ns() >= s->pause_deadline ||
			  s->err.code == ETIMEDOUT)) {
		if (!s->err.code)
			error_set(&s->err, ETIME, "not done in time");
		error_prefix(&s->err, "the pause would exceed %llu ms (--max-pause)",
			     (unsigned long long)((s->pause_deadline -
						   s->paused) / NSEC_PER_MSEC));
		return SOURCE_EV_CAP;
	}
	return SOURCE_EV_FAILED;
}

int source_farewell(const struct message *m, struct error *err)
{
	char text[WIRE_MAX_TEXT + 1] = "";
	struct wire_job job;

	if (m->type == WIRE_REFUSE)
		wire_text_decode(m->payload, m->len, text);
	else if (m->type != WIRE_DEAD ||
		 wire_reason_decode(m->payload, m->len, &job, text, err) < 0)
		return error_set(err, EPROTO, "unexpected %s from the destination",
				 wire_type_name(m->type));
	return error_set(err, ECONNREFUSED, "destination: %s", text);
}

void source_explain(struct migration_source *s, uint64_t wait_ns)
{
	uint64_t deadline = now_ns() + wait_ns;
	struct error why = ERROR_INIT;
	struct message m;

	if (s->err.code == ECANCELED || s->err.code == ECONNREFUSED ||
	    s->control.fd < 0)
		return;
	/* rounds that were answered meanwhile lie before the reason */
	while (message_recv(&s->control, &m, deadline, &why) == 0) {
		bool round = m.type == WIRE_ROUND;

		if (!round)
			source_farewell(&m, &s->err);
		message_free(&m);
		if (!round)
			return;
	}
}

unsigned int source_failed(struct migration_source *s)
{
	source_explain(s, EXPLAIN_NS);
	return source_event(s);
}

/* Told so, or time is out and that is what shall be done then? */
static bool switch_now(struct migration_source *s)
{
	return atomic_load(&s->switch_now) ||
	       policy_switches(&s->policy, now_ns() - s->progress.started);
}

int source_check(void *arg, struct error *err)
{
	struct migration_source *s = arg;
	int ret = 0;

	if (s->try_until && now_ns() >= s->try_until)
		return error_set(err, ETIME, "enough was measured");
	if (!s->paused && switch_now(s))
		return error_set(err, ETIME, "the rest follows by post-copy");
	if (!s->paused)
		ret = policy_time(&s->policy,
				  now_ns() - s->progress.started, err);
	if (ret == 0)
		ret = disk_send_check(&s->disks, err);
	if (ret == 0 && pinger_over(&s->pinger))
		ret = error_set(err, ECONNRESET, "the destination has left");
	return ret;
}

/* Whoever waits for room on a bulk channel wakes up. */
static void peer_left(void *arg)
{
	struct migration_source *s = arg;

	for (unsigned int i = 0; i < s->nbulk; i++)
		channel_shutdown(&s->bulk[i]);
	channel_shutdown(&s->disks.channel);
	channel_shutdown(&s->push.channel);
}

void source_watch(struct migration_source *s)
{
	pinger_start(&s->pinger, &s->control, peer_left, s);
}

int source_unwatch(struct migration_source *s, int ret)
{
	struct error why = ERROR_INIT;
	struct message m;
	int news = pinger_stop(&s->pinger, &m, &why);

	if (news == 1)
		news = source_farewell(&m, &why);
	message_free(&m);
	if (news == 0)
		return ret;
	s->err = why;
	return news;
}

/*
 * Of the pause, beside its pages: STATE is answered by PREPARED, GO by RUNNING,
 * and the vCPUs' state is saved and loaded one after the other.
 */
static uint64_t overhead(const struct migration_source *s)
{
	return STATE_NS + s->cfg.vm->nvcpus * VCPU_NS + 2 * s->rtt_ns;
}

static void init_policy(struct migration_source *s)
{
	const struct migration_params *p = &s->cfg.params;
	const struct policy_config cfg = {
		.downtime_ns = p->downtime_ms * NSEC_PER_MSEC,
		.max_pause_ns = p->max_pause_ms * NSEC_PER_MSEC,
		.ramp_ns = p->ramp_s * NSEC_PER_SEC,
		.timeout_ns = p->timeout_s * NSEC_PER_SEC,
		/* of the wire; memory goes faster if it is compressed */
		.bandwidth_limit = p->compress ? 0 : p->bandwidth,
		.overhead_ns = overhead(s),
		.on_timeout = p->on_timeout,
		.auto_converge = p->auto_converge,
		.postcopy = p->postcopy,
	};

	policy_init(&s->policy, &cfg);
}

static int start_ram(struct migration_source *s)
{
	int ret;

	s->ram = (struct ram_send){
		.vm = s->cfg.vm,
		.mem = &s->cfg.vm->mem,
		.ops = s->ops,
		.progress = &s->progress,
		.limiter = &s->limiter,
		.channel = s->bulk,
		.nchannels = s->nbulk,
		.compress = s->cfg.params.compress,
		.cancel_fd = s->cancel_fd,
		.check = source_check,
		.check_arg = s,
	};
	ret = ram_send_init(&s->ram, &s->err);
	s->ram_ready = ret == 0;
	if (ret == 0)
		ret = ram_send_sync(&s->ram, &s->err);
	s->synced = now_ns();
	source_measure_vcpus(s);
	return ret;
}

int source_end_round(struct migration_source *s)
{
	struct wire_round round = { .round = ++s->round };
	uint8_t buf[WIRE_ROUND_SIZE];
	struct message m;
	uint64_t mark;
	int ret = ram_send_fence(&s->ram, s->round, 0, 0, &s->err);

	mark = now_ns();
	if (ret == 0)
		ret = message_send(&s->control, WIRE_ROUND, buf,
				   wire_round_encode(buf, &round), NULL, 0, 0,
				   &s->err);
	if (ret < 0)
		return ret;
	/* what lies in the sockets may take long to get there */
	ret = message_await(&s->control, &m, s->cancel_fd, now_ns() + ROUND_NS,
			    &s->err);
	source_note_rtt(s, mark);
	s->policy.cfg.overhead_ns = overhead(s);
	if (ret == 0 && m.type == WIRE_ROUND)
		ret = wire_round_decode(m.payload, m.len, &round, &s->err);
	else if (ret == 0)
		ret = source_farewell(&m, &s->err);
	message_free(&m);
	if (ret == 0 && round.round != s->round)
		ret = error_set(&s->err, EPROTO, "round %u answered as %u",
				s->round, round.round);
	return ret;
}

static void publish(struct migration_source *s)
{
	struct migration_stats *now = &s->progress.now;

	pthread_mutex_lock(&s->progress.lock);
	now->iteration = s->round;
	now->wire_bytes = source_wire_bytes(s) + source_disk_bytes(s);
	now->memory_bandwidth = s->policy.bandwidth;
	now->dirty_rate = s->policy.dirty_rate >> PAGE_SHIFT;
	now->expected_downtime_us = s->policy.expected_ns / NSEC_PER_USEC;
	pthread_mutex_unlock(&s->progress.lock);
}

/* One round, and what it taught. Watched before and after. */
static int one_round(struct migration_source *s, struct policy_round *r)
{
	uint64_t start = now_ns();
	uint64_t bytes = source_sent_bytes(s);
	uint64_t before = s->synced;
	int ret;

	source_share_cpus(s);
	ret = source_unwatch(s, ram_send_pages(&s->ram, 0, &s->err));
	s->ram.nsenders = 0;	/* the guest may be stopped next */
	/* what was not sent stays dirty */
	if (ret == -ETIME) {
		error_clear(&s->err);
		ret = 0;
	}
	if (ret < 0)
		return ret;
	/* this may have been the last round, and the sockets are still full */
	s->ops->rehearse(s->cfg.vm);
	ret = source_end_round(s);
	if (ret < 0)
		return ret;
	r->sent = source_sent_bytes(s) - bytes;
	r->sent_ns = now_ns() - start;
	source_watch(s);
	ret = ram_send_sync(&s->ram, &s->err);
	s->synced = now_ns();
	source_measure_vcpus(s);
	r->dirty = s->ram.dirty_pages << PAGE_SHIFT;
	r->dirty_ns = s->synced - before;
	r->elapsed_ns = s->synced - s->progress.started;
	return ret;
}

/*
 * Memory is there already. When the destination answers the second of these
 * rounds, its record is durable: that is not left to the pause.
 */
static int empty_rounds(struct migration_source *s)
{
	int ret = source_unwatch(s, 0);

	s->ram.channel = s->bulk;
	s->ram.nchannels = s->nbulk;
	while (ret == 0 && s->round < 2)
		ret = source_end_round(s);
	source_watch(s);
	return ret;
}

static unsigned int dry_run(struct migration_source *s)
{
	struct policy_round line;
	int ret;

	source_watch(s);
	ret = start_ram(s);
	s->try_until = now_ns() + TRY_NS;
	if (ret == 0)
		ret = one_round(s, &line);
	if (ret == 0)
		ret = source_try(s, &line);
	ret = source_unwatch(s, ret);
	if (ret < 0)
		return source_failed(s);
	error_set(&s->err, ECANCELED, "dry run: nothing was moved");
	return SOURCE_EV_CANCEL;
}

/* For as long as *verdict is to continue. */
static int rounds(struct migration_source *s, enum policy_verdict *verdict)
{
	struct policy_round r;
	int ret = 0;

	while (ret == 0 && *verdict == POLICY_CONTINUE) {
		ret = one_round(s, &r);
		if (ret < 0)
			break;
		if (s->round == 1)
			source_foresee(s, &r);
		*verdict = policy_round(&s->policy, &r, &s->err);
		if (*verdict != POLICY_STOP && switch_now(s))
			*verdict = POLICY_SWITCH;
		if (*verdict == POLICY_CONTINUE)
			source_throttle(s, s->policy.throttle);
		publish(s);
		if (*verdict == POLICY_CONTINUE)
			ret = source_check(s, &s->err);
		if (ret == -ETIME)	/* told so just now: the next round ends */
			ret = 0;
	}
	return ret;
}

unsigned int source_copying(void *ctx)
{
	struct migration_source *s = ctx;
	enum policy_verdict verdict = POLICY_CONTINUE;
	int ret;

	init_policy(s);
	if (s->cfg.params.dry_run)
		return dry_run(s);
	source_watch(s);
	ret = source_disks_copy(s);
	if (ret == 0 && s->handed) {
		ret = empty_rounds(s);
		verdict = POLICY_STOP;
	} else if (ret == 0) {
		ret = start_ram(s);
	}
	if (ret == 0)
		ret = rounds(s, &verdict);
	s->forced = verdict == POLICY_FORCE;
	/* a sync takes milliseconds, so it is paid before the pause */
	if (ret == 0 && verdict != POLICY_GIVE_UP)
		ret = record_going(&s->record, &s->err);
	ret = source_unwatch(s, ret);
	if (ret == 0 && verdict == POLICY_SWITCH)
		ret = source_switch(s);
	if (ret < 0)
		return source_failed(s);
	return verdict == POLICY_GIVE_UP ? source_event(s) :
					   SOURCE_EV_CONVERGED;
}
