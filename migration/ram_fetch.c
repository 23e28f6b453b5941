/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/ram_fetch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migration/bits.h"
#include "migration/message.h"
#include "migration/userfault.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"
#include "vmm/base/util.h"

/* -- the map of what is missing ------------------------------------------- */

static bool is_missing(const struct ram_fetch *rf, unsigned int r,
		       uint64_t page)
{
	return atomic_load(&rf->missing[r][page / LONG_BITS]) >>
	       (page % LONG_BITS) & 1;
}

/* How many of the @n pages were missing, and no longer are. */
static uint64_t forget(struct ram_fetch *rf, unsigned int r, uint64_t first,
		       uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t page = first; page < first + n; page++) {
		unsigned long bit = 1ul << (page % LONG_BITS);

		sum += (atomic_fetch_and(&rf->missing[r][page / LONG_BITS],
					 ~bit) & bit) != 0;
	}
	return sum;
}

/* The region that holds all of it, and the first page's number there. */
static int locate(const struct ram_fetch *rf, gpa_t gpa, uint64_t npages,
		  unsigned int *r, uint64_t *first, struct error *err)
{
	uint64_t offset;

	if (!memory_locate(rf->mem, gpa, npages << PAGE_SHIFT, r, &offset))
		return error_set(err, EPROTO, "%llu pages at %#llx lie outside of memory",
				 (unsigned long long)npages,
				 (unsigned long long)gpa);
	*first = offset >> PAGE_SHIFT;
	return 0;
}

/* -- who waits ------------------------------------------------------------ */

static void note_wait(struct wire_fetched *t, uint64_t us)
{
	unsigned int i = us < 2 ? 0 : 63 - (unsigned int)__builtin_clzll(us);

	t->faults++;
	t->blocked_us += us;
	t->longest_us = MAX(t->longest_us, us);
	t->wait[MIN(i, WIRE_FETCH_BUCKETS - 1u)]++;
}

/* The pages of [gpa, gpa + len) are there. */
static void release(struct ram_fetch *rf, gpa_t gpa, uint64_t len)
{
	uint64_t now = now_ns();

	pthread_mutex_lock(&rf->lock);
	for (unsigned int i = 0; i < rf->nwaits;) {
		struct ram_fetch_wait *w = &rf->wait[i];

		if (w->gpa - gpa >= len) {
			i++;
			continue;
		}
		note_wait(&rf->told, (now - w->since) / NSEC_PER_USEC);
		*w = rf->wait[--rf->nwaits];
	}
	pthread_mutex_unlock(&rf->lock);
}

/* Somebody waits for this page. Beyond the table's end nobody is timed, and
 * the page comes when its turn is. */
static void remember(struct ram_fetch *rf, gpa_t gpa)
{
	pthread_mutex_lock(&rf->lock);
	for (unsigned int i = 0; i < rf->nwaits; i++) {
		if (rf->wait[i].gpa != gpa)
			continue;
		pthread_mutex_unlock(&rf->lock);
		return;
	}
	if (rf->nwaits < RAM_FETCH_WAITERS)
		rf->wait[rf->nwaits++] = (struct ram_fetch_wait){
			.gpa = gpa, .since = now_ns(),
		};
	pthread_mutex_unlock(&rf->lock);
}

/* The next page that the source was not asked for yet. */
static bool next_wish(struct ram_fetch *rf, gpa_t *gpa)
{
	bool found = false;

	pthread_mutex_lock(&rf->lock);
	for (unsigned int i = 0; i < rf->nwaits && rf->linked && !found; i++) {
		if (rf->wait[i].asked)
			continue;
		rf->wait[i].asked = found = true;
		*gpa = rf->wait[i].gpa;
	}
	pthread_mutex_unlock(&rf->lock);
	return found;
}

static void link_failed(struct ram_fetch *rf, const struct error *err)
{
	pthread_mutex_lock(&rf->lock);
	if (rf->linked) {
		rf->linked = false;
		rf->ret = -err->code;
		rf->err = *err;
	}
	pthread_mutex_unlock(&rf->lock);
	fd_event_signal(rf->event_fd);
}

/* -- the handler ---------------------------------------------------------- */

