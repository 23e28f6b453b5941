/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/ram_send.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/bits.h"
#include "migration/pack.h"
#include "migration/page_zero.h"
#include "migration/wire.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

/* Pages of a chunk: what is protected and then sent at a time (8 MiB). */
#define CHUNK 2048
#define AHEAD (8 * PAGE_BYTES)	/* may lie behind the region */
#define FEWEST_PAGES 128	/* for a thread of their own */
#define PUSH_BYTES (256 * KIB)
#define BATCH_RUNS 128
#define BATCH_BYTES (1 * MIB)	/* written at once when this much is there */

/* One channel's sender: runs are gathered into one writev. */
struct ram_worker {
	struct ram_send *rs;
	struct channel *ch;
	pthread_t thread;
	bool threaded;
	int ret;
	struct error err;
	struct run run;			/* being extended; kind 0: none */
	unsigned int nruns;
	int niov;
	size_t bytes;
	uint64_t zeroes, pages, absent;	/* since the last flush */
	uint64_t packed, frames;	/* pages, and the bytes they became */
	struct pack pack;		/* if rs->compress */
	unsigned long bits[CHUNK / LONG_BITS];
	unsigned long present[CHUNK / LONG_BITS];
	struct iovec iov[2 * BATCH_RUNS];
	uint8_t header[BATCH_RUNS][RUN_HEADER];
};

static void account(struct ram_worker *w)
{
	struct migration_progress *p = w->rs->progress;
	uint64_t bytes = (w->zeroes + w->pages + w->absent) << PAGE_SHIFT;

	pthread_mutex_lock(&p->lock);
	p->now.constant_pages += w->zeroes;
	p->now.absent_pages += w->absent;
	p->now.normal_pages += w->pages;
	p->now.normal_bytes += w->pages << PAGE_SHIFT;
	p->now.compressed_pages += w->packed;
	p->now.compressed_bytes += w->frames;
	p->now.memory_processed += bytes;
	p->now.memory_remaining -= MIN(bytes, p->now.memory_remaining);
	pthread_mutex_unlock(&p->lock);
	w->zeroes = w->pages = w->absent = w->packed = w->frames = 0;
}

static int flush(struct ram_worker *w)
{
	struct ram_send *rs = w->rs;
	uint64_t start;
	int ret;

	account(w);
	if (!w->niov)
		return 0;
	start = now_ns();
	ret = limiter_take(rs->limiter, w->bytes, rs->cancel_fd, rs->deadline);
	if (ret < 0)
		return error_set(&w->err, -ret, ret == -ECANCELED ? "cancelled" :
				 "bandwidth limit: no time left");
	ret = channel_writev(w->ch, w->iov, w->niov, rs->deadline, &w->err);
	if (rs->compress)
		pack_sent(&w->pack, w->bytes, now_ns() - start);
	w->niov = 0;
	w->nruns = 0;
	w->bytes = 0;
	return ret;
}

/* The pages of a DATA run as they are, or as a frame. */
static void put_pages(struct ram_worker *w, struct run *run, struct iovec *iov)
{
	size_t len = (size_t)run->npages << PAGE_SHIFT;

	iov->iov_base = memory_ptr(w->rs->mem, run->gpa, len);
	iov->iov_len = len;
	/* not where somebody may wait for it */
	if (w->rs->compress && !w->rs->pushing)
		run->length = (uint32_t)pack_run(&w->pack, iov->iov_base, len,
						 &iov->iov_base);
	if (run->length) {
		run->kind = RUN_ZSTD;
		iov->iov_len = run->length;
		w->packed += run->npages;
		w->frames += run->length;
	}
	w->niov++;
	w->bytes += iov->iov_len;
}

/* Put the run that was being extended into the batch. */
static int close_run(struct ram_worker *w)
{
	struct run *run = &w->run;
	struct iovec *iov = &w->iov[w->niov];

	if (!run->kind)
		return 0;
	iov[0].iov_base = w->header[w->nruns];
	iov[0].iov_len = RUN_HEADER;
	w->niov++;
	w->bytes += RUN_HEADER;
	if (run->kind == RUN_DATA)
		put_pages(w, run, &iov[1]);
	run_encode(w->header[w->nruns++], run);
	run->kind = 0;
	if (w->nruns == BATCH_RUNS ||
	    w->bytes >= (w->rs->pushing ? PUSH_BYTES : BATCH_BYTES) ||
	    (w->rs->compress && pack_full(&w->pack)))
		return flush(w);
	return 0;
}

