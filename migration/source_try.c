/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dry run: the line is measured by a first round that ends after a second,
 * the guest by what it writes in the next. Nothing but that is asked of the
 * guest, and the destination has built the VM and been told to forget it.
 */
#include <errno.h>
#include <stdlib.h>

#include "migration/bits.h"
#include "migration/forecast.h"
#include "migration/source_private.h"
#include "vmm/base/util.h"

#define SAMPLE_NS NSEC_PER_SEC
#define PRESENT_STEP 65536	/* pages asked at a time */

static void keep(struct migration_source *s, enum migration_foreseer by,
		 const struct forecast_model *model)
{
	struct migration_forecast f = { .by = by };
	uint64_t disks = 0;

	forecast_run(&f.run, model, &s->policy.cfg);
	/* they are copied first; holes may make it less */
	for (unsigned int i = 0; i < s->disks.disks.n; i++)
		disks += s->disks.disks.disk[i].size;
	f.run.bytes += disks;
	f.run.total_ns += (uint64_t)((double)disks * 1e9 /
				     (double)MAX(model->bandwidth, 1ull));
	if (by == MIGRATION_BY_DRY_RUN && f.run.end != POLICY_STOP)
		forecast_needs(&f.needs, model, &s->policy.cfg);
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.forecast = f;
	pthread_mutex_unlock(&s->progress.lock);
}

static struct forecast_model model_of(const struct migration_source *s,
				      const struct policy_round *line,
				      const struct forecast_curve *guest)
{
	double seconds = (double)MAX(line->sent_ns, 1ull) / 1e9;
	uint64_t rate = (uint64_t)((double)line->sent / seconds);
	uint64_t limit = s->policy.cfg.bandwidth_limit;

	return (struct forecast_model){
		.dirty = forecast_curve_dirty,
		.arg = guest,
		.first = line->sent,
		.bandwidth = limit ? MIN(rate, limit) : rate,
		.latency_ns = s->rtt_ns,
		.overhead_ns = s->policy.cfg.overhead_ns,
	};
}

void source_foresee(struct migration_source *s, const struct policy_round *r)
{
	const struct forecast_curve guest = {
		.n = 1,
		.point = { { r->dirty_ns, r->dirty } },
		.memory = s->cfg.vm->mem.size,
	};
	const struct forecast_model model = model_of(s, r, &guest);

	if (!s->progress.now.forecast.by)
		keep(s, MIGRATION_BY_FIRST_ROUND, &model);
}

/* Pages that hold anything. */
static uint64_t present_pages(const struct memory *mem)
{
	unsigned long *map = malloc(PRESENT_STEP / 8);
	uint64_t sum = 0;

	for (unsigned int r = 0; map && r < mem->nregions; r++) {
		uint64_t pages = memory_pages(mem, r);

		for (uint64_t first = 0; first < pages; first += PRESENT_STEP) {
			uint64_t n = MIN(pages - first, (uint64_t)PRESENT_STEP);

			memory_present(mem, r, first, n, map);
			sum += bits_count(map, n);
		}
	}
	free(map);
	return sum;
}

/* What the whole first round would have sent; @all pages hold anything. */
static uint64_t whole_round(struct migration_source *s, uint64_t sent,
			    uint64_t all)
{
	struct migration_stats now;
	uint64_t done;

	migration_source_stats(s, &now);
	done = now.constant_pages + now.normal_pages;
	if (!done || done >= all)
		return sent;
	return (uint64_t)((double)sent * (double)all / (double)done);
}

/* Samples at 1/128, 1/64 ... 1/1 of the time: a small working set shows early,
 * and the last ones tell how it goes on. */
static int sample(struct migration_source *s, struct forecast_curve *guest)
{
	uint64_t start = now_ns();
	int ret = ram_send_forget(&s->ram, &s->err);

	for (unsigned int i = 0; ret == 0 && i < FORECAST_POINTS; i++) {
		uint64_t at = SAMPLE_NS >> (FORECAST_POINTS - 1 - i);

		ret = channel_wait_fd(-1, 0, s->cancel_fd, start + at);
		if (ret != -ETIMEDOUT)
			return error_set(&s->err, ECANCELED, "cancelled");
		ret = ram_send_sync(&s->ram, &s->err);
		guest->point[i].ns = now_ns() - start;
		guest->point[i].bytes = s->ram.dirty_pages << PAGE_SHIFT;
		guest->n = i + 1;
	}
	return ret;
}

int source_try(struct migration_source *s, struct policy_round *line)
{
	/* what it has never touched is hardly what it writes to all the time */
	uint64_t pages = present_pages(&s->cfg.vm->mem);
	struct forecast_curve guest = { .memory = pages << PAGE_SHIFT };
	struct forecast_model model;
	int ret = sample(s, &guest);

	if (ret < 0)
		return ret;
	model = model_of(s, line, &guest);
	model.first = whole_round(s, line->sent, pages);
	keep(s, MIGRATION_BY_DRY_RUN, &model);
	return 0;
}