static void ask(struct ram_fetch *rf, gpa_t gpa)
{
	const struct run want = { .kind = RUN_WANT, .gpa = gpa, .npages = 1 };
	struct error err = ERROR_INIT;
	uint8_t header[RUN_HEADER];
	struct iovec iov = { .iov_base = header, .iov_len = sizeof(header) };

	run_encode(header, &want);
	pthread_mutex_lock(&rf->send_lock);
	if (rf->channel.fd >= 0 &&
	    channel_writev(&rf->channel, &iov, 1, now_ns() + MESSAGE_IDLE_NS,
			   &err) < 0)
		link_failed(rf, &err);
	pthread_mutex_unlock(&rf->send_lock);
}

static void wait_for(struct ram_fetch *rf, unsigned int r, uint64_t page)
{
	gpa_t gpa = rf->mem->region[r].range.base + (page << PAGE_SHIFT);

	remember(rf, gpa);
	/* it may have come in between */
	if (!is_missing(rf, r, page))
		release(rf, gpa, PAGE_BYTES);
}

/* Somebody waits at @addr. */
static void hear(struct ram_fetch *rf, uintptr_t addr)
{
	struct error err = ERROR_INIT;

	for (unsigned int r = 0; r < rf->mem->nregions; r++) {
		const struct memory_region *region = &rf->mem->region[r];
		uint64_t offset = addr - (uintptr_t)region->host;

		if (offset >= region->range.size)
			continue;
		/* also where it has come meanwhile: that wakes */
		if (!is_missing(rf, r, offset >> PAGE_SHIFT))
			(void)!userfault_zero(rf->uffd, region->host + offset,
					      PAGE_BYTES, &err);
		else
			wait_for(rf, r, offset >> PAGE_SHIFT);
		return;
	}
}

static void *handler_thread(void *arg)
{
	struct ram_fetch *rf = arg;
	struct pollfd p[] = {
		{ .fd = rf->uffd, .events = POLLIN },
		{ .fd = rf->wake_fd, .events = POLLIN },
	};
	struct error err = ERROR_INIT;
	uintptr_t addr;
	gpa_t gpa;

	while (!atomic_load(&rf->quit)) {
		poll(p, ARRAY_SIZE(p), -1);
		fd_event_take(rf->wake_fd);
		while (userfault_next(rf->uffd, &addr, &err) == 1)
			hear(rf, addr);
		while (next_wish(rf, &gpa))
			ask(rf, gpa);
	}
	return NULL;
}

/* -- what comes over the fault channel ------------------------------------- */

static int recv_wish(struct ram_fetch *rf, void *bounce, struct error *err)
{
	uint8_t header[RUN_HEADER];
	struct run run;
	int ret = channel_read(&rf->channel, header, sizeof(header), 0, err);

	if (ret == 0)
		ret = run_decode(header, &run, err);
	if (ret < 0)
		return ret;
	if (run.kind == RUN_ZERO)
		return ram_fetch_place(rf, run.gpa, run.npages, NULL, err);
	if (run.kind != RUN_DATA)
		return error_set(err, EPROTO, "run of kind %u on the fault channel",
				 run.kind);
	ret = channel_read(&rf->channel, bounce,
			   (size_t)run.npages << PAGE_SHIFT,
			   now_ns() + MESSAGE_IDLE_NS, err);
	return ret < 0 ? ret : ram_fetch_place(rf, run.gpa, run.npages, bounce,
					       err);
}

static void *reader_thread(void *arg)
{
	struct ram_fetch *rf = arg;
	void *bounce = malloc(RUN_MAX_PAGES * PAGE_BYTES);
	struct error err = ERROR_INIT;
	int ret = bounce ? 0 : error_set(&err, ENOMEM, "no memory for pages");

	while (ret == 0)
		ret = recv_wish(rf, bounce, &err);
	free(bounce);
	link_failed(rf, &err);
	return NULL;
}

/* -- for everybody -------------------------------------------------------- */

void ram_fetch_clear(struct ram_fetch *rf)
{
	memset(rf, 0, sizeof(*rf));
	rf->uffd = rf->event_fd = rf->wake_fd = -1;
	channel_init(&rf->channel);
}

static void free_all(struct ram_fetch *rf)
{
	for (unsigned int r = 0; r < MEMORY_MAX_REGIONS; r++)
		free(rf->missing[r]);
	fd_close(&rf->event_fd);
	fd_close(&rf->wake_fd);
	pthread_mutex_destroy(&rf->send_lock);
	pthread_mutex_destroy(&rf->lock);
	ram_fetch_clear(rf);
}

