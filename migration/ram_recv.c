/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/ram_recv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migration/bits.h"
#include "migration/channels.h"
#include "migration/ram_fetch.h"
#include "migration/wire.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

#define BLOCK_SHIFT 21		/* a huge page */

static unsigned int region_of(const struct memory *mem, gpa_t gpa)
{
	unsigned int r = 0;

	while (r + 1 < mem->nregions && gpa >= mem->region[r + 1].range.base)
		r++;
	return r;
}

static bool test_and_set(atomic_ulong *map, uint64_t bit)
{
	unsigned long mask = 1ul << (bit % LONG_BITS);

	return atomic_fetch_or_explicit(&map[bit / LONG_BITS], mask,
					memory_order_relaxed) & mask;
}

static bool test(const atomic_ulong *map, uint64_t bit)
{
	return atomic_load_explicit(&map[bit / LONG_BITS],
				    memory_order_relaxed) >>
	       (bit % LONG_BITS) & 1;
}

/*
 * Have the kernel make the pages before the socket's copy faults on each of
 * them: that is the bottleneck of a fast migration. A kernel that doesn't know
 * the advice (before 5.14) makes them in the copy.
 */
static void populate(struct ram_recv *rr, unsigned int r, uint64_t offset,
		     uint64_t len)
{
	const struct memory_region *region = &rr->mem->region[r];
	uint64_t last = (offset + len - 1) >> BLOCK_SHIFT;

	for (uint64_t b = offset >> BLOCK_SHIFT; b <= last; b++) {
		uint64_t start = b << BLOCK_SHIFT;
		uint64_t size = MIN(1ull << BLOCK_SHIFT,
				    region->range.size - start);

		if (!test_and_set(rr->populated[r], b))
			(void)madvise(region->host + start, size,
				      MADV_POPULATE_WRITE);
	}
}

/* Where the pages of a DATA run go; NULL and @err if outside of memory. */
static void *place(struct ram_recv *rr, const struct run *run,
		   struct error *err)
{
	uint64_t len = (uint64_t)run->npages << PAGE_SHIFT;
	void *host = memory_ptr(rr->mem, run->gpa, len);
	unsigned int r = region_of(rr->mem, run->gpa);
	uint64_t offset = run->gpa - rr->mem->region[r].range.base;

	if (!host) {
		error_set(err, EPROTO, "run at %#llx of %u pages lies outside of memory",
			  (unsigned long long)run->gpa, run->npages);
		return NULL;
	}
	/* shared memory has no huge pages here: populating 2 MiB for a run of
	 * one page would only take memory that the guest never touched */
	if (rr->mem->backing == MEMORY_ANON)
		populate(rr, r, offset, len);
	for (uint64_t p = 0; p < run->npages; p++)
		test_and_set(rr->received[r], (offset >> PAGE_SHIFT) + p);
	atomic_fetch_add_explicit(&rr->pages, run->npages,
				  memory_order_relaxed);
	return host;
}

/* The next run's header mostly follows: read it in the same call. */
static ssize_t recv_data(struct ram_recv_channel *c, const struct run *run,
			 uint8_t header[RUN_HEADER], struct error *err)
{
	size_t len = (size_t)run->npages << PAGE_SHIFT;
	struct iovec iov[] = {
		{ .iov_base = place(c->rr, run, err), .iov_len = len },
		{ .iov_base = header, .iov_len = RUN_HEADER },
	};
	ssize_t n;

	if (!iov[0].iov_base)
		return -err->code;
	n = channel_readv(&c->ch, iov, ARRAY_SIZE(iov), len, 0, err);
	channels_give_way(len);
	return n < 0 ? n : n - (ssize_t)len;
}

/* Room for the bytes of a run that don't go into guest memory as they are. */
static int need_bounce(struct ram_recv_channel *c, struct error *err)
{
	if (!c->bounce)
		c->bounce = malloc(RUN_MAX_PAGES * PAGE_BYTES);
	return c->bounce ? 0 : error_set(err, ENOMEM, "no memory for a run of pages");
}

static int zstd_start(struct ram_recv_channel *c, struct error *err)
{
	if (!c->rr->compressed)
		return error_set(err, EPROTO, "a compressed run, which the OFFER did not announce");
	if (need_bounce(c, err) < 0)
		return -err->code;
	return c->zstd ? 0 : compressor_create(&c->zstd, err);
}

/* The frame comes to private memory first: a peer can't change it meanwhile,
 * and no byte of it is guest memory yet. */
