/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the NBD driver: nbd.c moves requests, nbd_link.c keeps the link to
 * the server, of one connection or several, nbd_conn.c makes and ends
 * connections. Everything in the loop's thread.
 */
#ifndef GODWIT_BLOCK_NBD_H
#define GODWIT_BLOCK_NBD_H

#include "devices/block/block.h"
#include "devices/block/nbd_library.h"
#include "vmm/base/util.h"

/* What a disk opens where the server says that a flush on one connection
 * covers what was written on all (NBD_FLAG_CAN_MULTI_CONN). */
#define NBD_MAX_CONNS 4

/* The first connection's, and so the disk's. */
enum nbd_link_state {
	NBD_LINK_CLOSED = 1,	/* inactive */
	NBD_LINK_CONNECTING,	/* libnbd shakes hands */
	NBD_LINK_READY,
	NBD_LINK_WAITING,	/* lost; the timer will try again */
};

struct nbd_disk;

struct nbd_conn {
	struct nbd_disk *disk;
	struct nbd_handle *h;		/* NULL when closed or waiting */
	struct loop_fd fd;		/* libnbd's socket */
	struct loop_timer timer;	/* handshake limit, or next attempt */
	bool ready;			/* takes requests */
	bool used;			/* libnbd was, since the loop was told */
	uint64_t busy;			/* bytes in flight */
};

struct nbd_disk {
	struct block blk;
	struct loop *loop;
	const struct log *log;
	struct block_events events;
	char *uri;
	uint64_t want_size;

	/* the link */
	struct nbd_library nbd;
	struct nbd_conn conn[NBD_MAX_CONNS];
	enum nbd_link_state state;
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

/* A request at the driver; req->driver_data. */
struct nbd_io {
	struct nbd_disk *disk;
	struct nbd_conn *conn;	/* that has the piece */
	struct block_request *req;
	char *data;		/* guest's buffer, or the bounce buffer */
	void *bounce;		/* owned; several iovecs in one piece */
	uint64_t done;		/* bytes */
	uint64_t piece;		/* bytes in flight */
	uint64_t mapped;	/* MAP: bytes that the server told of */
	bool flush;		/* WRITE: the server can't FUA, flush it */
	int error;		/* of that piece, positive errno */
};

/* nbd_conn.c */

void nbd_conn_init(struct nbd_conn *c, struct nbd_disk *d,
		   void (*on_timer)(void *arg));
/* Begin to connect; it has CONNECT_NS. */
int nbd_conn_begin(struct nbd_conn *c, struct error *err);
/* Wait for that. */
int nbd_conn_wait(struct nbd_conn *c, struct error *err);
/* Shaken hands? Then it is looked at: @err says what is wrong. */
bool nbd_conn_arrived(struct nbd_conn *c);
int nbd_conn_check(struct nbd_conn *c, struct error *err);
bool nbd_conn_is_down(const struct nbd_conn *c);
/* Tell the loop what libnbd waits for. */
void nbd_conn_watch(struct nbd_conn *c);
/* What was not sent yet must not arrive after what is sent next. */
void nbd_conn_cut(struct nbd_conn *c);
/* Wait for the server to answer our good-bye, until @deadline. */
void nbd_conn_part(struct nbd_conn *c, uint64_t deadline);
void nbd_conn_drop(struct nbd_conn *c);
/* What libnbd said last. */
const char *nbd_reason(const struct nbd_disk *d);

/* nbd_link.c */

/* Connect and shake hands, at most some seconds. Undone by nbd_link_close. */
int nbd_link_open(struct nbd_disk *d, struct error *err);
/* Say good-bye if @polite, and forget the connections. */
void nbd_link_close(struct nbd_disk *d, bool polite);
/* See what became of the link after libnbd was called, and settle. */
void nbd_link_check(struct nbd_disk *d);
/* Tell the loop what libnbd waits for. */
void nbd_link_watch(struct nbd_disk *d);
/* Drop the link because of @why, and begin to look for another. */
void nbd_link_lost(struct nbd_disk *d, const char *why);
/* Did a connection end that was just used for requests? */
bool nbd_link_is_down(const struct nbd_disk *d);
/* The connection for the next piece. */
struct nbd_conn *nbd_link_next(struct nbd_disk *d);
void nbd_link_init(struct nbd_disk *d);

/* nbd_split.c */

/* Submit @req as several requests instead, if that is cheaper. */
bool nbd_split(struct block *blk, struct block_request *req);
/* @req is never completed: forget what it was a part of. */
void nbd_split_drop(struct block_request *req);

/* nbd_map.c */

/* Does the server tell where its holes are? */
bool nbd_map_known(const struct nbd_io *io);
/* Ask for those of a MAP. < 0 if libnbd takes nothing. */
int64_t nbd_map_issue(struct nbd_io *io, nbd_completion_callback cb);
/* Make an answer of what came, if anything; the request's result. */
int nbd_map_end(struct nbd_io *io, int result);

/* nbd.c */

/* The link is gone: everything that was in flight waits again. */
void nbd_requeue(struct nbd_disk *d);
/* The server stays away: what waits fails with BLOCK_LOST. From the loop. */
void nbd_fail_waiting(struct nbd_disk *d);
/* Complete what arrived and hand out what waits. From the loop only. */
void nbd_settle(struct nbd_disk *d);

#endif
