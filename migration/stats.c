/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/stats.h"

#include <string.h>

#include "vmm/base/util.h"

void migration_progress_init(struct migration_progress *p)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->started = now_ns();
	p->now.type = "pre-copy";
	p->now.stage = MIGRATION_STAGE_NONE;
	p->now.outcome = MIGRATION_GOING_ON;
}

void migration_progress_exit(struct migration_progress *p)
{
	pthread_mutex_destroy(&p->lock);
}

void migration_progress_get(struct migration_progress *p,
			    struct migration_stats *out)
{
	pthread_mutex_lock(&p->lock);
	*out = p->now;
	if (out->outcome == MIGRATION_GOING_ON)
		out->time_elapsed_us = (now_ns() - p->started) / NSEC_PER_USEC;
	pthread_mutex_unlock(&p->lock);
	out->data_processed = out->memory_processed;
	out->data_remaining = out->memory_remaining;
	out->data_total = out->memory_total;
	for (unsigned int i = 0; i < out->ndisks; i++) {
		const struct migration_disk_stats *d = &out->disk[i];

		out->data_processed += d->copied + d->zero + d->mirrored;
		out->data_remaining += d->remaining;
		out->data_total += d->total;
	}
}

void migration_progress_stage(struct migration_progress *p,
			      enum migration_stage stage)
{
	pthread_mutex_lock(&p->lock);
	p->now.stage = stage;
	pthread_mutex_unlock(&p->lock);
}

void migration_progress_end(struct migration_progress *p,
			    enum migration_outcome outcome,
			    const struct error *err)
{
	pthread_mutex_lock(&p->lock);
	p->now.outcome = outcome;
	p->now.time_elapsed_us = (now_ns() - p->started) / NSEC_PER_USEC;
	if (err)
		p->now.error = *err;
	pthread_mutex_unlock(&p->lock);
}

const char *migration_stage_name(enum migration_stage stage)
{
	static const char *const name[] = {
		[MIGRATION_STAGE_NONE] = "none",
		[MIGRATION_STAGE_PRE_MIGRATION] = "pre-migration",
		[MIGRATION_STAGE_RESERVATION] = "reservation",
		[MIGRATION_STAGE_PRECOPY] = "iterative pre-copy",
		[MIGRATION_STAGE_STOP_AND_COPY] = "stop-and-copy",
		[MIGRATION_STAGE_COMMITMENT] = "commitment",
		[MIGRATION_STAGE_POSTCOPY] = "post-copy",
		[MIGRATION_STAGE_CLEAN_UP] = "clean-up",
	};

	return stage && stage < ARRAY_SIZE(name) ? name[stage] : "none";
}

const char *migration_outcome_name(enum migration_outcome outcome)
{
	static const char *const name[] = {
		[MIGRATION_GOING_ON] = "going on",
		[MIGRATION_COMPLETED] = "completed",
		[MIGRATION_FAILED] = "failed",
		[MIGRATION_CANCELLED] = "cancelled",
		[MIGRATION_UNKNOWN] = "unknown",
	};

	return outcome && outcome < ARRAY_SIZE(name) ? name[outcome] :
						       "going on";
}
