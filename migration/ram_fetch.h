/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory that comes after its VM has started (post-copy), on the side
 * where it runs: which pages are missing, and who waits for one.
 *
 * A page is missing from the moment that ram_fetch_mark() threw away what was
 * in its place until ram_fetch_place() made it. Whoever touches it
 * meanwhile, a vCPU or this process, stands still in the kernel; the handler's
 * thread hears of it by userfaultfd and asks the source over the fault channel.
 * Every other page that is not there is one of zeroes.
 *
 * Threads: mark, start, cut, resume, finish and abandon by the destination's;
 * place by any of those that receive.
 */
#ifndef GODWIT_MIGRATION_RAM_FETCH_H
#define GODWIT_MIGRATION_RAM_FETCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/wire.h"
#include "vmm/memory.h"

#define RAM_FETCH_WAITERS 256

struct ram_fetch {
	struct memory *mem;		/* NULL: not in use */
	int uffd;			/* not owned */
	int event_fd;			/* a link failed, or nothing is missing */
	int wake_fd;			/* for the handler: end, or ask again */
	atomic_ulong *missing[MEMORY_MAX_REGIONS];
	atomic_ullong nmissing;		/* pages */
	pthread_t handler, reader;
	bool handling, reading;
	atomic_bool quit;
	pthread_mutex_t send_lock;	/* who writes to it, or replaces it */
	struct channel channel;		/* the fault channel; owned */

	pthread_mutex_t lock;		/* protects the rest */
	struct ram_fetch_wait {
		gpa_t gpa;
		uint64_t since;
		bool asked;		/* over the link of now */
	} wait[RAM_FETCH_WAITERS];
	unsigned int nwaits;
	bool linked;			/* the channel may be written to */
	struct wire_fetched told;	/* what waiting cost so far */
	int ret;			/* of the link */
	struct error err;
};

/* Not in use; every other call but init and mark is then harmless. */
void ram_fetch_clear(struct ram_fetch *rf);
/* @uffd is from userfault_open(). Nothing of guest memory is in use. */
int ram_fetch_init(struct ram_fetch *rf, struct memory *mem, int uffd,
		   struct error *err) __must_check;
/* Throw away what is in place of these pages, and count them as missing. The
 * VM has not run yet. */
int ram_fetch_mark(struct ram_fetch *rf, const struct wire_missing *m,
		   struct error *err) __must_check;
/* Take over @ch (its fd is then -1) and hear of faults. Again after a cut: what
 * was waited for is asked for anew. */
int ram_fetch_start(struct ram_fetch *rf, struct channel *ch,
		    struct error *err) __must_check;
/* Is there a fault channel? */
bool ram_fetch_linked(struct ram_fetch *rf);
/* 0, or -errno if the fault channel failed. */
int ram_fetch_check(struct ram_fetch *rf, struct error *err) __must_check;
/* Bytes that are still to come. */
uint64_t ram_fetch_missing(const struct ram_fetch *rf);
/* Of pages [gpa, gpa + npages * 4096), which are missing; false: none. */
bool ram_fetch_look(const struct ram_fetch *rf, unsigned int region,
		    uint64_t first, uint32_t npages, uint8_t *bits);
/* A run that came; @data is not in guest memory, NULL: zeroes. Outside of it:
 * -EPROTO. */
int ram_fetch_place(struct ram_fetch *rf, gpa_t gpa, uint32_t npages,
		    const void *data, struct error *err) __must_check;
/* What waiting cost so far. */
void ram_fetch_told(struct ram_fetch *rf, struct wire_fetched *out);
/* The link is gone: who waits goes on waiting. */
void ram_fetch_cut(struct ram_fetch *rf);
/* Nothing is missing any more: memory is as any other. */
void ram_fetch_finish(struct ram_fetch *rf);
/* The pages that are missing never come: who touches guest memory from now on,
 * or waits for it, fails, instead of finding zeroes. */
void ram_fetch_abandon(struct ram_fetch *rf);

#endif
