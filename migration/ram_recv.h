/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory on its way in: a thread a bulk channel reads runs straight into
 * guest memory, until the last fence. Every header is checked; a bad one
 * ends that channel, which the control thread sees through event_fd.
 *
 * The memory is all zeroes at the start, so runs of zeroes cost only where
 * data had come before.
 */
#ifndef GODWIT_MIGRATION_RAM_RECV_H
#define GODWIT_MIGRATION_RAM_RECV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/channels.h"
#include "migration/compress.h"
#include "vmm/memory.h"

#define RAM_RECV_CHANNELS CHANNELS_MAX

struct ram_recv;
struct ram_fetch;

struct ram_recv_channel {
	struct ram_recv *rr;
	struct channel ch;		/* owned */
	pthread_t thread;
	bool started;
	uint8_t *bounce;		/* its thread's; owned; NULL until it is
					 * needed: frames, post-copy */
	struct compressor *zstd;	/* NULL until the first ZSTD run */
	/* under rr->lock */
	uint32_t fence;			/* last round that ended here */
	bool last;			/* by a LAST fence */
	bool fetching;			/* behind a POSTCOPY fence */
	int ret;
	struct error err;
};

struct ram_recv {
	struct memory *mem;
	unsigned int nchannels;
	bool compressed;		/* ZSTD runs may come; set before add */
	struct ram_recv_channel channel[RAM_RECV_CHANNELS];
	atomic_ulong *received[MEMORY_MAX_REGIONS];	/* page had data */
	atomic_ulong *populated[MEMORY_MAX_REGIONS];	/* 2 MiB blocks */
	atomic_ullong pages, zeroes;
	/* of post-copy; NULL: none */
	struct ram_fetch *fetch;
	uint32_t resumed;		/* the round behind which channels begin */
	bool shared;			/* the memory came whole: no runs */
	int event_fd;			/* a fence came, or a channel failed */
	pthread_mutex_t lock;
};

int ram_recv_init(struct ram_recv *rr, struct memory *mem,
		  unsigned int nchannels, struct error *err) __must_check;
/* The channels to come go on behind round @round, with pages that are missing in
 * @fetch: after a link was lost. */
void ram_recv_resume(struct ram_recv *rr, struct ram_fetch *fetch,
		     uint32_t round);
/* Takes over @ch (which is then closed here) as bulk channel @index, 1..N. */
int ram_recv_add(struct ram_recv *rr, unsigned int index, struct channel *ch,
		 struct error *err) __must_check;
bool ram_recv_complete(const struct ram_recv *rr);	/* all channels came */
/* 1 when round @round (with @last: the last, or the last before the VM runs) has
 * ended on all channels, 0 when not yet, -errno when a channel failed. */
int ram_recv_reached(struct ram_recv *rr, uint32_t round, bool last,
		     struct error *err) __must_check;
uint64_t ram_recv_bytes(const struct ram_recv *rr);
/* Cuts the channels, waits for the threads. */
void ram_recv_exit(struct ram_recv *rr);

#endif
