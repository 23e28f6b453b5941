/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libnbd takes one stretch of memory a command. A request in several is copied
 * into one by nbd.c; where each is large, it is cheaper to make a request of
 * each, all of them on their way at once.
 */
#include <stdlib.h>

#include "devices/block/nbd.h"

#define LARGE (64 * KIB)	/* on average: copying less costs less */

struct split;

struct part {
	struct block_request req;
	struct split *split;
};

struct split {
	struct block_request *whole;
	int left;		/* parts that are not over */
	int result;		/* of one that failed */
	struct part part[];
};

static struct split *put(struct block_request *req)
{
	struct split *s = container_of(req, struct part, req)->split;

	return --s->left ? NULL : s;
}

static void part_done(struct block_request *req, int result)
{
	struct split *s = container_of(req, struct part, req)->split;

	if (result)
		s->result = result;
	if (put(req)) {
		s->whole->done(s->whole, s->result);
		free(s);
	}
}

void nbd_split_drop(struct block_request *req)
{
	if (req->done == part_done)
		free(put(req));
}

bool nbd_split(struct block *blk, struct block_request *req)
{
	uint64_t at = req->offset;
	int n = req->niov;
	struct split *s;

	if (n < 2 || req->len / (unsigned int)n < LARGE)
		return false;
	s = calloc(1, sizeof(*s) + (unsigned int)n * sizeof(s->part[0]));
	if (!s)
		return false;
	s->whole = req;
	s->left = n;
	for (int i = 0; i < n; i++) {
		s->part[i].split = s;
		s->part[i].req = (struct block_request){
			.op = req->op, .offset = at, .iov = &req->iov[i],
			.len = req->iov[i].iov_len, .niov = 1,
			.done = part_done,
		};
		at += req->iov[i].iov_len;
	}
	/* none is over before all are submitted: done() comes from the loop */
	for (int i = 0; i < n; i++)
		blk->driver->submit(blk, &s->part[i].req);
	return true;
}