static void unregister(struct ram_fetch *rf)
{
	for (unsigned int r = 0; r < rf->mem->nregions; r++)
		userfault_unregister(rf->uffd, rf->mem->region[r].host,
				     rf->mem->region[r].range.size);
}

int ram_fetch_init(struct ram_fetch *rf, struct memory *mem, int uffd,
		   struct error *err)
{
	int ret = 0;

	ram_fetch_clear(rf);
	rf->mem = mem;
	rf->uffd = uffd;
	pthread_mutex_init(&rf->lock, NULL);
	pthread_mutex_init(&rf->send_lock, NULL);
	rf->event_fd = fd_event();
	rf->wake_fd = fd_event();
	if (rf->event_fd < 0 || rf->wake_fd < 0)
		ret = error_set(err, EMFILE, "no descriptor for missing pages");
	for (unsigned int r = 0; r < mem->nregions && ret == 0; r++) {
		rf->missing[r] = calloc(bits_longs(memory_pages(mem, r)),
					sizeof(long));
		if (!rf->missing[r])
			ret = error_set(err, ENOMEM, "no memory for a map of missing pages");
	}
	/* before anything is thrown away: else the kernel might put a huge
	 * page there in between */
	for (unsigned int r = 0; r < mem->nregions && ret == 0; r++)
		ret = userfault_register(uffd, mem->region[r].host,
					 mem->region[r].range.size, err);
	if (ret < 0) {
		unregister(rf);
		free_all(rf);
	}
	return ret;
}

static int discard(struct ram_fetch *rf, unsigned int r, uint64_t first,
		   uint64_t n, struct error *err)
{
	uint8_t *host = rf->mem->region[r].host + (first << PAGE_SHIFT);
	bool shared = rf->mem->backing == MEMORY_MEMFD;

	if (madvise(host, n << PAGE_SHIFT,
		    shared ? MADV_REMOVE : MADV_DONTNEED))
		return error_set(err, errno, "throwing away %llu pages: %s",
				 (unsigned long long)n, strerror(errno));
	for (uint64_t page = first; page < first + n; page++) {
		unsigned long bit = 1ul << (page % LONG_BITS);

		if (!(atomic_fetch_or(&rf->missing[r][page / LONG_BITS], bit) &
		      bit))
			atomic_fetch_add(&rf->nmissing, 1);
	}
	return 0;
}

int ram_fetch_mark(struct ram_fetch *rf, const struct wire_missing *m,
		   struct error *err)
{
	uint64_t first = 0;
	unsigned int r = 0;
	int ret = locate(rf, m->gpa, m->npages, &r, &first, err);

	for (uint32_t i = 0; ret == 0 && i < m->npages;) {
		uint32_t start = i;

		while (i < m->npages && wire_missing_bit(m, i))
			i++;
		if (i > start)
			ret = discard(rf, r, first + start, i - start, err);
		else
			i++;
	}
	return ret;
}

int ram_fetch_start(struct ram_fetch *rf, struct channel *ch,
		    struct error *err)
{
	pthread_mutex_lock(&rf->send_lock);
	rf->channel = *ch;
	pthread_mutex_unlock(&rf->send_lock);
	channel_init(ch);
	pthread_mutex_lock(&rf->lock);
	rf->linked = true;
	rf->ret = 0;
	error_clear(&rf->err);
	for (unsigned int i = 0; i < rf->nwaits; i++)
		rf->wait[i].asked = false;
	pthread_mutex_unlock(&rf->lock);
	rf->reading = !thread_start(&rf->reader, "fetch", reader_thread, rf);
	if (rf->reading && !rf->handling)
		rf->handling = !thread_start(&rf->handler, "faults", handler_thread,
					     rf);
	fd_event_signal(rf->wake_fd);
	if (!rf->reading || !rf->handling)
		return error_set(err, EAGAIN, "no thread for missing pages");
	return 0;
}

bool ram_fetch_linked(struct ram_fetch *rf)
{
	return rf->mem && rf->reading;
}

int ram_fetch_check(struct ram_fetch *rf, struct error *err)
{
	int ret;

	if (!rf->mem)
		return 0;
	pthread_mutex_lock(&rf->lock);
	ret = rf->ret;
	if (ret < 0)
		*err = rf->err;
	pthread_mutex_unlock(&rf->lock);
	if (ret < 0)
		error_prefix(err, "fault channel");
	return ret;
}

