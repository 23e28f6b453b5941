/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Post-copy: the guest runs on the other side while the rest of its memory
 * follows. From GO on this side has nothing but pages; that the last of them
 * got there is the destination's to say.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "migration/bits.h"
#include "migration/message.h"
#include "migration/missing.h"
#include "migration/source_private.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define FETCHED_NS (30 * NSEC_PER_SEC)
#define LAST_WORD_NS (3 * NSEC_PER_SEC)
#define ANSWER_NS (8 * NSEC_PER_SEC)
/* The other side may take 7 s to see that the old link is dead. */
#define RECOVER_NS (15 * NSEC_PER_SEC)
#define RETRY_NS (200 * NSEC_PER_MSEC)

/* -- which pages are missing there ---------------------------------------- */

/* Of these pages, the dirty ones that were not told of yet; false: none. */
static bool take_untold(void *arg, unsigned int r, uint64_t first, uint64_t n,
			uint8_t *bits)
{
	struct migration_source *s = arg;
	const unsigned long *dirty = s->ram.dirty[r] + first / LONG_BITS;
	unsigned long *told = s->told[r] + first / LONG_BITS;
	unsigned long any = 0;

	for (uint64_t i = 0; i < bits_longs(n); i++) {
		unsigned long word = dirty[i] & ~told[i];

		any |= word;
		told[i] |= word;
		for (unsigned int b = 0; b < sizeof(word); b++)
			bits[i * sizeof(word) + b] = (uint8_t)(word >> 8 * b);
	}
	return any;
}

static int tell_missing(struct migration_source *s, uint64_t deadline)
{
	return missing_tell(&s->control, s->ram.mem, take_untold, s, deadline,
			    &s->err);
}

int source_switch(struct migration_source *s)
{
	int ret = source_connect(s, &s->push.channel, WIRE_ROLE_FAULT, 0);

	if (ret < 0)
		return ret;
	s->push.channel.idle_ns = 0;	/* nobody need ask for anything */
	for (unsigned int r = 0; r < s->ram.mem->nregions && ret == 0; r++) {
		s->told[r] = calloc(bits_longs(memory_pages(s->ram.mem, r)),
				    sizeof(long));
		if (!s->told[r])
			ret = error_set(&s->err, ENOMEM, "no memory for a map of pages");
	}
	ram_send_leave_absent(&s->ram);
	/* what is dirty now is thrown away there before the pause */
	if (ret == 0)
		ret = tell_missing(s, 0);
	if (ret == 0)
		ret = source_end_round(s);
	s->postcopy = ret == 0;
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.type = "post-copy";
	pthread_mutex_unlock(&s->progress.lock);
	return ret;
}

int source_let_go(struct migration_source *s, uint64_t deadline)
{
	int ret;

	ram_send_leave_absent(&s->ram);
	ret = tell_missing(s, deadline);
	if (ret < 0)
		return ret;
	s->stop_round = s->round;
	ram_send_push(&s->ram);
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.postcopy.pages = atomic_load(&s->ram.left);
	pthread_mutex_unlock(&s->progress.lock);
	return ram_push_start(&s->push, &s->ram, &s->err);
}

void source_postcopy_exit(struct migration_source *s)
{
	ram_push_stop(&s->push);
	for (unsigned int r = 0; r < MEMORY_MAX_REGIONS; r++) {
		free(s->told[r]);
		s->told[r] = NULL;
	}
}

/* -- it runs there -------------------------------------------------------- */

static void set_link(struct migration_source *s, enum migration_link link)
{
	struct migration_postcopy *p = &s->progress.now.postcopy;

	pthread_mutex_lock(&s->progress.lock);
	p->link = link;
	p->requests = atomic_load(&s->push.requests);
	if (link == MIGRATION_LINK_LOST)
		p->lost = s->err;
	pthread_mutex_unlock(&s->progress.lock);
}

static bool given_up(struct migration_source *s)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->given_up;
	pthread_mutex_unlock(&s->lock);
	if (yes)
		error_set(&s->err, ECANCELED, "told to give up: the VM on the other side lacks pages of its memory, and can't go on");
	return yes;
}

static int serving_check(void *arg, struct error *err)
{
	struct migration_source *s = arg;

	return pinger_over(&s->pinger) ?
		error_set(err, ECONNRESET, "the destination has left") : 0;
}

