/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory on its way out: rounds of dirty pages over the bulk channels.
 *
 * Pages go from guest memory to the socket without a copy or a header of their
 * own. A page is read only after its dirty bit was cleared and it was
 * protected again, so a write at any time is either in the bytes or in the
 * next round.
 *
 * Threads: the migration's thread calls; with several channels each further
 * one has a thread for as long as ram_send_pages() runs.
 */
#ifndef GODWIT_MIGRATION_RAM_SEND_H
#define GODWIT_MIGRATION_RAM_SEND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/limiter.h"
#include "migration/stats.h"
#include "migration/vm_ops.h"
#include "vmm/memory.h"

struct page_zero;
struct ram_worker;

/* Pages that are taken at a time in post-copy: somebody may wait for one. */
#define RAM_PUSH_CHUNK 64

struct ram_send {
	/* configuration */
	struct vm *vm;
	struct memory *mem;
	const struct migration_vm_ops *ops;
	struct migration_progress *progress;
	struct limiter *limiter;
	struct channel *channel;	/* array */
	unsigned int nchannels;
	unsigned int nsenders;		/* of them, for pages; 0: all */
	bool compress;			/* with zstd, as hard as it pays */
	int cancel_fd;
	/* asked now and then in the caller's thread; an error ends the round,
	 * -ETIME so that what was not sent yet stays dirty */
	int (*check)(void *arg, struct error *err);
	void *check_arg;

	/* owned */
	unsigned long *dirty[MEMORY_MAX_REGIONS];
	struct ram_worker *worker;	/* array, one a channel */
	uint64_t dirty_pages;		/* after ram_send_sync() */
	const struct page_zero *zero;	/* how zero pages are found */
	bool tracking;
	bool first;			/* nothing was sent yet */
	uint64_t deadline;		/* of the running ram_send_pages() */
	atomic_uint next_chunk;
	atomic_bool stop;		/* a worker failed: all end */
	/* post-copy: who takes a page's dirty bit, atomically, sends it */
	bool pushing;
	atomic_ullong left;		/* dirty pages that nobody took */
	atomic_llong wish;		/* chunk to go on at; -1: none */
	pthread_mutex_t clear_lock;	/* dirty_clear: one thread at a time */
};

/* The configuration is set, all else zero. Starts dirty tracking. */
int ram_send_init(struct ram_send *rs, struct error *err) __must_check;
void ram_send_exit(struct ram_send *rs);
/* Find out what is dirty; adds to what was not sent yet. */
int ram_send_sync(struct ram_send *rs, struct error *err) __must_check;
/* Count all as sent: what ram_send_sync() finds from now on is what the guest
 * wrote since. For measuring alone. */
int ram_send_forget(struct ram_send *rs, struct error *err) __must_check;
/* Send all that is dirty. */
int ram_send_pages(struct ram_send *rs, uint64_t deadline, struct error *err)
	__must_check;
/* @flags: RUN_LAST, RUN_POSTCOPY. */
int ram_send_fence(struct ram_send *rs, uint32_t round, unsigned int flags,
		   uint64_t deadline, struct error *err) __must_check;

/*
 * ram_push.c, post-copy: the guest is stopped here for good, and what is dirty is
 * sent while it runs elsewhere. push begins; then ram_send_pages() sends what nobody
 * took, beginning behind the page that was taken last.
 */
void ram_send_push(struct ram_send *rs);
/* Is this page still to be sent? Then it is the caller's. Any thread. */
bool ram_send_take(struct ram_send *rs, unsigned int region, uint64_t page);
/* Before that, in the first round: leave out what was never touched. */
void ram_send_leave_absent(struct ram_send *rs);

#endif
