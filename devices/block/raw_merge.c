/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that lie one behind the other in the image, and came together, go
 * to the kernel as one: that costs a call and a wake-up for all of them. A
 * guest that reads or writes in order, with many requests in flight, gives such
 * ones, because it answers completions that come together together.
 *
 * What does not succeed altogether is tried again one by one, so that each has
 * a result of its own.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/raw.h"

#define MERGE_MAX (4 * MIB)	/* so that several are under way at once */

static bool is_fresh(const struct raw_io *io)
{
	const struct block_request *req = io->req;

	return (req->op == BLOCK_READ || req->op == BLOCK_WRITE) &&
	       !req->result && !io->own && !io->done && !io->alone;
}

static bool continues(const struct raw_io *io, const struct raw_io *last)
{
	const struct block_request *a = last->req, *b = io->req;

	return is_fresh(io) && a->op == b->op && a->fua == b->fua &&
	       last->fd == io->fd && a->offset + a->len == b->offset;
}

/* How many of @todo, which follow @io, can go with it, and their buffers. */
static unsigned int count(const struct raw_io *io, const struct list *todo,
			  int *niov)
{
	const struct raw_io *last = io;
	uint64_t len = io->req->len;
	unsigned int n = 0;
	struct raw_io *pos;

	*niov = io->niov;
	if (!is_fresh(io))
		return 0;
	list_for_each(pos, todo, link) {
		len += pos->req->len;
		if (!continues(pos, last) || len > MERGE_MAX ||
		    *niov + pos->niov > IOV_MAX)
			break;
		*niov += pos->niov;
		last = pos;
		n++;
	}
	return n;
}

static struct iovec *append(struct iovec *to, const struct raw_io *io)
{
	size_t n = (size_t)io->req->niov;

	memcpy(to, io->req->iov, n * sizeof(*to));
	return to + n;
}

void raw_merge(struct raw_io *io, struct list *todo)
{
	int niov;
	unsigned int n = count(io, todo, &niov);
	struct iovec *iov = n ? malloc((size_t)niov * sizeof(*iov)) : NULL;
	struct iovec *to = iov;
	struct raw_io *last = io;

	if (!iov)
		return;
	to = append(to, io);
	for (; n; n--, last = last->merged) {
		last->merged = list_entry(todo->next, struct raw_io, link);
		list_del(&last->merged->link);
		to = append(to, last->merged);
	}
	io->iov = iov;
	io->niov = niov;
}

unsigned int raw_merge_undo(struct raw_io *io)
{
	unsigned int n = 1;

	if (!io->merged)
		return n;
	free(io->iov);
	io->iov = io->req->iov;
	io->niov = io->req->niov;
	for (; io->merged; io = io->merged)
		n++;
	return n;
}

static uint64_t total(const struct raw_io *io)
{
	uint64_t len = 0;

	for (; io; io = io->merged)
		len += io->req->len;
	return len;
}

void raw_merge_complete(struct raw_io *io, int result)
{
	bool all = result >= 0 && (uint64_t)result == total(io);
	struct raw_io *next;

	if (!io->merged) {
		raw_io_complete(io, result);
		return;
	}
	raw_merge_undo(io);
	for (; io; io = next) {
		next = io->merged;
		io->merged = NULL;
		io->alone = true;
		if (all)
			raw_io_complete(io, (int)io->req->len);
		else
			io->raw->engine->issue(io);
	}
}