static int add_page(struct ram_worker *w, gpa_t gpa, const void *page)
{
	struct run *run = &w->run;
	uint16_t kind = w->rs->zero->test(page) ? RUN_ZERO : RUN_DATA;
	int ret;

	if (kind == RUN_ZERO)
		w->zeroes++;
	else
		w->pages++;
	if (run->kind == kind &&
	    run->gpa + ((gpa_t)run->npages << PAGE_SHIFT) == gpa &&
	    run->npages < RUN_MAX_PAGES) {
		run->npages++;
		return 0;
	}
	ret = close_run(w);
	*run = (struct run){ .kind = kind, .gpa = gpa, .npages = 1 };
	return ret;
}

/*
 * Take the dirty bits of a chunk: protect its pages again, and only then look
 * at them. In the first round a page that was never touched is left out; if
 * the guest touches it from now on, that write is in the log.
 */
static int take_bits(struct ram_worker *w, unsigned int r, uint64_t first,
		     uint64_t n)
{
	struct ram_send *rs = w->rs;
	unsigned long *from = rs->dirty[r] + first / LONG_BITS;
	uint64_t longs = bits_longs(n);
	int ret;

	pthread_mutex_lock(&rs->clear_lock);
	ret = rs->ops->dirty_clear(rs->vm, r, first, n, rs->dirty[r], &w->err);
	pthread_mutex_unlock(&rs->clear_lock);
	if (ret < 0)
		return ret;
	memcpy(w->bits, from, longs * sizeof(long));
	memset(from, 0, longs * sizeof(long));
	if (!rs->first)
		return 0;
	memory_present(rs->mem, r, first, n, w->present);
	w->absent += bits_count(w->bits, n);
	for (uint64_t i = 0; i < longs; i++)
		w->bits[i] &= w->present[i];
	w->absent -= bits_count(w->bits, n);
	return 0;
}

/* The same of a guest that is stopped, and somebody else may take them too. */
static void grab_bits(struct ram_worker *w, unsigned int r, uint64_t first,
		      uint64_t n)
{
	unsigned long *from = w->rs->dirty[r] + first / LONG_BITS;

	for (uint64_t i = 0; i < bits_longs(n); i++)
		w->bits[i] = __atomic_exchange_n(&from[i], 0,
						 __ATOMIC_RELAXED);
	atomic_fetch_sub(&w->rs->left, bits_count(w->bits, n));
}

static unsigned int chunk_pages(const struct ram_send *rs)
{
	return rs->pushing ? RAM_PUSH_CHUNK : CHUNK;
}

static int send_chunk(struct ram_worker *w, unsigned int r, uint64_t first)
{
	struct memory_region *region = &w->rs->mem->region[r];
	uint64_t n = MIN((uint64_t)chunk_pages(w->rs),
			 memory_pages(w->rs->mem, r) - first);
	int ret = 0;

	if (w->rs->pushing)
		grab_bits(w, r, first, n);
	else if (bits_next(w->rs->dirty[r] + first / LONG_BITS, 0, n) == n)
		return 0;
	else
		ret = take_bits(w, r, first, n);
	for (uint64_t i = 0; ret == 0; i++) {
		uint64_t offset;

		i = bits_next(w->bits, i, n);
		if (i == n)
			break;
		offset = (first + i) << PAGE_SHIFT;
		/* each page's first line is far away: look for it in time */
		__builtin_prefetch(region->host + offset + AHEAD);
		ret = add_page(w, region->range.base + offset,
			       region->host + offset);
	}
	return ret;
}

