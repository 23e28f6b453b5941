/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the RBD driver: rbd.c moves requests, rbd_map.c finds holes,
 * rbd_link.c keeps the connection, rbd_lock.c the exclusive lock, rbd_uri.c
 * reads URIs.
 *
 * Threads: the loop's, but for librbd's own, which call back when a request is
 * done or the image's header changed, and one for each MAP under way; what they
 * touch is under struct rbd_disk's lock.
 */
#ifndef GODWIT_BLOCK_RBD_H
#define GODWIT_BLOCK_RBD_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/block/block.h"
#include "devices/block/rbd_library.h"
#include "vmm/base/util.h"

#define RBD_MAX_SETTINGS 16

struct rbd_setting {
	const char *key, *value;
};

/* rbd:POOL/[NAMESPACE/]IMAGE[@SNAP][:KEY=VALUE...], as QEMU writes it. */
struct rbd_uri {
	char *copy;			/* where the rest points to */
	const char *pool, *nspace, *image, *snap;	/* NULL: none */
	const char *conf, *id;		/* NULL: Ceph's defaults */
	bool break_lock;		/* lock=break */
	struct rbd_setting set[RBD_MAX_SETTINGS];	/* for librados */
	unsigned int nset;
};

struct rbd_disk {
	struct block blk;
	struct loop *loop;
	const struct log *log;
	struct block_events events;
	char *name;			/* the URI without its settings */
	struct rbd_uri uri;
	uint64_t want_size;

	/* the connection */
	struct rbd_library lib;
	rados_t cluster;
	rados_ioctx_t pool;
	rbd_image_t image;
	uint64_t watch;			/* of the header, 0 = none */
	bool fenced;			/* another took the lock and shut us out */
	struct list maps;		/* struct rbd_map, under way */
	atomic_bool stop_maps;

	/* from librbd's threads */
	struct loop_fd wake;		/* an eventfd */
	pthread_mutex_t lock;		/* protects what follows */
	struct list done;		/* struct rbd_io */
	bool header_changed;
};

/* rbd_uri.c */

int rbd_uri_parse(struct rbd_uri *u, const char *uri,
		  struct error *err) __must_check;
void rbd_uri_free(struct rbd_uri *u);

/* rbd_link.c */

/* Connect and open the image; takes no lock. Undone by rbd_link_close(). */
int rbd_link_open(struct rbd_disk *d, struct error *err);
/* When it returns, librbd has let go of all requests. */
void rbd_link_close(struct rbd_disk *d);
/* See that the image is as large as the machine's disk. */
int rbd_link_measure(struct rbd_disk *d, struct error *err);

/* rbd_map.c */

/* Carry out a MAP, in a thread: librbd's call for it blocks. */
void rbd_map_submit(struct rbd_disk *d, struct block_request *req);
/* Complete those that are over; from the loop. */
void rbd_map_settle(struct rbd_disk *d);
/* End the others, of which nothing is completed. */
void rbd_map_exit(struct rbd_disk *d);

/* rbd_lock.c */

/*
 * Take the exclusive lock, so that it is never lent (RBD_LOCK_MODE_EXCLUSIVE).
 * A dead holder's is broken after the holder was blocklisted; a live holder
 * gets a moment to release it.
 */
int rbd_lock_take(struct rbd_disk *d, struct error *err);

#endif
