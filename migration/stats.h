/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a migration tells about itself: a snapshot that any thread may take at
 * any time, on either side.
 */
#ifndef GODWIT_MIGRATION_STATS_H
#define GODWIT_MIGRATION_STATS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/forecast.h"
#include "migration/wire.h"
#include "vmm/base/error.h"
#include "vmm/vm.h"

/* The stages that users see, in their order (Clark et al., NSDI 2005). */
enum migration_stage {
	MIGRATION_STAGE_NONE = 1,
	MIGRATION_STAGE_PRE_MIGRATION,	/* connecting */
	MIGRATION_STAGE_RESERVATION,	/* the destination builds the VM */
	MIGRATION_STAGE_PRECOPY,	/* the guest runs, memory follows it */
	MIGRATION_STAGE_STOP_AND_COPY,	/* the guest is stopped */
	MIGRATION_STAGE_COMMITMENT,	/* GO was said */
	MIGRATION_STAGE_POSTCOPY,	/* it runs there, memory follows it */
	MIGRATION_STAGE_CLEAN_UP,
};

/* How it ended. */
enum migration_outcome {
	MIGRATION_GOING_ON = 1,
	MIGRATION_COMPLETED,
	MIGRATION_FAILED,		/* the VM is where it was */
	MIGRATION_CANCELLED,
	MIGRATION_UNKNOWN,		/* after GO, nobody answers: see error */
};

/* The pause by step, microseconds. Those marked D are measured there. */
struct migration_pause {
	uint64_t stop_vcpus;
	uint64_t drain_disks;
	uint64_t last_pages;		/* dirty pages left at the pause */
	uint64_t last_blocks;		/* of disks, beyond the pages' time */
	uint64_t save_state;
	uint64_t deactivate;		/* flush disks, give up their locks */
	uint64_t send_state;
	uint64_t prepared;		/* STATE sent until PREPARED was here */
	uint64_t last_fence;		/* D, part of prepared: pages arriving */
	uint64_t load_state;		/* D, part of prepared */
	uint64_t activate;		/* D, part of prepared: disk locks */
	uint64_t go;			/* GO sent until RUNNING was here */
	uint64_t run;			/* D, part of go */
};

/* Of a guest that runs on the other side before its memory is there. */
enum migration_link {
	MIGRATION_LINK_NONE,		/* not that */
	MIGRATION_LINK_UP,
	MIGRATION_LINK_LOST,		/* both sides wait for a new one */
	MIGRATION_LINK_RECOVERING,
};

struct migration_postcopy {
	enum migration_link link;
	uint64_t pages;		/* that were missing when it started there */
	uint64_t requests;	/* pages that were asked for */
	uint32_t recoveries;	/* links that were lost, and replaced */
	struct wire_fetched waits;	/* faults is 0 until it is told */
	struct error lost;	/* why the link was lost, or is not back */
};

#define MIGRATION_MAX_DISKS 16

/* One vCPU, as of the last round. */
struct migration_vcpu_stats {
	uint64_t dirty_rate;	/* pages/s */
	uint32_t throttle;	/* percent of the time that it rests */
};

/* A disk that is copied along; bytes. */
struct migration_disk_stats {
	char id[64];
	uint64_t total;
	uint64_t remaining;	/* of this round */
	uint64_t copied;	/* data of all rounds */
	uint64_t zero;		/* holes and zeroes, told of only */
	uint64_t mirrored;	/* what the guest wrote from then on */
	uint64_t verified;	/* compared by reading both sides */
	uint64_t bandwidth;	/* bytes/s of the last round */
	uint32_t rounds;
};

enum migration_foreseer {
	MIGRATION_BY_NOBODY,
	MIGRATION_BY_DRY_RUN,
	MIGRATION_BY_FIRST_ROUND,
};

/* How it was thought that it would go. */
struct migration_forecast {
	enum migration_foreseer by;
	struct forecast run;
	struct forecast_needs needs;	/* by a dry run that does not converge */
};

struct migration_stats {
	const char *type;		/* "pre-copy"; "local": handed over */
	enum migration_stage stage;
	enum migration_outcome outcome;
	uint64_t time_elapsed_us;
	uint64_t setup_time_us;		/* connect, offer, build */
	/* Bytes; data is memory and disks. */
	uint64_t data_processed, data_remaining, data_total;
	uint64_t memory_processed, memory_remaining, memory_total;
	uint64_t memory_bandwidth;	/* bytes/s of the last round */
	uint64_t dirty_rate;		/* pages/s that the guest dirties */
	uint64_t constant_pages;	/* zero pages, header only */
	uint64_t absent_pages;		/* never touched, not even looked at */
	uint64_t normal_pages;
	uint64_t normal_bytes;
	bool compress;			/* was asked for */
	uint64_t compressed_pages;	/* of the normal ones */
	uint64_t compressed_bytes;	/* what those became */
	uint64_t wire_bytes;		/* both directions, all channels */
	uint32_t channels;		/* for memory */
	uint32_t senders;		/* of them, beside the guest, lately */
	uint32_t iteration;
	uint32_t throttle;		/* of the vCPUs now, percent */
	uint32_t most_throttle;		/* the most that there was */
	uint64_t expected_downtime_us;
	uint64_t downtime_us;
	struct migration_pause pause;
	struct migration_disk_stats disk[MIGRATION_MAX_DISKS];
	unsigned int ndisks;
	struct migration_vcpu_stats vcpu[VM_MAX_VCPUS];
	unsigned int nvcpus;		/* 0: they can't be told apart */
	struct migration_forecast forecast;
	struct migration_postcopy postcopy;
	struct error error;		/* why it failed; code 0 if it did not */
};

/* The live copy. lock protects all of now. */
struct migration_progress {
	pthread_mutex_t lock;
	uint64_t started;		/* now_ns() */
	struct migration_stats now;
};

void migration_progress_init(struct migration_progress *p);
void migration_progress_exit(struct migration_progress *p);
/* A consistent copy, with time_elapsed filled in. Any thread. */
void migration_progress_get(struct migration_progress *p,
			    struct migration_stats *out);
void migration_progress_stage(struct migration_progress *p,
			      enum migration_stage stage);
/* Set the outcome, the time elapsed, and the reason if @err is not NULL. */
void migration_progress_end(struct migration_progress *p,
			    enum migration_outcome outcome,
			    const struct error *err);

const char *migration_stage_name(enum migration_stage stage);
const char *migration_outcome_name(enum migration_outcome outcome);

#endif
