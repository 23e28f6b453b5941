/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "migration/compress.h"
#include "migration/machine.h"
#include "migration/message.h"
#include "migration/source_private.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

#define DEAD_NS (5 * NSEC_PER_SEC)

/* -- actions ------------------------------------------------------------- */

/* Behind a dry run the real one may follow at once: not before the destination
 * has destroyed its copy, for it would be busy. */
static void await_dead(struct migration_source *s)
{
	uint64_t deadline = now_ns() + DEAD_NS;
	struct error ignored = ERROR_INIT;
	bool dead = false;
	struct message m;

	while (!dead && !message_await(&s->control, &m, -1, deadline,
				       &ignored)) {
		dead = m.type == WIRE_DEAD;
		message_free(&m);
	}
}

/* Tell the destination to forget the job. The link may be gone: no matter. */
static void abandon(void *ctx)
{
	struct migration_source *s = ctx;
	struct error ignored = ERROR_INIT;

	s->control.cancel_fd = -1;
	for (unsigned int i = 0; i < s->nbulk; i++)
		channel_shutdown(&s->bulk[i]);
	channel_shutdown(&s->disks.channel);
	if (s->control.fd >= 0)
		(void)!message_send_job(&s->control, WIRE_CANCEL, &s->job,
					s->err.msg, now_ns() + NSEC_PER_SEC,
					&ignored);
	if (s->control.fd >= 0 && s->cfg.params.dry_run)
		await_dead(s);
}

/* The link may be dead without knowing it: ask over a new one. */
static void hang_up(void *ctx)
{
	struct migration_source *s = ctx;

	channel_close(&s->control);
}

/* The VM runs there: this copy is over, and the destination may forget. */
static void say_bye(void *ctx)
{
	struct migration_source *s = ctx;
	struct error ignored = ERROR_INIT;

	s->ops->pause(s->cfg.vm, VM_POSTMIGRATE);
	(void)!message_send_job(&s->control, WIRE_BYE, &s->job, NULL,
				now_ns() + NSEC_PER_SEC, &ignored);
}

/* -- the table ------------------------------------------------------------ */

static const struct machine_state states[SOURCE_NSTATES] = {
	[SOURCE_CONNECTING] = { "CONNECTING", "connects and says HELLO",
		MIGRATION_STAGE_PRE_MIGRATION, source_connecting, true,
		DISKS_HELD },
	[SOURCE_OFFERING] = { "OFFERING",
		"sends the machine tree, opens the bulk channels",
		MIGRATION_STAGE_RESERVATION, source_offering, true,
		DISKS_HELD },
	[SOURCE_COPYING] = { "COPYING", "sends rounds while the guest runs",
		MIGRATION_STAGE_PRECOPY, source_copying, true, DISKS_HELD },
	[SOURCE_STOPPING] = { "STOPPING",
		"stops the guest; last pages, state; gives up disk locks",
		MIGRATION_STAGE_STOP_AND_COPY, source_stopping, true,
		DISKS_MOVING },
	[SOURCE_PREPARING] = { "PREPARING", "waits for PREPARED",
		MIGRATION_STAGE_STOP_AND_COPY, source_preparing, true,
		DISKS_FREE },
	[SOURCE_COMMITTING] = { "COMMITTING", "says GO, waits for RUNNING",
		MIGRATION_STAGE_COMMITMENT, source_committing, false,
		DISKS_FREE },
	[SOURCE_ASKING] = { "ASKING",
		"the link was lost after GO: asks over new ones",
		MIGRATION_STAGE_COMMITMENT, source_asking, false, DISKS_FREE },
	[SOURCE_SERVING] = { "SERVING",
		"the VM runs there, and gets the rest of its memory",
		MIGRATION_STAGE_POSTCOPY, source_serving, false, DISKS_FREE },
	[SOURCE_SEVERED] = { "SEVERED",
		"the link was lost meanwhile: waits to be told to recover",
		MIGRATION_STAGE_POSTCOPY, source_severed, false, DISKS_FREE },
	[SOURCE_RETURNING] = { "RETURNING",
		"takes disk locks back, then runs the guest here",
		MIGRATION_STAGE_CLEAN_UP, source_returning, false,
		DISKS_MOVING },
	[SOURCE_COMPLETED] = { "COMPLETED", "the VM runs there",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_FREE },
	[SOURCE_FAILED] = { "FAILED", "the VM is here as before",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_HELD },
	[SOURCE_CANCELLED] = { "CANCELLED", "the VM is here as before",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_HELD },
	[SOURCE_STRANDED] = { "STRANDED",
		"the VM is here, paused: its locks could not be taken back",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_FREE },
	[SOURCE_UNKNOWN] = { "UNKNOWN",
		"nobody answers after GO; the VM stays paused here",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_FREE },
	[SOURCE_BROKEN] = { "BROKEN",
		"the VM ran there, and ended before its memory was there",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_FREE },
};

