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
#include "vmm/memory.h"

#define RAM_RECV_CHANNELS 16

struct ram_recv;

struct ram_recv_channel {
	struct ram_recv *rr;
	struct channel ch;		/* owned */
	pthread_t thread;
	bool started;
	/* under rr->lock */
	uint32_t fence;			/* last round that ended here */
	bool last;			/* by a LAST fence */
	int ret;
	struct error err;
};

struct ram_recv {
	struct memory *mem;
	unsigned int nchannels;
	struct ram_recv_channel channel[RAM_RECV_CHANNELS];
	atomic_ulong *received[MEMORY_MAX_REGIONS];	/* page had data */
	atomic_ulong *populated[MEMORY_MAX_REGIONS];	/* 2 MiB blocks */
	atomic_ullong pages, zeroes;
	bool shared;			/* the memory came whole: no runs */
	int event_fd;			/* a fence came, or a channel failed */
	pthread_mutex_t lock;
};

int ram_recv_init(struct ram_recv *rr, struct memory *mem,
		  unsigned int nchannels, struct error *err) __must_check;
/* Takes over @ch (which is then closed here) as bulk channel @index, 1..N. */
int ram_recv_add(struct ram_recv *rr, unsigned int index, struct channel *ch,
		 struct error *err) __must_check;
bool ram_recv_complete(const struct ram_recv *rr);	/* all channels came */
/* 1 when round @round (with @last: the last) has ended on all channels, 0 when
 * not yet, -errno when a channel failed. */
int ram_recv_reached(struct ram_recv *rr, uint32_t round, bool last,
		     struct error *err) __must_check;
uint64_t ram_recv_bytes(const struct ram_recv *rr);
/* Cuts the channels, waits for the threads. */
void ram_recv_exit(struct ram_recv *rr);

#endif