/* The @index-th chunk of all memory; false behind the last. */
static bool find_chunk(const struct ram_send *rs, uint64_t index,
		       unsigned int *r, uint64_t *first)
{
	for (*r = 0; *r < rs->mem->nregions; (*r)++) {
		unsigned int size = chunk_pages(rs);
		uint64_t chunks = (memory_pages(rs->mem, *r) + size - 1) / size;

		if (index < chunks) {
			*first = index * size;
			return true;
		}
		index -= chunks;
	}
	return false;
}

/* In post-copy round and round, beginning where somebody waited, until all
 * pages are taken. */
static bool next_chunk(struct ram_send *rs, unsigned int *r, uint64_t *first)
{
	long long wish;

	if (!rs->pushing)
		return find_chunk(rs, atomic_fetch_add(&rs->next_chunk, 1), r,
				  first);
	if (!atomic_load(&rs->left))
		return false;
	wish = atomic_exchange(&rs->wish, -1);
	if (wish >= 0)
		atomic_store(&rs->next_chunk, (unsigned int)wish);
	if (find_chunk(rs, atomic_fetch_add(&rs->next_chunk, 1), r, first))
		return true;
	atomic_store(&rs->next_chunk, 1);
	return find_chunk(rs, 0, r, first);
}

static int work(struct ram_worker *w, bool checks)
{
	struct ram_send *rs = w->rs;
	unsigned int r;
	uint64_t first;
	int ret = 0;

	int last;

	while (ret == 0 && !atomic_load(&rs->stop) &&
	       next_chunk(rs, &r, &first)) {
		if (checks && rs->check)
			ret = rs->check(rs->check_arg, &w->err);
		if (ret == 0)
			ret = send_chunk(w, r, first);
	}
	if (ret < 0)
		atomic_store(&rs->stop, true);
	if (ret < 0 && ret != -ETIME)
		return ret;
	/* bits that were taken are owed, also when time is up */
	last = close_run(w);
	if (last == 0)
		last = flush(w);
	if (last < 0)
		atomic_store(&rs->stop, true);
	return last < 0 ? last : ret;
}

static void *work_thread(void *arg)
{
	struct ram_worker *w = arg;

	w->ret = work(w, false);
	return NULL;
}

static void worker_start(struct ram_worker *w)
{
	w->ret = 0;
	w->run.kind = 0;
	w->niov = 0;
	w->nruns = 0;
	w->bytes = 0;
	w->zeroes = w->pages = w->absent = w->packed = w->frames = 0;
	error_clear(&w->err);
}

/* In this round. A thread more pays if there are pages for it: to make one takes
 * as long as to send the fewest. */
static unsigned int senders(const struct ram_send *rs)
{
	unsigned int most = rs->nsenders ? MIN(rs->nsenders, rs->nchannels) :
					   rs->nchannels;
	uint64_t wanted = 1 + rs->dirty_pages / FEWEST_PAGES;

	return rs->pushing || wanted > most ? most : (unsigned int)wanted;
}

/* A channel whose thread can't be made has no share in this round. */
static void start_threads(struct ram_send *rs)
{
	for (unsigned int i = 1; i < senders(rs); i++) {
		struct ram_worker *w = &rs->worker[i];

		worker_start(w);
		w->threaded = !thread_start(&w->thread, "send", work_thread, w);
	}
}

int ram_send_pages(struct ram_send *rs, uint64_t deadline, struct error *err)
{
	struct ram_worker *w = &rs->worker[0];

	rs->deadline = deadline;
	if (!rs->pushing)
		atomic_store(&rs->next_chunk, 0);
	atomic_store(&rs->stop, false);
	start_threads(rs);
	worker_start(w);
	w->ret = work(w, true);
	for (unsigned int i = 1; i < senders(rs); i++)
		if (rs->worker[i].threaded)
			pthread_join(rs->worker[i].thread, NULL);
	if (!atomic_load(&rs->stop))
		rs->first = false;
	for (unsigned int i = 0; i < senders(rs); i++) {
		if (rs->worker[i].ret < 0) {
			*err = rs->worker[i].err;
			return rs->worker[i].ret;
		}
	}
	return 0;
}

