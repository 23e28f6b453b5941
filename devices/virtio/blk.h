/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to virtio-blk: blk.c is the device, blk_request.c its requests,
 * blk_error.c what becomes of those that the disk could not carry out,
 * blk_disk.c who copies the disk.
 */
#ifndef GODWIT_VIRTIO_BLK_H
#define GODWIT_VIRTIO_BLK_H

#include <linux/virtio_blk.h>

#include "devices/block/block.h"
#include "devices/virtio/virtio.h"
#include "vmm/disk.h"

#define SECTOR 512
#define MAX_RANGE_SECTORS (1u << 21)	/* 1 GiB */

struct virtio_blk;

struct blk_req {
	struct virtio_blk *blk;
	struct blk_req *next_free;
	uint8_t *status;		/* in guest memory */
	uint32_t type;
	struct block_request io;
	struct vm_disk_write write;	/* len > 0: it changes the disk */
	int result;
	struct virtq_chain chain;
};

/* On an error: the tree's "werror" and "rerror". */
enum blk_policy {
	BLK_AUTO = 1,	/* stop if the disk is full or lost, else report */
	BLK_REPORT,	/* to the guest */
	BLK_STOP,	/* keep the request and stop the VM */
};

struct virtio_blk {
	struct virtio_device v;
	/* configuration */
	const char *id;			/* points into the tree */
	struct block_options opt;
	char serial[VIRTIO_BLK_ID_BYTES];
	uint32_t block_size;
	enum blk_policy on_write, on_read;
	/* guest-visible state */
	uint64_t capacity;	/* sectors, 0 until the backend told */
	uint8_t writeback;
	uint32_t nkept;
	uint16_t kept[VIRTQ_MAX_SIZE];	/* heads of chains to try again */
	/* host resources */
	uint32_t kept_epoch;	/* of the queue, when they were kept */
	uint64_t told_at;	/* now_ns() of the last report */
	struct block *backend;
	struct vm_disk disk;	/* for whoever copies it */
	struct blk_req *req;	/* as many as the queue has entries */
	struct blk_req *free;
	unsigned int nreq;
	unsigned int nfresh;	/* never used yet: their pages are untouched */
	bool starved;		/* a chain waits for a request */
};

static inline struct virtio_blk *virtio_blk_of(struct virtio_device *v)
{
	return container_of(v, struct virtio_blk, v);
}

/* blk_request.c; with dev->lock */

/* virtio_ops.serve: begin the next request. */
int blk_serve(struct virtio_device *v, unsigned int index);
/* Begin the kept requests again, as if the driver had just made them. */
void blk_retry(struct virtio_blk *blk);

/* blk_error.c; with dev->lock, but for the configuration */

int blk_configure_errors(struct virtio_blk *blk, const void *tree, int node,
			 struct error *err) __must_check;
/* The disk answered @r with @result. True if it is kept, to be tried again
 * when the VM runs next; else the guest is to be told. */
bool blk_keep(struct blk_req *r, int result);
/* How many of kept[] are to be tried now; none is kept any more. */
uint32_t blk_take_kept(struct virtio_blk *blk);
/* kept[] came from elsewhere: they count as in flight in the queue. */
int blk_kept_loaded(struct virtio_blk *blk, struct error *err) __must_check;

/* blk.c: the backend's size may be another now; tells the guest. */
void blk_resized(struct virtio_blk *blk);

/* blk_disk.c */
extern const struct vm_disk_ops blk_disk_ops;

#endif
