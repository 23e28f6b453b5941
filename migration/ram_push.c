/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/ram_push.h"

#include <errno.h>

#include "migration/bits.h"
#include "migration/page_zero.h"
#include "migration/wire.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

#define PRESENT_STEP 2048	/* pages that are looked at at once */

/* -- which pages ----------------------------------------------------------- */

void ram_send_leave_absent(struct ram_send *rs)
{
	unsigned long present[PRESENT_STEP / LONG_BITS];

	if (!rs->first)
		return;
	for (unsigned int r = 0; r < rs->mem->nregions; r++) {
		uint64_t pages = memory_pages(rs->mem, r);

		for (uint64_t at = 0; at < pages; at += PRESENT_STEP) {
			uint64_t n = MIN((uint64_t)PRESENT_STEP, pages - at);

			memory_present(rs->mem, r, at, n, present);
			for (uint64_t i = 0; i < bits_longs(n); i++)
				rs->dirty[r][at / LONG_BITS + i] &= present[i];
		}
	}
}

void ram_send_push(struct ram_send *rs)
{
	uint64_t left = 0;

	for (unsigned int r = 0; r < rs->mem->nregions; r++)
		left += bits_count(rs->dirty[r], memory_pages(rs->mem, r));
	atomic_store(&rs->left, left);
	atomic_store(&rs->wish, -1);
	rs->pushing = true;
}

bool ram_send_take(struct ram_send *rs, unsigned int region, uint64_t page)
{
	unsigned long bit = 1ul << (page % LONG_BITS);
	unsigned long *word = &rs->dirty[region][page / LONG_BITS];
	uint64_t chunk = page / RAM_PUSH_CHUNK;

	if (!(__atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED) & bit))
		return false;
	atomic_fetch_sub(&rs->left, 1);
	for (unsigned int r = 0; r < region; r++)
		chunk += (memory_pages(rs->mem, r) + RAM_PUSH_CHUNK - 1) /
			 RAM_PUSH_CHUNK;
	atomic_store(&rs->wish, (long long)chunk);
	return true;
}

/* -- those that are asked for ---------------------------------------------- */

static void account(struct ram_push *p, bool zero)
{
	struct migration_progress *progress = p->ram->progress;

	pthread_mutex_lock(&progress->lock);
	if (zero) {
		progress->now.constant_pages++;
	} else {
		progress->now.normal_pages++;
		progress->now.normal_bytes += PAGE_BYTES;
	}
	progress->now.memory_processed += PAGE_BYTES;
	progress->now.memory_remaining -=
		MIN(PAGE_BYTES, progress->now.memory_remaining);
	pthread_mutex_unlock(&progress->lock);
}

static int send_page(struct ram_push *p, gpa_t gpa, struct error *err)
{
	void *page = memory_ptr(p->ram->mem, gpa, PAGE_BYTES);
	bool zero = p->ram->zero->test(page);
	const struct run run = {
		.kind = zero ? RUN_ZERO : RUN_DATA, .gpa = gpa, .npages = 1,
	};
	uint8_t header[RUN_HEADER];
	struct iovec iov[] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = page, .iov_len = PAGE_BYTES },
	};

	run_encode(header, &run);
	account(p, zero);
	return channel_writev(&p->channel, iov, zero ? 1 : 2, 0, err);
}

static int answer(struct ram_push *p, struct error *err)
{
	uint8_t header[RUN_HEADER];
	uint64_t offset = 0;
	unsigned int r = 0;
	struct run run;
	int ret = channel_read(&p->channel, header, sizeof(header), 0, err);

	if (ret == 0)
		ret = run_decode(header, &run, err);
	if (ret == 0 && run.kind != RUN_WANT)
		ret = error_set(err, EPROTO, "run of kind %u where pages are asked for",
				run.kind);
	if (ret == 0 && !memory_locate(p->ram->mem, run.gpa, PAGE_BYTES, &r,
				       &offset))
		ret = error_set(err, EPROTO, "asked for a page at %#llx, outside of memory",
				(unsigned long long)run.gpa);
	if (ret < 0)
		return ret;
	atomic_fetch_add(&p->requests, 1);
	/* else it is on its way */
	if (ram_send_take(p->ram, r, offset >> PAGE_SHIFT))
		ret = send_page(p, run.gpa, err);
	return ret;
}

static void *push_thread(void *arg)
{
	struct ram_push *p = arg;
	struct error err = ERROR_INIT;

	while (answer(p, &err) == 0)
		;
	/* whoever sends the rest finds out by control: nothing is lost */
	channel_shutdown(&p->channel);
	return NULL;
}

void ram_push_init(struct ram_push *p)
{
	p->started = false;
	channel_init(&p->channel);
}

int ram_push_start(struct ram_push *p, struct ram_send *ram,
		   struct error *err)
{
	p->ram = ram;
	if (thread_start(&p->thread, "push", push_thread, p))
		return error_set(err, EAGAIN, "no thread for pages that are asked for");
	p->started = true;
	return 0;
}

void ram_push_stop(struct ram_push *p)
{
	channel_shutdown(&p->channel);
	if (p->started)
		pthread_join(p->thread, NULL);
	p->started = false;
	atomic_fetch_add(&p->bytes, atomic_load(&p->channel.sent));
	channel_close(&p->channel);
}