static int recv_zstd(struct ram_recv_channel *c, const struct run *run,
		     struct error *err)
{
	int ret = zstd_start(c, err);
	void *host = NULL;

	if (ret == 0)
		ret = channel_read(&c->ch, c->bounce, run->length, 0, err);
	if (ret == 0)
		host = place(c->rr, run, err);
	if (!host)
		return -err->code;
	return decompress_bytes(c->zstd, host,
				(size_t)run->npages << PAGE_SHIFT, c->bounce,
				run->length, err);
}

static int recv_zeroes(struct ram_recv *rr, const struct run *run,
		       struct error *err)
{
	uint8_t *host = memory_ptr(rr->mem, run->gpa,
				   (uint64_t)run->npages << PAGE_SHIFT);
	unsigned int r = region_of(rr->mem, run->gpa);
	uint64_t first;

	if (!host)
		return error_set(err, EPROTO,
				 "zeroes at %#llx of %u pages lie outside of memory",
				 (unsigned long long)run->gpa, run->npages);
	first = (run->gpa - rr->mem->region[r].range.base) >> PAGE_SHIFT;
	for (uint64_t p = 0; p < run->npages; p++)
		if (test(rr->received[r], first + p))
			memset(host + (p << PAGE_SHIFT), 0, PAGE_BYTES);
	atomic_fetch_add_explicit(&rr->zeroes, run->npages,
				  memory_order_relaxed);
	return 0;
}

/* 1 after the last fence. */
static int recv_fence(struct ram_recv_channel *c, const struct run *run,
		      struct error *err)
{
	bool last = run->flags & RUN_LAST;

	if (run->round != c->fence + 1)
		return error_set(err, EPROTO, "fence of round %u after round %u",
				 run->round, c->fence);
	if (run->flags & RUN_POSTCOPY && !c->rr->fetch)
		return error_set(err, EPROTO, "fence of post-copy, and no page is missing");
	pthread_mutex_lock(&c->rr->lock);
	c->fence = run->round;
	c->last = last;
	c->fetching |= run->flags & RUN_POSTCOPY;
	pthread_mutex_unlock(&c->rr->lock);
	fd_event_signal(c->rr->event_fd);
	return last;
}

/* Pages that somebody may wait for appear whole, so they are read elsewhere. */
static int fetch_data(struct ram_recv_channel *c, const struct run *run,
		      struct error *err)
{
	size_t len = (size_t)run->npages << PAGE_SHIFT;
	int ret = need_bounce(c, err);

	if (ret == 0)
		ret = channel_read(&c->ch, c->bounce, len, 0, err);
	if (ret == 0)
		ret = ram_fetch_place(c->rr->fetch, run->gpa, run->npages,
				      c->bounce, err);
	atomic_fetch_add_explicit(&c->rr->pages, run->npages,
				  memory_order_relaxed);
	return ret;
}

static int fetch_zeroes(struct ram_recv *rr, const struct run *run,
			struct error *err)
{
	atomic_fetch_add_explicit(&rr->zeroes, run->npages,
				  memory_order_relaxed);
	return ram_fetch_place(rr->fetch, run->gpa, run->npages, NULL, err);
}

/* Runs until the last fence (1) or an error. */
static int recv_runs(struct ram_recv_channel *c, struct error *err)
{
	uint8_t header[RUN_HEADER];
	ssize_t have = 0;
	struct run run;
	int ret = 0;

	while (ret == 0) {
		ret = channel_read(&c->ch, header + have,
				   sizeof(header) - (size_t)have, 0, err);
		have = 0;
		if (ret == 0)
			ret = run_decode(header, &run, err);
		if (ret < 0)
			return ret;
		if (run.kind == RUN_FENCE)
			ret = recv_fence(c, &run, err);
		else if (c->rr->shared)
			ret = error_set(err, EPROTO, "pages of a memory that was handed over");
		else if (run.kind == RUN_ZERO)
			ret = c->fetching ? fetch_zeroes(c->rr, &run, err) :
					    recv_zeroes(c->rr, &run, err);
		else if (run.kind == RUN_ZSTD && !c->fetching)
			ret = recv_zstd(c, &run, err);
		else if (run.kind != RUN_DATA)
			ret = error_set(err, EPROTO, "run of kind %u on a bulk channel",
					run.kind);
		else if (c->fetching)
			ret = fetch_data(c, &run, err);
		else
			have = recv_data(c, &run, header, err);
		if (have < 0)
			return (int)have;
	}
	return ret;
}

