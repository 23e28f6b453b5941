/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that changes at a rate and is known word by word: page p in
 * generation g holds seed(p, g) + i * STEP at word i.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "work.h"

#define WORDS 512
#define STEP 0xd1b54a32d192ed03u

static struct {
	pthread_mutex_t lock;	/* of pages, generations and errors */
	bool on;
	uint64_t pages, per_tick;
	uint64_t (*page)[WORDS];
	uint32_t *generation;
	uint64_t errors, visits, bad_page;
} mem = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t seed(uint64_t page)
{
	return (page + 1) * 0x9e3779b97f4a7c15 ^
	       mem.generation[page] * 0xbf58476d1ce4e5b9u;
}

static void check_page(uint64_t p)
{
	uint64_t x = seed(p);
	unsigned int i;

	for (i = 0; i < WORDS; i++, x += STEP) {
		if (mem.page[p][i] == x)
			continue;
		mem.bad_page = p;
		if (!mem.errors++)
			say("mem ERROR page=%llu word=%u got=%llx want=%llx",
			    (unsigned long long)p, i,
			    (unsigned long long)mem.page[p][i],
			    (unsigned long long)x);
		return;
	}
}

static void write_page(uint64_t p)
{
	uint64_t x = seed(p);
	unsigned int i;

	for (i = 0; i < WORDS; i++, x += STEP)
		mem.page[p][i] = x;
}

static void visit(uint64_t p)
{
	check_page(p);
	mem.generation[p]++;
	write_page(p);
}

static void *run(void *unused)
{
	double when = seconds(CLOCK_MONOTONIC);
	uint64_t p = 0, n;

	for (;;) {
		pthread_mutex_lock(&mem.lock);
		for (n = 0; n < mem.per_tick; n++) {
			visit(p);
			p = p + 1 == mem.pages ? 0 : p + 1;
		}
		mem.visits += n;
		pthread_mutex_unlock(&mem.lock);
		when += 0.01;
		if (when < seconds(CLOCK_MONOTONIC))
			when = seconds(CLOCK_MONOTONIC) + 0.002;
		sleep_until(when);
	}
	return unused;
}

bool mem_start(const char *value)
{
	unsigned int mb = 0, rate = 0;
	uint64_t p;

	if (sscanf(value, "%u,%u", &mb, &rate) < 1 || !mb)
		return false;
	mem.pages = mb * 256ull;
	mem.per_tick = (rate * 256ull + 99) / 100;
	mem.page = mmap(NULL, mem.pages * sizeof(*mem.page),
			PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	mem.generation = calloc(mem.pages, sizeof(*mem.generation));
	if (mem.page == MAP_FAILED || !mem.generation)
		return false;
	for (p = 0; p < mem.pages; p++)
		write_page(p);
	mem.on = start_thread(run);
	return mem.on;
}

struct report mem_check(void)
{
	struct report r;
	uint64_t p;

	if (!mem.on)
		return report(VERDICT_SKIP, "work.mem is off");
	pthread_mutex_lock(&mem.lock);
	for (p = 0; p < mem.pages; p++)
		check_page(p);
	if (mem.errors)
		r = report(VERDICT_FAIL, "%llu bad pages, last %llu",
			   (unsigned long long)mem.errors,
			   (unsigned long long)mem.bad_page);
	else
		r = report(VERDICT_OK, "%llu pages, %llu visits",
			   (unsigned long long)mem.pages,
			   (unsigned long long)mem.visits);
	pthread_mutex_unlock(&mem.lock);
	return r;
}
