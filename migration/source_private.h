/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the source; nobody else includes it. */
#ifndef GODWIT_MIGRATION_SOURCE_PRIVATE_H
#define GODWIT_MIGRATION_SOURCE_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/disk_send.h"
#include "migration/limiter.h"
#include "migration/pinger.h"
#include "migration/policy.h"
#include "migration/ram_push.h"
#include "migration/ram_send.h"
#include "migration/record.h"
#include "migration/source.h"
#include "migration/vcpus.h"
#include "migration/wire.h"

enum source_state {
	SOURCE_CONNECTING = 1,
	SOURCE_OFFERING,
	SOURCE_COPYING,
	SOURCE_STOPPING,
	SOURCE_PREPARING,
	SOURCE_COMMITTING,
	SOURCE_ASKING,
	SOURCE_SERVING,
	SOURCE_SEVERED,
	SOURCE_RETURNING,
	SOURCE_COMPLETED,
	SOURCE_FAILED,
	SOURCE_CANCELLED,
	SOURCE_STRANDED,
	SOURCE_UNKNOWN,
	SOURCE_BROKEN,
	SOURCE_NSTATES
};

enum source_event {
	SOURCE_EV_CONNECTED = 1,
	SOURCE_EV_ACCEPTED,
	SOURCE_EV_CONVERGED,
	SOURCE_EV_STATE_SENT,
	SOURCE_EV_PREPARED,
	SOURCE_EV_RUNNING,
	SOURCE_EV_DEAD,
	SOURCE_EV_FAILED,
	SOURCE_EV_CAP,
	SOURCE_EV_CANCEL,
	SOURCE_EV_LOST,
	SOURCE_EV_SILENT,
	SOURCE_EV_RESUMED,
	SOURCE_EV_STUCK,
	SOURCE_EV_INCOMPLETE,
	SOURCE_EV_FETCHED,
	SOURCE_EV_RECOVERED,
	SOURCE_EV_GIVEN_UP,
	SOURCE_NEVENTS
};

struct migration_source {
	struct migration_source_config cfg;
	const struct migration_vm_ops *ops;
	char uri[CHANNEL_URI_MAX];
	char *copy_disks;		/* owned, of cfg */
	struct wire_job job;
	pthread_t thread;
	bool joined;

	/* the migration's thread alone */
	struct channel control;
	struct channel bulk[MIGRATION_MAX_CHANNELS];
	unsigned int nbulk;
	struct pinger pinger;		/* of control, while pages are sent */
	struct limiter limiter;
	struct ram_send ram;
	bool ram_ready;
	bool handed;			/* memory went as a file: no pages */
	struct disk_send disks;		/* none: disks.disks.n is 0 */
	struct policy policy;
	unsigned int throttle;		/* of the vCPUs now, percent */
	uint64_t vcpu_time;		/* that they have had, ns */
	uint64_t vcpu_time_at;		/* when that was asked */
	struct vcpu_loads loads;	/* of each, with rings */
	bool forced;			/* stopped however long it takes */
	uint64_t try_until;		/* a dry run's round ends here, 0: not */
	uint64_t rtt_ns;		/* of the control channel, at HELLO */
	uint32_t round;
	uint64_t synced;		/* when dirty pages were last asked */
	enum vm_state before;		/* when it was stopped */
	bool deactivated;		/* disk locks were given up */
	bool postcopy;			/* the rest of memory follows */
	unsigned long *told[MEMORY_MAX_REGIONS];	/* missing there; owned */
	struct ram_push push;
	uint32_t stop_round;		/* the last one before the guest ran there */
	uint64_t cut_bytes;		/* over links that were lost */
	struct record record;
	uint64_t paused;		/* when the pause began, 0: not yet */
	uint64_t pause_deadline;
	uint64_t ask_deadline;		/* for SOURCE_ASKING, 0: not set */
	enum migration_stage stage_told;
	struct error err;		/* why it fails */