static int read_fetched(struct migration_source *s, const struct message *m)
{
	struct wire_fetched told;
	int ret;

	if (m->type != WIRE_FETCHED)
		return source_farewell(m, &s->err);
	ret = wire_fetched_decode(m->payload, m->len, &told, &s->err);
	if (ret == 0 && !wire_job_equal(&told.job, &s->job))
		ret = error_set(&s->err, EPROTO, "FETCHED of another job");
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.postcopy.waits = told;
	s->progress.now.memory_remaining = 0;
	pthread_mutex_unlock(&s->progress.lock);
	return 0;
}

/* All was sent; 0 when all is there. */
static int last_round(struct migration_source *s)
{
	struct wire_round round = { .round = ++s->round };
	uint8_t buf[WIRE_ROUND_SIZE];
	struct message m = { 0 };
	int ret = ram_send_fence(&s->ram, s->round, RUN_LAST, 0, &s->err);

	if (ret == 0)
		ret = message_send(&s->control, WIRE_ROUND, buf,
				   wire_round_encode(buf, &round), NULL, 0, 0,
				   &s->err);
	if (ret == 0)
		ret = message_await(&s->control, &m, s->cancel_fd,
				    now_ns() + FETCHED_NS, &s->err);
	if (ret == 0)
		ret = read_fetched(s, &m);
	message_free(&m);
	return ret;
}

unsigned int source_serving(void *ctx)
{
	struct migration_source *s = ctx;
	int ret;

	set_link(s, MIGRATION_LINK_UP);
	error_clear(&s->err);
	s->ram.check = serving_check;
	source_watch(s);
	ret = source_unwatch(s, ram_send_pages(&s->ram, 0, &s->err));
	if (ret == 0)
		ret = last_round(s);
	set_link(s, MIGRATION_LINK_UP);
	if (ret == 0)
		return SOURCE_EV_FETCHED;
	if (given_up(s))
		return SOURCE_EV_GIVEN_UP;
	return s->err.code == ECONNREFUSED ? SOURCE_EV_DEAD : SOURCE_EV_LOST;
}

/* -- the link was lost ---------------------------------------------------- */

void source_cut(struct migration_source *s)
{
	for (unsigned int i = 0; i < s->nbulk; i++) {
		channel_shutdown(&s->bulk[i]);
		s->cut_bytes += atomic_load(&s->bulk[i].sent);
		channel_close(&s->bulk[i]);
		atomic_store(&s->bulk[i].sent, 0);
	}
	ram_push_stop(&s->push);
	channel_close(&s->control);
	s->round = s->stop_round;
}

/* Nothing was told to be missing yet. */
static void forget_missing(struct migration_source *s)
{
	for (unsigned int r = 0; r < s->ram.mem->nregions; r++)
		memset(s->ram.dirty[r], 0,
		       bits_longs(memory_pages(s->ram.mem, r)) * sizeof(long));
}

static int hear_missing(struct migration_source *s, const struct message *msg)
{
	struct wire_missing m;
	uint64_t offset;
	unsigned int r;
	int ret = wire_missing_decode(msg->payload, msg->len, &m, &s->err);

	if (ret < 0)
		return ret;
	if (!memory_locate(s->ram.mem, m.gpa, (uint64_t)m.npages << PAGE_SHIFT,
			   &r, &offset))
		return error_set(&s->err, EPROTO, "MISSING at %#llx, outside of memory",
				 (unsigned long long)m.gpa);
	for (uint64_t i = 0; i < m.npages; i++) {
		uint64_t page = (offset >> PAGE_SHIFT) + i;

		if (wire_missing_bit(&m, i))
			s->ram.dirty[r][page / LONG_BITS] |=
				1ul << page % LONG_BITS;
	}
	return 0;
}

/* What the other side says of itself, up to its ROUND: 1; 0: go on. */
static int hear_state(struct migration_source *s, bool *complete)
{
	struct wire_running running = { .missing = 1 };
	struct message m;
	int ret = message_recv(&s->control, &m, now_ns() + ANSWER_NS, &s->err);

	if (ret < 0)
		goto out;
	if (m.type == WIRE_RUNNING) {
		ret = wire_running_decode(m.payload, m.len, &running, &s->err);
		*complete = ret == 0 && !running.missing;
		ret = ret < 0 ? ret : *complete;
	} else if (m.type == WIRE_MISSING) {
		ret = hear_missing(s, &m);
	} else {
		ret = m.type == WIRE_ROUND ? 1 : source_farewell(&m, &s->err);
	}
out:
	message_free(&m);
	return ret;
}

static int connect_pages(struct migration_source *s)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < s->nbulk; i++)
		ret = source_connect(s, &s->bulk[i], WIRE_ROLE_BULK, i + 1);
	if (ret == 0)
		ret = source_connect(s, &s->push.channel, WIRE_ROLE_FAULT, 0);
	s->push.channel.idle_ns = 0;
	if (ret == 0)
		ret = ram_push_start(&s->push, &s->ram, &s->err);
	return ret;
}