static void *recv_thread(void *arg)
{
	struct ram_recv_channel *c = arg;
	struct error err = ERROR_INIT;
	int ret;

	channels_step_back();
	ret = recv_runs(c, &err);
	pthread_mutex_lock(&c->rr->lock);
	c->ret = ret < 0 ? ret : 0;
	c->err = err;
	pthread_mutex_unlock(&c->rr->lock);
	fd_event_signal(c->rr->event_fd);
	return NULL;
}

int ram_recv_add(struct ram_recv *rr, unsigned int index, struct channel *ch,
		 struct error *err)
{
	struct ram_recv_channel *c;

	if (!index || index > rr->nchannels)
		return error_set(err, EPROTO, "bulk channel %u of %u", index,
				 rr->nchannels);
	c = &rr->channel[index - 1];
	if (c->started)
		return error_set(err, EPROTO, "bulk channel %u came twice",
				 index);
	c->rr = rr;
	c->ch = *ch;
	c->fence = rr->resumed;
	c->fetching = rr->resumed;
	if (thread_start(&c->thread, "receive", recv_thread, c)) {
		channel_init(&c->ch);
		return error_set(err, EAGAIN, "no thread for bulk channel %u",
				 index);
	}
	c->started = true;
	ch->fd = -1;
	return 0;
}

bool ram_recv_complete(const struct ram_recv *rr)
{
	for (unsigned int i = 0; i < rr->nchannels; i++)
		if (!rr->channel[i].started)
			return false;
	return true;
}

int ram_recv_reached(struct ram_recv *rr, uint32_t round, bool last,
		     struct error *err)
{
	int ret = 1;

	pthread_mutex_lock(&rr->lock);
	for (unsigned int i = 0; i < rr->nchannels; i++) {
		const struct ram_recv_channel *c = &rr->channel[i];

		if (c->ret < 0) {
			*err = c->err;
			error_prefix(err, "bulk channel %u", i + 1);
			ret = c->ret;
			break;
		}
		if (c->fence < round || (last && !c->last && !c->fetching))
			ret = 0;
	}
	pthread_mutex_unlock(&rr->lock);
	return ret;
}

void ram_recv_resume(struct ram_recv *rr, struct ram_fetch *fetch,
		     uint32_t round)
{
	rr->fetch = fetch;
	rr->resumed = round;
}

uint64_t ram_recv_bytes(const struct ram_recv *rr)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < rr->nchannels; i++)
		sum += atomic_load_explicit(&rr->channel[i].ch.received,
					    memory_order_relaxed);
	return sum;
}

int ram_recv_init(struct ram_recv *rr, struct memory *mem,
		  unsigned int nchannels, struct error *err)
{
	memset(rr, 0, sizeof(*rr));
	rr->mem = mem;
	rr->nchannels = nchannels;
	pthread_mutex_init(&rr->lock, NULL);
	for (unsigned int i = 0; i < RAM_RECV_CHANNELS; i++)
		channel_init(&rr->channel[i].ch);
	rr->event_fd = fd_event();
	if (rr->event_fd < 0)
		goto err_exit;
	for (unsigned int r = 0; r < mem->nregions; r++) {
		uint64_t size = mem->region[r].range.size;

		rr->received[r] = calloc(bits_longs(memory_pages(mem, r)),
					 sizeof(long));
		rr->populated[r] = calloc(bits_longs((size >> BLOCK_SHIFT) + 1),
					  sizeof(long));
		if (!rr->received[r] || !rr->populated[r])
			goto err_exit;
	}
	return 0;

err_exit:
	ram_recv_exit(rr);
	return error_set(err, ENOMEM, "no memory to receive guest memory");
}

void ram_recv_exit(struct ram_recv *rr)
{
	for (unsigned int i = 0; i < rr->nchannels; i++)
		if (rr->channel[i].started)
			channel_shutdown(&rr->channel[i].ch);
	for (unsigned int i = 0; i < rr->nchannels; i++) {
		if (rr->channel[i].started)
			pthread_join(rr->channel[i].thread, NULL);
		channel_close(&rr->channel[i].ch);
		compressor_destroy(rr->channel[i].zstd);
		rr->channel[i].started = false;
		free(rr->channel[i].bounce);
		rr->channel[i].bounce = NULL;
	}
	for (unsigned int r = 0; r < MEMORY_MAX_REGIONS; r++) {
		free(rr->received[r]);
		free(rr->populated[r]);
		rr->received[r] = rr->populated[r] = NULL;
	}
	fd_close(&rr->event_fd);
	pthread_mutex_destroy(&rr->lock);
}