	struct migration_progress progress;
	int cancel_fd;
	int recover_fd;			/* somebody wants a new link */
	atomic_bool switch_now;		/* to post-copy */
	pthread_mutex_t lock;		/* protects the rest, and uri */
	bool given_up;			/* nobody waits for the rest */
	bool severed;			/* a new link may be wanted */
	bool again;			/* it was UNKNOWN, and is asked anew */
	bool cancelled;
	bool committed;			/* GO may have been sent */
	bool over;
	bool needed;			/* over, and yet not cleaned up */
};

/* The work of each state; returns an event. */
unsigned int source_connecting(void *ctx);
unsigned int source_offering(void *ctx);
unsigned int source_copying(void *ctx);
unsigned int source_stopping(void *ctx);
unsigned int source_preparing(void *ctx);
unsigned int source_committing(void *ctx);
unsigned int source_asking(void *ctx);
unsigned int source_serving(void *ctx);
unsigned int source_severed(void *ctx);
unsigned int source_returning(void *ctx);

/* Hang up on all channels; what was told of memory there is told again. */
void source_cut(struct migration_source *s);
/* It is over, and nobody is to be served by it any more. */
void source_dismiss(struct migration_source *s);
/* An UNKNOWN one starts anew, by asking. */
int source_ask_again(struct migration_source *s, struct error *err);

/* The event for a step that failed with s->err. */
unsigned int source_event(struct migration_source *s);
/* Before the pause: replace s->err by the destination's reason, if it sent
 * one within @wait_ns. */
void source_explain(struct migration_source *s, uint64_t wait_ns);
/* Before the pause: the event, after a while for that reason to come. */
unsigned int source_failed(struct migration_source *s);
/* From here to unwatch() the control channel is the pinger's. */
void source_watch(struct migration_source *s);
/* @ret is what was done meanwhile; what the destination said explains it. */
int source_unwatch(struct migration_source *s, int ret);
/* A message of the destination that ends the job: into @err. */
int source_farewell(const struct message *m, struct error *err);
/* One QUERY over a new connection; an event, or 0 without an answer. */
unsigned int source_ask(struct migration_source *s, uint64_t deadline);
/* End a round, the number of which becomes the next, on every channel; back when
 * the destination has it all. */
int source_end_round(struct migration_source *s);
/* source_postcopy.c: connect the fault channel, say what is missing so far. */
int source_switch(struct migration_source *s);
/* In the pause: say what is missing besides; pages are answered for from now. */
int source_let_go(struct migration_source *s, uint64_t deadline);
void source_postcopy_exit(struct migration_source *s);
/* source_disks.c: name the disks that are copied, connect, copy until they are
 * mirrored. Each does nothing where none is copied. */
int source_disks_choose(struct migration_source *s);
int source_disks_offer(struct migration_source *s);
int source_disks_copy(struct migration_source *s);
/* source_memory.c: before OFFER, hand memory over if that was asked for and can
 * be; then there are no pages to send, s->handed. */
int source_memory_offer(struct migration_source *s);
/* Asked between chunks: time out, or word from the destination? */
int source_check(void *arg, struct error *err);
int source_connect(struct migration_source *s, struct channel *ch,
		   enum wire_role role, unsigned int number);
/* An answer came to what was sent at @since. */
void source_note_rtt(struct migration_source *s, uint64_t since);
/* Is the VM in a state in which it can be moved? */
int source_check_vm(struct migration_source *s);
/* A dry run, after its round: measure the guest, make the forecast. */
int source_try(struct migration_source *s, struct policy_round *line);
/* A forecast by the first round, if no dry run made one. */
void source_foresee(struct migration_source *s, const struct policy_round *r);
/* source_vcpus.c: what each vCPU dirties, if that can be known; after a sync.
 * Let the vCPUs rest, such that they dirty @percent less. */
void source_measure_vcpus(struct migration_source *s);
void source_throttle(struct migration_source *s, unsigned int percent);
/* How long have the vCPUs run by now? Before a round: by what they took since,
 * share the CPUs with them. */
void source_note_vcpus(struct migration_source *s);
void source_share_cpus(struct migration_source *s);
/* What memory took, and what disks did. */
uint64_t source_wire_bytes(const struct migration_source *s);
/* The same as if nothing had been compressed: what the policy counts in. */
uint64_t source_sent_bytes(struct migration_source *s);
uint64_t source_disk_bytes(const struct migration_source *s);

#endif