/* One try; an event, or 0 and s->err. */
static unsigned int reconnect(struct migration_source *s)
{
	bool complete = false;
	int ret, news = 0;

	error_clear(&s->err);
	ret = source_connect(s, &s->control, WIRE_ROLE_RECOVER, 0);
	if (ret < 0)
		return 0;
	forget_missing(s);
	while (news == 0)
		news = hear_state(s, &complete);
	if (complete)
		return SOURCE_EV_FETCHED;
	if (news < 0)
		return 0;
	ram_send_push(&s->ram);
	if (connect_pages(s) < 0)
		return 0;
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.postcopy.recoveries++;
	s->progress.now.memory_remaining = atomic_load(&s->ram.left)
					   << PAGE_SHIFT;
	pthread_mutex_unlock(&s->progress.lock);
	return SOURCE_EV_RECOVERED;
}

static unsigned int recover(struct migration_source *s)
{
	uint64_t deadline = now_ns() + RECOVER_NS;
	unsigned int event = 0;

	set_link(s, MIGRATION_LINK_RECOVERING);
	while (!event && now_ns() < deadline && !given_up(s)) {
		event = reconnect(s);
		if (!event)
			source_cut(s);
		if (!event)
			channel_wait_fd(-1, 0, s->cancel_fd,
					now_ns() + RETRY_NS);
	}
	return event;
}

static void wait_to_be_told(struct migration_source *s)
{
	struct migration_stats stats;

	pthread_mutex_lock(&s->lock);
	s->severed = true;
	pthread_mutex_unlock(&s->lock);
	set_link(s, MIGRATION_LINK_LOST);
	migration_source_stats(s, &stats);
	if (s->cfg.notify)
		s->cfg.notify(s->cfg.arg, &stats);
	channel_wait_fd(s->recover_fd, POLLIN, s->cancel_fd, 0);
	fd_event_take(s->recover_fd);
}

/* The last word may be all that was lost: does the other side miss anything? It
 * may be about to see for itself that the link is gone. */
static bool all_is_there(struct migration_source *s)
{
	uint64_t deadline = now_ns() + LAST_WORD_NS;
	unsigned int event = 0;

	while (!event && now_ns() < deadline && !given_up(s)) {
		event = source_ask(s, deadline);
		if (!event)
			channel_wait_fd(-1, 0, s->cancel_fd,
					now_ns() + RETRY_NS);
	}
	if (event != SOURCE_EV_RUNNING)
		channel_close(&s->control);
	return event == SOURCE_EV_RUNNING;
}

unsigned int source_severed(void *ctx)
{
	struct migration_source *s = ctx;
	struct error why = s->err;
	unsigned int event;

	source_cut(s);
	if (all_is_there(s))
		return SOURCE_EV_FETCHED;
	s->err = why;
	for (event = 0; !event;) {
		if (!s->again)
			wait_to_be_told(s);
		s->again = false;
		if (given_up(s))
			return SOURCE_EV_GIVEN_UP;
		event = recover(s);
	}
	return event;
}

/* -- for everybody -------------------------------------------------------- */

int migration_source_switch(struct migration_source *s, struct error *err)
{
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (s->over || s->committed)
		ret = error_set(err, EALREADY, "too late for post-copy: the %s",
				s->over ? "migration is over" :
					  "destination was told to go");
	else
		atomic_store(&s->switch_now, true);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

int migration_source_recover(struct migration_source *s, const char *uri,
			     struct error *err)
{
	int ret = uri ? channel_security_check(uri, &s->cfg.params.security,
					       err) : 0;
	bool needed;

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&s->lock);
	needed = s->needed;
	if (!s->severed && !needed)
		ret = error_set(err, EINVAL, "nothing to recover: no post-copy has lost its link");
	else if (uri)
		snprintf(s->uri, sizeof(s->uri), "%s", uri);
	s->severed = false;	/* from here on the thread reads uri */
	pthread_mutex_unlock(&s->lock);
	if (needed)
		return source_ask_again(s, err);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.postcopy.link = MIGRATION_LINK_RECOVERING;
	pthread_mutex_unlock(&s->progress.lock);
	fd_event_signal(s->recover_fd);
	return 0;
}

void migration_source_give_up(struct migration_source *s)
{
	pthread_mutex_lock(&s->lock);
	s->given_up = true;
	pthread_mutex_unlock(&s->lock);
	fd_event_signal(s->cancel_fd);
}
