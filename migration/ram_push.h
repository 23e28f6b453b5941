/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Post-copy, on the side that the VM has left: pages that somebody waits for
 * go at once, over a channel of their own, past all that is on its way.
 *
 * Threads: one of its own from start to stop, beside those of ram_send.h that
 * send the rest; the dirty bits of ram_send say who sends which page.
 */
#ifndef GODWIT_MIGRATION_RAM_PUSH_H
#define GODWIT_MIGRATION_RAM_PUSH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "migration/channel.h"
#include "migration/ram_send.h"

struct ram_push {
	struct ram_send *ram;
	struct channel channel;		/* the fault channel; owned */
	pthread_t thread;
	bool started;
	atomic_ullong requests;		/* pages that were asked for */
	atomic_ullong bytes;		/* over links that are gone */
};

void ram_push_init(struct ram_push *p);
/* p->channel is connected, and @ram pushing: answer what is asked over it. */
int ram_push_start(struct ram_push *p, struct ram_send *ram,
		   struct error *err) __must_check;
/* Cut the channel, end the thread. May be started again. */
void ram_push_stop(struct ram_push *p);

#endif