uint64_t ram_fetch_missing(const struct ram_fetch *rf)
{
	return rf->mem ? atomic_load(&rf->nmissing) << PAGE_SHIFT : 0;
}

bool ram_fetch_look(const struct ram_fetch *rf, unsigned int region,
		    uint64_t first, uint32_t npages, uint8_t *bits)
{
	bool any = false;

	memset(bits, 0, (npages + 7) / 8);
	for (uint32_t i = 0; i < npages; i++) {
		if (!is_missing(rf, region, first + i))
			continue;
		bits[i / 8] |= (uint8_t)(1 << i % 8);
		any = true;
	}
	return any;
}

static void arrived(struct ram_fetch *rf, unsigned int r, gpa_t gpa,
		    uint64_t first, uint64_t npages)
{
	uint64_t n = forget(rf, r, first, npages);

	if (n && atomic_fetch_sub(&rf->nmissing, n) == n)
		fd_event_signal(rf->event_fd);
	release(rf, gpa, npages << PAGE_SHIFT);
}

int ram_fetch_place(struct ram_fetch *rf, gpa_t gpa, uint32_t npages,
		    const void *data, struct error *err)
{
	uint64_t len = (uint64_t)npages << PAGE_SHIFT, first = 0;
	unsigned int r = 0;
	int ret = locate(rf, gpa, npages, &r, &first, err);
	uint8_t *host = rf->mem->region[r].host + (first << PAGE_SHIFT);

	if (ret == 0)
		ret = data ? userfault_copy(rf->uffd, host, data, len, err) :
			     userfault_zero(rf->uffd, host, len, err);
	if (ret == 0)
		arrived(rf, r, gpa, first, npages);
	return ret;
}

void ram_fetch_told(struct ram_fetch *rf, struct wire_fetched *out)
{
	memset(out, 0, sizeof(*out));
	if (!rf->mem)
		return;
	pthread_mutex_lock(&rf->lock);
	*out = rf->told;
	pthread_mutex_unlock(&rf->lock);
}

void ram_fetch_cut(struct ram_fetch *rf)
{
	if (!rf->mem)
		return;
	pthread_mutex_lock(&rf->lock);
	rf->linked = false;
	pthread_mutex_unlock(&rf->lock);
	channel_shutdown(&rf->channel);
	if (rf->reading)
		pthread_join(rf->reader, NULL);
	rf->reading = false;
	pthread_mutex_lock(&rf->send_lock);
	channel_close(&rf->channel);
	pthread_mutex_unlock(&rf->send_lock);
}

static void end_threads(struct ram_fetch *rf)
{
	ram_fetch_cut(rf);
	atomic_store(&rf->quit, true);
	fd_event_signal(rf->wake_fd);
	if (rf->handling)
		pthread_join(rf->handler, NULL);
	rf->handling = false;
}

void ram_fetch_finish(struct ram_fetch *rf)
{
	if (!rf->mem)
		return;
	/* first, for somebody may wait whom the handler has not heard yet */
	unregister(rf);
	end_threads(rf);
	free_all(rf);
}

/* Who waits for a page finds none. What is there stays: a request that was
 * under way is completed in it. */
static void forbid_missing(const struct ram_fetch *rf, unsigned int r)
{
	const struct memory_region *region = &rf->mem->region[r];
	uint64_t pages = region->range.size >> PAGE_SHIFT, n;
	int ret = 0;

	for (uint64_t first = 0; first < pages && ret == 0; first += n + 1) {
		for (n = 0; first + n < pages &&
			    is_missing(rf, r, first + n);)
			n++;
		if (n)
			ret = mprotect(region->host + (first << PAGE_SHIFT),
				       n << PAGE_SHIFT, PROT_NONE);
	}
	/* more pieces than the kernel keeps */
	if (ret)
		mprotect(region->host, region->range.size, PROT_NONE);
}

void ram_fetch_abandon(struct ram_fetch *rf)
{
	if (!rf->mem)
		return;
	for (unsigned int r = 0; r < rf->mem->nregions &&
				 atomic_load(&rf->nmissing); r++)
		forbid_missing(rf, r);
	ram_fetch_finish(rf);
}
