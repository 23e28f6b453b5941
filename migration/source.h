/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The side that a VM leaves. A migration runs in a thread of its own from
 * migration_source_start() until it has an outcome; see PROTOCOL.md.
 *
 * Until GO the VM is this side's: whatever fails, it runs on here. After GO
 * it is resumed here only if the destination says that its copy is dead.
 */
#ifndef GODWIT_MIGRATION_SOURCE_H
#define GODWIT_MIGRATION_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/channel.h"
#include "migration/channels.h"
#include "migration/policy.h"
#include "migration/stats.h"
#include "migration/vm_ops.h"
#include "vmm/base/error.h"

struct vm;
struct migration_source;

#define MIGRATION_MAX_CHANNELS CHANNELS_MAX

struct migration_params {
	const char *uri;	/* tcp:HOST:PORT, unix:PATH */
	struct channel_security security;
	uint32_t downtime_ms;	/* stop when the pause is predicted below */
	uint32_t max_pause_ms;	/* hard cap by the clock, up to GO */
	uint64_t bandwidth;	/* bytes/s, 0 = unlimited */
	unsigned int channels;	/* bulk connections, up to MAX_CHANNELS; 0:
				 * by the CPUs of both sides */
	uint32_t timeout_s;	/* for all before the pause, 0 = none */
	uint32_t ramp_s;	/* the wish grows to downtime_ms, 0 = at once */
	enum policy_timeout on_timeout;
	bool dry_run;		/* measure, foresee, move nothing: CANCELLED */
	/* To a process on this host, over unix:PATH without TLS: shared memory
	 * is handed over as it is, other memory copied as ever. */
	bool local;
	bool auto_converge;	/* throttle a guest that is too busy */
	bool postcopy;		/* start it there when rounds don't help */
	uint32_t resolve_s;	/* how long to ask after a link lost at GO */
	/* Disks to copy along: ids with commas between, or "all". NULL: none,
	 * the other side reaches them by itself. */
	const char *copy_disks;
	bool verify;		/* compare them before the pause */
	bool compress;		/* memory, by zstd, as hard as it pays */
};

/* The defaults: 300 ms, 500 ms, unlimited, by CPUs, none, none, abort, off, 30 s. */
void migration_params_init(struct migration_params *p);

struct migration_source_config {
	struct vm *vm;
	struct migration_params params;		/* strings are copied */
	const struct migration_vm_ops *ops;	/* NULL: the real ones */
	struct migration_forecast forecast;	/* by a dry run; else zero */
	const char *record_dir;		/* see record.h; NULL: no record */
	/*
	 * The stage changed, or (outcome no longer GOING_ON) it is over; the
	 * last call. In the migration's thread, which holds no lock: may post
	 * to the loop, must not call wait or destroy.
	 */
	void (*notify)(void *arg, const struct migration_stats *stats);
	void *arg;
};

/* Errors here are wrong parameters; all else is told by notify. */
int migration_source_start(struct migration_source **out,
			   const struct migration_source_config *cfg,
			   struct error *err) __must_check;
/* Any thread. -EALREADY after GO ("too late") or when it is over. */
int migration_source_cancel(struct migration_source *s, struct error *err);
/* Start the guest there as soon as may be, its memory follows. Any thread.
 * -EALREADY when it is too late for that. */
int migration_source_switch(struct migration_source *s, struct error *err)
	__must_check;
/* In post-copy, when the link was lost: connect again, to @uri (NULL: where it
 * was); also when nobody answered after GO, and it is over, unknown: ask again.
 * stats tell how it goes. One thread at a time. -EINVAL: no link was lost. */
int migration_source_recover(struct migration_source *s, const char *uri,
			     struct error *err) __must_check;
/* In post-copy: never mind the rest, whoever needs it. Any thread. */
void migration_source_give_up(struct migration_source *s);
void migration_source_stats(struct migration_source *s,
			    struct migration_stats *out);
/* Until it is over. Not in the loop's thread: the migration needs the loop. */
void migration_source_wait(struct migration_source *s);
/*
 * Outcome UNKNOWN, or FAILED with the VM still paused: the operator says that
 * the VM does not run on the other side. Takes the disk locks and runs it
 * here. Not in the loop's thread.
 */
int migration_source_take_back(struct migration_source *s, struct error *err)
	__must_check;
/* The VM runs here again, by somebody else's word: the record is removed. */
void migration_source_settled(struct migration_source *s);
/* Cancels if it still can, waits, frees. The loop's thread may call it only
 * after the last notify. */
void migration_source_destroy(struct migration_source *s);

#endif