static const char *const events[SOURCE_NEVENTS] = {
	[SOURCE_EV_CONNECTED] = "connected",
	[SOURCE_EV_ACCEPTED] = "ACCEPT",
	[SOURCE_EV_CONVERGED] = "short pause predicted",
	[SOURCE_EV_STATE_SENT] = "STATE sent",
	[SOURCE_EV_PREPARED] = "PREPARED",
	[SOURCE_EV_RUNNING] = "RUNNING",
	[SOURCE_EV_DEAD] = "DEAD",
	[SOURCE_EV_FAILED] = "failed or refused",
	[SOURCE_EV_CAP] = "cap exceeded",
	[SOURCE_EV_CANCEL] = "cancelled",
	[SOURCE_EV_LOST] = "link lost",
	[SOURCE_EV_SILENT] = "nobody answers",
	[SOURCE_EV_RESUMED] = "runs again",
	[SOURCE_EV_STUCK] = "locks are held elsewhere",
	[SOURCE_EV_INCOMPLETE] = "RUNNING, pages are missing",
	[SOURCE_EV_FETCHED] = "all pages are there",
	[SOURCE_EV_RECOVERED] = "link is back",
	[SOURCE_EV_GIVEN_UP] = "told to give up",
};

#define EDGE(s, e, n, a) \
	MACHINE_EDGE(SOURCE_##s, SOURCE_EV_##e, SOURCE_##n, a)

static const struct machine_edge edges[] = {
	EDGE(CONNECTING, CONNECTED, OFFERING, NULL),
	EDGE(CONNECTING, FAILED, FAILED, NULL),
	EDGE(CONNECTING, CANCEL, CANCELLED, NULL),
	EDGE(OFFERING, ACCEPTED, COPYING, NULL),
	EDGE(OFFERING, FAILED, FAILED, abandon),
	EDGE(OFFERING, CANCEL, CANCELLED, abandon),
	EDGE(COPYING, CONVERGED, STOPPING, NULL),
	EDGE(COPYING, FAILED, FAILED, abandon),
	EDGE(COPYING, CANCEL, CANCELLED, abandon),
	EDGE(STOPPING, STATE_SENT, PREPARING, NULL),
	EDGE(STOPPING, FAILED, RETURNING, abandon),
	EDGE(STOPPING, CAP, RETURNING, abandon),
	EDGE(STOPPING, CANCEL, RETURNING, abandon),
	EDGE(PREPARING, PREPARED, COMMITTING, NULL),
	EDGE(PREPARING, FAILED, RETURNING, abandon),
	EDGE(PREPARING, CAP, RETURNING, abandon),
	EDGE(PREPARING, CANCEL, RETURNING, abandon),
	EDGE(COMMITTING, RUNNING, COMPLETED, say_bye),
	EDGE(COMMITTING, INCOMPLETE, SERVING, NULL),
	EDGE(COMMITTING, DEAD, RETURNING, NULL),
	EDGE(COMMITTING, LOST, ASKING, hang_up),
	EDGE(ASKING, RUNNING, COMPLETED, say_bye),
	EDGE(ASKING, INCOMPLETE, SEVERED, hang_up),
	EDGE(ASKING, DEAD, RETURNING, NULL),
	EDGE(ASKING, PREPARED, COMMITTING, NULL),
	EDGE(ASKING, SILENT, UNKNOWN, NULL),
	EDGE(SERVING, FETCHED, COMPLETED, say_bye),
	EDGE(SERVING, LOST, SEVERED, hang_up),
	EDGE(SERVING, DEAD, BROKEN, NULL),
	EDGE(SERVING, GIVEN_UP, BROKEN, hang_up),
	EDGE(SEVERED, RECOVERED, SERVING, NULL),
	EDGE(SEVERED, FETCHED, COMPLETED, say_bye),
	EDGE(SEVERED, DEAD, BROKEN, NULL),
	EDGE(SEVERED, GIVEN_UP, BROKEN, hang_up),
	EDGE(RETURNING, RESUMED, FAILED, NULL),
	EDGE(RETURNING, CANCEL, CANCELLED, NULL),
	EDGE(RETURNING, STUCK, STRANDED, NULL),
};

const struct machine source_machine = {
	.name = "source",
	.states = states,
	.nstates = ARRAY_SIZE(states),
	.events = events,
	.nevents = ARRAY_SIZE(events),
	.edges = edges,
	.nedges = ARRAY_SIZE(edges),
	.start = SOURCE_CONNECTING,
	/* never run a VM whose fate is not known */
	.bug = SOURCE_UNKNOWN,
};

/* -- the thread ------------------------------------------------------------ */

uint64_t source_wire_bytes(const struct migration_source *s)
{
	uint64_t sum = atomic_load(&s->control.sent) +
		       atomic_load(&s->control.received);

	for (unsigned int i = 0; i < s->nbulk; i++)
		sum += atomic_load(&s->bulk[i].sent);
	return sum + s->cut_bytes + atomic_load(&s->push.bytes) +
	       atomic_load(&s->push.channel.sent);
}

uint64_t source_sent_bytes(struct migration_source *s)
{
	struct migration_stats now;

	migration_source_stats(s, &now);
	return source_wire_bytes(s) + (now.compressed_pages << PAGE_SHIFT) -
	       now.compressed_bytes;
}

uint64_t source_disk_bytes(const struct migration_source *s)
{
	return atomic_load(&s->disks.channel.sent) +
	       atomic_load(&s->disks.channel.received);
}

static void tell(struct migration_source *s)
{
	struct migration_stats stats;

	migration_source_stats(s, &stats);
	if (s->cfg.notify)
		s->cfg.notify(s->cfg.arg, &stats);
}

static void entered(void *ctx, unsigned int state)
{
	struct migration_source *s = ctx;
	enum migration_stage stage = states[state].stage;

	log_debug(&s->cfg.vm->log, "migration: %s", states[state].name);
	migration_progress_stage(&s->progress, stage);
	if (stage != s->stage_told && states[state].work)
		tell(s);
	s->stage_told = stage;
}

static enum migration_outcome outcome_of(unsigned int state)
{
	switch (state) {
	case SOURCE_COMPLETED:
		return MIGRATION_COMPLETED;
	case SOURCE_CANCELLED:
		return MIGRATION_CANCELLED;
	case SOURCE_UNKNOWN:
	case SOURCE_BROKEN:
		return MIGRATION_UNKNOWN;
	default:
		return MIGRATION_FAILED;
	}
}

static void clean_up(struct migration_source *s)
{
	source_throttle(s, 0);
	source_postcopy_exit(s);
	if (s->ram_ready)
		ram_send_exit(&s->ram);
	s->ram_ready = false;
	disk_send_exit(&s->disks);
	for (unsigned int i = 0; i < s->nbulk; i++)
		channel_close(&s->bulk[i]);
	channel_close(&s->control);
}

/* What the other side may need, whoever it is that runs the VM. */
static bool is_needed(const struct migration_source *s, unsigned int final)
{
	return final == SOURCE_UNKNOWN && s->postcopy;
}

static unsigned int run_machine(struct migration_source *s)
{
	struct machine machine = source_machine;

	if (s->again)
		machine.start = SOURCE_ASKING;
	return machine_run(&machine, s, entered);
}

static void *source_thread(void *arg)
{
	struct migration_source *s = arg;
	unsigned int final = run_machine(s);
	bool failed = final != SOURCE_COMPLETED;

	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.wire_bytes = source_wire_bytes(s) +
				     source_disk_bytes(s);
	pthread_mutex_unlock(&s->progress.lock);
	if (is_needed(s, final))
		source_cut(s);
	else
		clean_up(s);
	if (final != SOURCE_UNKNOWN && final != SOURCE_STRANDED &&
	    final != SOURCE_BROKEN)
		record_done(&s->record);
	if (failed && !s->err.code)
		error_set(&s->err, EIO, "migration: no edge in the table");
	pthread_mutex_lock(&s->lock);
	s->over = true;
	s->needed = is_needed(s, final);
	pthread_mutex_unlock(&s->lock);
	migration_progress_end(&s->progress, outcome_of(final),
			       failed ? &s->err : NULL);
	tell(s);
	return NULL;
}

/* -- for everybody -------------------------------------------------------- */

void migration_params_init(struct migration_params *p)
{
	memset(p, 0, sizeof(*p));
	p->downtime_ms = 300;
	p->max_pause_ms = 500;
	p->on_timeout = POLICY_ABORT;
	p->resolve_s = 30;
}

static int params_check(const struct migration_params *p, struct error *err)
{
	if (p->channels > MIGRATION_MAX_CHANNELS)
		return error_set(err, EINVAL,
				 "channels is %u, accepted are 1 to %d, or 0: by CPUs",
				 p->channels, MIGRATION_MAX_CHANNELS);
	if (!p->max_pause_ms || !p->downtime_ms)
		return error_set(err, EINVAL,
				 "downtime and max-pause are at least 1 ms");
	if (p->compress && compress_check(err) < 0)
		return -err->code;
	if (p->local && (strncmp(p->uri, "unix:", 5) || p->security.tls))
		return error_set(err, EINVAL, "%s: on the same host (--local) it goes over unix:PATH, without TLS",
				 p->uri);
	if (p->local && p->dry_run)
		return error_set(err, EINVAL, "a dry run foresees how long copying takes; on the same host (--local) there is nothing to foresee");
	return channel_security_check(p->uri, &p->security, err);
}

static void source_free(struct migration_source *s)
{
	record_leave(&s->record);
	limiter_exit(&s->limiter);
	migration_progress_exit(&s->progress);
	pthread_mutex_destroy(&s->lock);
	fd_close(&s->cancel_fd);
	fd_close(&s->recover_fd);
	free(s->copy_disks);
	free(s);
}

static struct migration_source *source_new(
	const struct migration_source_config *cfg)
{
	struct migration_source *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->cfg = *cfg;
	s->ops = cfg->ops ? cfg->ops : &migration_vm_ops;
	strcpy(s->uri, cfg->params.uri);
	s->cfg.params.uri = s->uri;
	if (cfg->params.copy_disks)
		s->copy_disks = strdup(cfg->params.copy_disks);
	s->cfg.params.copy_disks = s->copy_disks;
	channel_init(&s->control);
	pinger_init(&s->pinger);
	disk_send_init(&s->disks);
	ram_push_init(&s->push);
	record_init(&s->record);
	for (unsigned int i = 0; i < MIGRATION_MAX_CHANNELS; i++)
		channel_init(&s->bulk[i]);
	limiter_init(&s->limiter, cfg->params.bandwidth);
	migration_progress_init(&s->progress);
	migration_progress_stage(&s->progress, states[SOURCE_CONNECTING].stage);
	s->progress.now.forecast = cfg->forecast;
	s->progress.now.compress = cfg->params.compress;
	s->progress.now.memory_total = cfg->vm->mem.size;
	s->progress.now.memory_remaining = cfg->vm->mem.size;
	pthread_mutex_init(&s->lock, NULL);
	s->cancel_fd = fd_event();
	s->recover_fd = fd_event();
	return s;
}

int migration_source_start(struct migration_source **out,
			   const struct migration_source_config *cfg,
			   struct error *err)
{
	struct migration_source *s;
	int ret = params_check(&cfg->params, err);

	if (ret < 0)
		return ret;
	s = source_new(cfg);
	if (!s)
		return error_set(err, ENOMEM, "no memory for a migration");
	if (s->cancel_fd < 0 || s->recover_fd < 0 || (cfg->params.copy_disks && !s->copy_disks) ||
	    getrandom(s->job.id, WIRE_JOB, 0) != WIRE_JOB ||
	    thread_start(&s->thread, "source", source_thread, s)) {
		source_free(s);
		return error_set(err, EAGAIN, "no thread for a migration");
	}
	*out = s;
	return 0;
}

int migration_source_cancel(struct migration_source *s, struct error *err)
{
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (s->over)
		ret = error_set(err, EALREADY, "the migration is over");
	else if (s->committed)
		ret = error_set(err, EALREADY,
				"too late to cancel: the destination was told to go");
	else
		s->cancelled = true;
	pthread_mutex_unlock(&s->lock);
	if (ret == 0)
		fd_event_signal(s->cancel_fd);
	return ret;
}

void migration_source_stats(struct migration_source *s,
			    struct migration_stats *out)
{
	migration_progress_get(&s->progress, out);
}

void migration_source_wait(struct migration_source *s)
{
	if (!s->joined)
		pthread_join(s->thread, NULL);
	s->joined = true;
}

/* It is not known where the VM runs, and the link may be back. */
int source_ask_again(struct migration_source *s, struct error *err)
{
	migration_source_wait(s);
	s->over = s->needed = s->joined = false;
	s->again = true;
	s->ask_deadline = 0;
	error_clear(&s->err);
	migration_progress_stage(&s->progress, MIGRATION_STAGE_COMMITMENT);
	migration_progress_end(&s->progress, MIGRATION_GOING_ON, NULL);
	if (!thread_start(&s->thread, "source", source_thread, s))
		return 0;
	s->over = s->needed = s->joined = true;
	migration_progress_end(&s->progress, MIGRATION_UNKNOWN, NULL);
	return error_set(err, EAGAIN, "no thread for a migration");
}

void source_dismiss(struct migration_source *s)
{
	migration_source_wait(s);
	if (s->needed)
		clean_up(s);
	s->needed = false;
}

void migration_source_destroy(struct migration_source *s)
{
	struct error ignored = ERROR_INIT;

	if (!s)
		return;
	if (migration_source_cancel(s, &ignored) < 0)
		migration_source_give_up(s);
	source_dismiss(s);
	source_free(s);
}
