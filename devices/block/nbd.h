/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the NBD driver: nbd.c moves requests, nbd_link.c keeps the
 * connection. Everything in the loop's thread.
 */
#ifndef GODWIT_BLOCK_NBD_H
#define GODWIT_BLOCK_NBD_H

#include "devices/block/block.h"
#include "devices/block/nbd_library.h"
#include "vmm/base/util.h"

enum nbd_link_state {
	NBD_LINK_CLOSED = 1,	/* inactive */
	NBD_LINK_CONNECTING,	/* libnbd shakes hands */
	NBD_LINK_READY,
	NBD_LINK_WAITING,	/* lost; the timer will try again */
};

struct nbd_disk {
	struct block blk;
	struct loop *loop;
	const struct log *log;
	struct block_events events;
	char *uri;
	uint64_t want_size;

	/* the connection */
	struct nbd_library nbd;
	struct nbd_handle *h;		/* NULL when closed or waiting */
	enum nbd_link_state state;
	struct loop_fd fd;		/* libnbd's socket */
	struct loop_timer timer;	/* handshake limit, or next attempt */
	unsigned int backoff_ms;
	bool lost;			/* events.lost was told */
	bool given_up;			/* requests fail until it is back */
	uint32_t reconnect_s;		/* until then; 0 = never */
	struct loop_timer give_up;
	uint32_t max_piece;		/* bytes of data in one command */

	/* requests, by their link */
	struct list waiting;		/* not given to libnbd yet */
	struct list inflight;		/* libnbd has a piece of it */
	struct list arrived;		/* a piece is done */
	struct loop_timer soon;		/* settle outside of submit() */
	void *zeroes;			/* for servers without write zeroes */
};

/* nbd_link.c */

/* Connect and shake hands, at most some seconds. Undone by nbd_link_close. */
int nbd_link_open(struct nbd_disk *d, struct error *err);
/* Say good-bye if @polite, and forget the connection. */
void nbd_link_close(struct nbd_disk *d, bool polite);
/* See what became of the connection after libnbd was called, and settle. */
void nbd_link_check(struct nbd_disk *d);
/* Tell the loop what libnbd waits for. */
void nbd_link_watch(struct nbd_disk *d);
/* Drop the connection because of @why, and begin to look for another. */
void nbd_link_lost(struct nbd_disk *d, const char *why);
bool nbd_link_is_down(const struct nbd_disk *d);
void nbd_link_init(struct nbd_disk *d);

/* nbd.c */

/* The connection is gone: everything that was in flight waits again. */
void nbd_requeue(struct nbd_disk *d);
/* The server stays away: what waits fails with BLOCK_LOST. From the loop. */
void nbd_fail_waiting(struct nbd_disk *d);
/* Complete what arrived and hand out what waits. From the loop only. */
void nbd_settle(struct nbd_disk *d);

#endif
