/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/destination.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "migration/destination_private.h"
#include "migration/machine.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

static const struct machine_state states[DESTINATION_NSTATES] = {
	[DESTINATION_LISTENING] = { "LISTENING", "waits for a source",
		MIGRATION_STAGE_NONE, destination_listening, true, DISKS_FREE },
	[DESTINATION_NEGOTIATING] = { "NEGOTIATING",
		"reads the offer, builds the VM, takes the bulk channels",
		MIGRATION_STAGE_RESERVATION, destination_negotiating, true,
		DISKS_FREE },
	[DESTINATION_RECEIVING] = { "RECEIVING", "receives rounds of pages",
		MIGRATION_STAGE_PRECOPY, destination_receiving, true,
		DISKS_FREE },
	[DESTINATION_LOADING] = { "LOADING", "loads state, takes disk locks",
		MIGRATION_STAGE_STOP_AND_COPY, destination_loading, true,
		DISKS_MOVING },
	[DESTINATION_PREPARED] = { "PREPARED", "waits for GO",
		MIGRATION_STAGE_COMMITMENT, destination_prepared, true,
		DISKS_HELD },
	[DESTINATION_ORPHANED] = { "ORPHANED",
		"link lost without GO: waits for a QUERY",
		MIGRATION_STAGE_COMMITMENT, destination_orphaned, true,
		DISKS_HELD },
	[DESTINATION_STARTING] = { "STARTING", "GO came: runs the VM",
		MIGRATION_STAGE_COMMITMENT, destination_starting, false,
		DISKS_HELD },
	[DESTINATION_FETCHING] = { "FETCHING",
		"the VM runs; the rest of its memory follows",
		MIGRATION_STAGE_POSTCOPY, destination_fetching, false,
		DISKS_HELD },
	[DESTINATION_SEVERED] = { "SEVERED",
		"the link was lost meanwhile: waits for the source",
		MIGRATION_STAGE_POSTCOPY, destination_severed, false,
		DISKS_HELD },
	[DESTINATION_LINGERING] = { "LINGERING",
		"the VM runs; answers RUNNING until BYE",
		MIGRATION_STAGE_CLEAN_UP, destination_lingering, false,
		DISKS_HELD },
	[DESTINATION_DISCARDING] = { "DISCARDING",
		"destroys the copy, then tells the source",
		MIGRATION_STAGE_CLEAN_UP, destination_discarding, false,
		DISKS_MOVING },
	[DESTINATION_MOURNING] = { "MOURNING",
		"the copy is destroyed; answers DEAD for a while",
		MIGRATION_STAGE_CLEAN_UP, destination_mourning, false,
		DISKS_FREE },
	[DESTINATION_RUNS] = { "RUNS", "the VM runs here",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_HELD },
	[DESTINATION_ENDED] = { "ENDED", "no VM came",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_FREE },
	[DESTINATION_BROKEN] = { "BROKEN",
		"the VM ended here before its memory was here",
		MIGRATION_STAGE_CLEAN_UP, NULL, false, DISKS_HELD },
};

static const char *const events[DESTINATION_NEVENTS] = {
	[DESTINATION_EV_HELLO] = "HELLO",
	[DESTINATION_EV_READY] = "all channels there",
	[DESTINATION_EV_STATE] = "STATE and all pages",
	[DESTINATION_EV_PREPARED] = "locks held",
	[DESTINATION_EV_GO] = "GO",
	[DESTINATION_EV_RUNNING] = "runs",
	[DESTINATION_EV_CANCEL] = "CANCEL",
	[DESTINATION_EV_FAILED] = "failed or refused",
	[DESTINATION_EV_LOST] = "link lost",
	[DESTINATION_EV_QUERY] = "QUERY",
	[DESTINATION_EV_EXPIRED] = "no GO in time",
	[DESTINATION_EV_STOP] = "told to end",
	[DESTINATION_EV_AGAIN] = "listen again",
	[DESTINATION_EV_MOURN] = "once, source may ask",
	[DESTINATION_EV_OVER] = "over",
	[DESTINATION_EV_INCOMPLETE] = "runs, pages are missing",
	[DESTINATION_EV_FETCHED] = "all pages are there",
	[DESTINATION_EV_RECOVERED] = "link is back",
};