int ram_send_sync(struct ram_send *rs, struct error *err)
{
	uint64_t pages = 0;

	for (unsigned int r = 0; r < rs->mem->nregions; r++) {
		int ret = rs->ops->dirty_sync(rs->vm, r, rs->dirty[r], err);

		if (ret < 0)
			return ret;
		pages += bits_count(rs->dirty[r], memory_pages(rs->mem, r));
	}
	rs->dirty_pages = pages;
	pthread_mutex_lock(&rs->progress->lock);
	rs->progress->now.memory_remaining = pages << PAGE_SHIFT;
	pthread_mutex_unlock(&rs->progress->lock);
	return 0;
}

static int forget_region(struct ram_send *rs, unsigned int r,
			 struct error *err)
{
	uint64_t pages = memory_pages(rs->mem, r), step = 32 * CHUNK;
	int ret = 0;

	memset(rs->dirty[r], 0xff, pages / LONG_BITS * sizeof(long));
	if (pages % LONG_BITS)
		rs->dirty[r][pages / LONG_BITS] = (1ul << pages % LONG_BITS) - 1;
	for (uint64_t first = 0; ret == 0 && first < pages; first += step)
		ret = rs->ops->dirty_clear(rs->vm, r, first,
					   MIN(step, pages - first),
					   rs->dirty[r], err);
	/* where clearing does nothing, this clears */
	if (ret == 0)
		ret = rs->ops->dirty_sync(rs->vm, r, rs->dirty[r], err);
	memset(rs->dirty[r], 0, bits_longs(pages) * sizeof(long));
	return ret;
}

int ram_send_forget(struct ram_send *rs, struct error *err)
{
	int ret = 0;

	for (unsigned int r = 0; ret == 0 && r < rs->mem->nregions; r++)
		ret = forget_region(rs, r, err);
	return ret;
}

int ram_send_fence(struct ram_send *rs, uint32_t round, unsigned int flags,
		   uint64_t deadline, struct error *err)
{
	struct run fence = {
		.kind = RUN_FENCE,
		.flags = (uint16_t)flags,
		.round = round,
	};
	uint8_t header[RUN_HEADER];

	run_encode(header, &fence);
	for (unsigned int i = 0; i < rs->nchannels; i++) {
		struct iovec iov = { .iov_base = header,
				     .iov_len = sizeof(header) };
		int ret = channel_writev(&rs->channel[i], &iov, 1, deadline,
					 err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int start_packs(struct ram_send *rs, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && rs->compress && i < rs->nchannels;
	     i++)
		ret = pack_init(&rs->worker[i].pack, err);
	return ret;
}

int ram_send_init(struct ram_send *rs, struct error *err)
{
	int ret;

	pthread_mutex_init(&rs->clear_lock, NULL);
	rs->first = true;
	rs->zero = page_zero_way(0);
	rs->worker = calloc(rs->nchannels, sizeof(*rs->worker));
	if (!rs->worker)
		goto err_memory;
	for (unsigned int i = 0; i < rs->nchannels; i++) {
		rs->worker[i].rs = rs;
		rs->worker[i].ch = &rs->channel[i];
	}
	for (unsigned int r = 0; r < rs->mem->nregions; r++) {
		rs->dirty[r] = calloc(bits_longs(memory_pages(rs->mem, r)),
				      sizeof(long));
		if (!rs->dirty[r])
			goto err_memory;
	}
	ret = start_packs(rs, err);
	if (ret == 0)
		ret = rs->ops->dirty_start(rs->vm, err);
	if (ret < 0)
		ram_send_exit(rs);
	else
		rs->tracking = true;
	return ret;

err_memory:
	ram_send_exit(rs);
	return error_set(err, ENOMEM, "no memory for the dirty bitmaps");
}

void ram_send_exit(struct ram_send *rs)
{
	if (rs->tracking)
		rs->ops->dirty_stop(rs->vm);
	rs->tracking = false;
	for (unsigned int r = 0; r < MEMORY_MAX_REGIONS; r++) {
		free(rs->dirty[r]);
		rs->dirty[r] = NULL;
	}
	for (unsigned int i = 0; rs->worker && i < rs->nchannels; i++)
		pack_exit(&rs->worker[i].pack);
	free(rs->worker);
	rs->worker = NULL;
	pthread_mutex_destroy(&rs->clear_lock);
}
