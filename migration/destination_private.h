/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the destination; nobody else includes it. */
#ifndef GODWIT_MIGRATION_DESTINATION_PRIVATE_H
#define GODWIT_MIGRATION_DESTINATION_PRIVATE_H

#include <pthread.h>

#include "migration/channel.h"
#include "migration/destination.h"
#include "migration/disk_recv.h"
#include "migration/door.h"
#include "migration/message.h"
#include "migration/ram_fetch.h"
#include "migration/ram_recv.h"
#include "migration/record.h"
#include "migration/wire.h"

enum destination_state {
	DESTINATION_LISTENING = 1,
	DESTINATION_NEGOTIATING,
	DESTINATION_RECEIVING,
	DESTINATION_LOADING,
	DESTINATION_PREPARED,
	DESTINATION_ORPHANED,
	DESTINATION_STARTING,
	DESTINATION_FETCHING,
	DESTINATION_SEVERED,
	DESTINATION_LINGERING,
	DESTINATION_DISCARDING,
	DESTINATION_MOURNING,
	DESTINATION_RUNS,
	DESTINATION_ENDED,
	DESTINATION_BROKEN,
	DESTINATION_NSTATES
};

enum destination_event {
	DESTINATION_EV_HELLO = 1,
	DESTINATION_EV_READY,
	DESTINATION_EV_STATE,
	DESTINATION_EV_PREPARED,
	DESTINATION_EV_GO,
	DESTINATION_EV_RUNNING,
	DESTINATION_EV_CANCEL,
	DESTINATION_EV_FAILED,
	DESTINATION_EV_LOST,
	DESTINATION_EV_QUERY,
	DESTINATION_EV_EXPIRED,
	DESTINATION_EV_STOP,
	DESTINATION_EV_AGAIN,
	DESTINATION_EV_MOURN,
	DESTINATION_EV_OVER,
	DESTINATION_EV_INCOMPLETE,
	DESTINATION_EV_FETCHED,
	DESTINATION_EV_RECOVERED,
	DESTINATION_NEVENTS
};

struct migration_destination {
	struct migration_destination_config cfg;
	const struct migration_vm_ops *ops;
	struct door door;		/* also the keeper's, while there is one */
	pthread_t thread;
	int stop_fd;
	pthread_t keeper;		/* tells visitors that it is busy */
	int keeper_fd;			/* ends that; -1: nobody is there */
	struct migration_progress progress;

	/* the destination's thread alone */
	struct channel control;
	struct wire_job job;
	struct wire_offer offer;	/* its tree is not kept */
	unsigned int channels;		/* granted */
	struct vm *vm;
	struct record record;
	struct ram_recv ram;
	bool ram_ready;
	struct ram_fetch fetch;		/* post-copy; else not in use */
	struct channel fault;		/* for it, until it is taken over; the
					 * keeper's, while there is one */
	struct disk_recv disks;
	struct wire_disks wanted;	/* DISKS; n 0: none came */
	struct wire_memory memory;	/* MEMORY; size 0: none came */
	int memory_fd;			/* what came with it, until it is mapped */
	bool accepted;			/* ACCEPT was sent: DEAD, not REFUSE */
	bool prepared;			/* PREPARED was sent */
	struct message state;		/* STATE, kept until loaded */
	uint64_t state_came;
	struct wire_state state_head;
	struct wire_prepared answer;
	struct wire_running running;
	uint64_t go_deadline;
	struct wire_job dead;		/* the last job that was PREPARED */
	uint64_t dead_until;		/* answer DEAD for it until then */
	enum migration_stage stage_told;
	struct error err;
};

/* The work of each state; returns an event. */
unsigned int destination_listening(void *ctx);
unsigned int destination_negotiating(void *ctx);
unsigned int destination_receiving(void *ctx);
unsigned int destination_loading(void *ctx);
unsigned int destination_prepared(void *ctx);
unsigned int destination_orphaned(void *ctx);
unsigned int destination_starting(void *ctx);
unsigned int destination_fetching(void *ctx);
unsigned int destination_severed(void *ctx);
unsigned int destination_lingering(void *ctx);
unsigned int destination_discarding(void *ctx);
unsigned int destination_mourning(void *ctx);

/* What an offer may say before anything is built from it. */
int destination_check_offer(const struct wire_offer *offer, struct error *err);
/* EV_STOP if the process ends, else @event. */
unsigned int destination_event(struct migration_destination *d,
			       unsigned int event);
/* Do @work, which may take long, while the source is given signs of life. */
int destination_watched(struct migration_destination *d,
			int (*work)(struct migration_destination *d));

/* An action: the VM can't go on without the memory that never came. */
void destination_break(void *ctx);
/* MISSING came: throw those pages away, the source will send them again. */
int destination_mark_missing(struct migration_destination *d,
			     const struct message *m);
/* All memory is here: it is as any other from now on. */
void destination_memory_is_here(struct migration_destination *d);
/* notify */
void destination_tell(struct migration_destination *d);
/* RUNNING, with what is missing now. */
int destination_send_running(struct migration_destination *d,
			     struct channel *ch);
/* Take the channels that the source opens, in the time that they have. */
int destination_accept_channels(struct migration_destination *d);

/* When the source was heard of last, and what of its pages had come then. */
struct destination_heard {
	uint64_t at;
	uint64_t bytes;
};

/* Wait for a message (1), a fence or a page (0), or the end: -errno, d->err. */
int destination_wait_news(struct migration_destination *d,
			  struct destination_heard *heard);
/* A visitor's QUERY: does it ask for @job? It is told REFUSE if not. */
bool destination_asked(struct migration_destination *d, struct channel *ch,
		       const struct wire_job *job);
/*
 * From RECEIVING on, the destination's thread has no time for visitors: another
 * one tells them so, until somebody may come with a QUERY, or the job is over.
 */
void destination_keep_door(struct migration_destination *d);
void destination_leave_door(struct migration_destination *d);
/* Close so that what was sent last is read by the other side. */
void destination_part(struct channel *ch);

#endif