#define EDGE(s, e, n) \
	MACHINE_EDGE(DESTINATION_##s, DESTINATION_EV_##e, DESTINATION_##n, NULL)
#define BREAK(s) \
	{ DESTINATION_##s, DESTINATION_EV_STOP, DESTINATION_BROKEN, \
	  destination_break, "give_up" }

static const struct machine_edge edges[] = {
	EDGE(LISTENING, HELLO, NEGOTIATING),
	EDGE(LISTENING, STOP, ENDED),
	EDGE(NEGOTIATING, READY, RECEIVING),
	EDGE(NEGOTIATING, FAILED, DISCARDING),
	EDGE(NEGOTIATING, CANCEL, DISCARDING),
	EDGE(NEGOTIATING, STOP, DISCARDING),
	EDGE(RECEIVING, STATE, LOADING),
	EDGE(RECEIVING, FAILED, DISCARDING),
	EDGE(RECEIVING, CANCEL, DISCARDING),
	EDGE(RECEIVING, STOP, DISCARDING),
	EDGE(LOADING, PREPARED, PREPARED),
	EDGE(LOADING, FAILED, DISCARDING),
	EDGE(LOADING, CANCEL, DISCARDING),
	EDGE(LOADING, STOP, DISCARDING),
	EDGE(PREPARED, GO, STARTING),
	EDGE(PREPARED, LOST, ORPHANED),
	EDGE(PREPARED, CANCEL, DISCARDING),
	EDGE(PREPARED, FAILED, DISCARDING),
	EDGE(PREPARED, EXPIRED, DISCARDING),
	EDGE(PREPARED, STOP, DISCARDING),
	EDGE(ORPHANED, QUERY, PREPARED),
	EDGE(ORPHANED, CANCEL, DISCARDING),
	EDGE(ORPHANED, EXPIRED, DISCARDING),
	EDGE(ORPHANED, STOP, DISCARDING),
	EDGE(STARTING, RUNNING, LINGERING),
	EDGE(STARTING, FAILED, DISCARDING),
	EDGE(STARTING, INCOMPLETE, FETCHING),
	EDGE(FETCHING, FETCHED, LINGERING),
	EDGE(FETCHING, LOST, SEVERED),
	BREAK(FETCHING),
	EDGE(SEVERED, RECOVERED, FETCHING),
	EDGE(SEVERED, FETCHED, LINGERING),
	BREAK(SEVERED),
	EDGE(LINGERING, OVER, RUNS),
	EDGE(LINGERING, STOP, RUNS),
	EDGE(DISCARDING, AGAIN, LISTENING),
	EDGE(DISCARDING, MOURN, MOURNING),
	EDGE(DISCARDING, OVER, ENDED),
	EDGE(DISCARDING, STOP, ENDED),
	EDGE(MOURNING, OVER, ENDED),
	EDGE(MOURNING, STOP, ENDED),
};

const struct machine destination_machine = {
	.name = "destination",
	.states = states,
	.nstates = ARRAY_SIZE(states),
	.events = events,
	.nevents = ARRAY_SIZE(events),
	.edges = edges,
	.nedges = ARRAY_SIZE(edges),
	.start = DESTINATION_LISTENING,
	.bug = DESTINATION_DISCARDING,
};

void destination_tell(struct migration_destination *d)
{
	struct migration_stats stats;

	migration_destination_stats(d, &stats);
	if (d->cfg.notify)
		d->cfg.notify(d->cfg.arg, &stats);
}

/* A new attempt: numbers and errors start afresh. */
static void renew(struct migration_destination *d)
{
	struct migration_progress *p = &d->progress;

	error_clear(&d->err);
	d->accepted = false;
	d->wanted.n = 0;
	d->memory.size = 0;
	d->prepared = false;
	pthread_mutex_lock(&p->lock);
	memset(&p->now, 0, sizeof(p->now));
	p->now.type = "pre-copy";
	p->now.outcome = MIGRATION_GOING_ON;
	p->started = now_ns();
	pthread_mutex_unlock(&p->lock);
}

static void entered(void *ctx, unsigned int state)
{
	struct migration_destination *d = ctx;
	enum migration_stage stage = states[state].stage;

	log_debug(&d->cfg.log, "incoming migration: %s", states[state].name);
	if (state == DESTINATION_NEGOTIATING)
		renew(d);
	migration_progress_stage(&d->progress, stage);
	if (state == DESTINATION_LINGERING)
		migration_progress_end(&d->progress, MIGRATION_COMPLETED,
				       NULL);
	if (stage != d->stage_told && state != DESTINATION_DISCARDING &&
	    state != DESTINATION_LISTENING && states[state].work)
		destination_tell(d);
	d->stage_told = stage;
}

static void *destination_thread(void *arg)
{
	struct migration_destination *d = arg;
	bool broken = machine_run(&destination_machine, d, entered) ==
		      DESTINATION_BROKEN;

	if (d->ram_ready)
		ram_recv_exit(&d->ram);
	d->ram_ready = false;
	disk_recv_exit(&d->disks);
	channel_close(&d->fault);
	/* the source knows, or had all the time it has to ask */
	if (broken)
		record_leave(&d->record);
	else
		record_done(&d->record);
	channel_close(&d->control);
	door_close(&d->door);
	return NULL;
}

unsigned int destination_event(struct migration_destination *d,
			       unsigned int event)
{
	return channel_wait_fd(d->stop_fd, POLLIN, -1, now_ns()) == 0 ?
			DESTINATION_EV_STOP : event;
}

int migration_destination_start(struct migration_destination **out,
				const struct migration_destination_config *cfg,
				struct error *err)
{
	struct migration_destination *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return error_set(err, ENOMEM, "no memory for a migration");
	d->cfg = *cfg;
	if (!cfg->userfault_fd)
		d->cfg.userfault_fd = -1;
	d->cfg.go_wait_ms = cfg->go_wait_ms ? cfg->go_wait_ms : 5000;
	d->cfg.linger_ms = cfg->linger_ms ? cfg->linger_ms : 30000;
	d->ops = cfg->ops ? cfg->ops : &migration_vm_ops;
	channel_init(&d->control);
	channel_init(&d->fault);
	ram_fetch_clear(&d->fetch);
	disk_recv_init(&d->disks);
	record_init(&d->record);
	migration_progress_init(&d->progress);
	d->stop_fd = fd_event();
	d->keeper_fd = d->memory_fd = -1;
	ret = door_open(&d->door, cfg->uri, &cfg->security, &d->cfg.log,
			d->stop_fd, err);
	if (ret == 0 && thread_start(&d->thread, "destination", destination_thread, d))
		ret = error_set(err, EAGAIN, "no thread for a migration");
	if (ret == 0) {
		*out = d;
		return 0;
	}
	door_close(&d->door);
	migration_progress_exit(&d->progress);
	fd_close(&d->stop_fd);
	free(d);
	return ret;
}

const char *migration_destination_uri(const struct migration_destination *d)
{
	return d->door.listener.uri;
}

void migration_destination_stats(struct migration_destination *d,
				 struct migration_stats *out)
{
	migration_progress_get(&d->progress, out);
}

void migration_destination_destroy(struct migration_destination *d)
{
	if (!d)
		return;
	fd_event_signal(d->stop_fd);
	pthread_join(d->thread, NULL);
	migration_progress_exit(&d->progress);
	fd_close(&d->stop_fd);
	free(d);
}
