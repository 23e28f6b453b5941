/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/forecast.h"

#include <string.h>

#include "vmm/base/util.h"

#define ROUNDS_MAX 100000
#define DOUBLINGS 10		/* of the bandwidth, to look for enough */
#define HALVINGS 8

static uint64_t line_time(const struct forecast_model *m, uint64_t bytes)
{
	return (uint64_t)((double)bytes * 1e9 /
			  (double)MAX(m->bandwidth, 1ull));
}

void forecast_run(struct forecast *f, const struct forecast_model *model,
		  const struct policy_config *cfg)
{
	struct policy_round r = { .dirty = model->first };
	struct error why = ERROR_INIT;
	struct policy p;

	policy_init(&p, cfg);
	*f = (struct forecast){ .end = POLICY_CONTINUE, .least_ns = UINT64_MAX };
	while (f->end == POLICY_CONTINUE && f->rounds < ROUNDS_MAX) {
		uint64_t start = r.elapsed_ns;

		r.sent = r.dirty;
		r.sent_ns = line_time(model, r.sent) + model->latency_ns;
		r.dirty_ns = r.sent_ns;
		r.dirty = model->dirty(model->arg, start, r.sent_ns,
				       p.throttle);
		r.elapsed_ns += r.sent_ns;
		f->end = policy_round(&p, &r, &why);
		f->bytes += r.sent;
		f->rounds++;
		f->least_ns = MIN(f->least_ns, p.expected_ns);
	}
	f->bytes += r.dirty;
	f->throttle = p.throttle;
	f->bandwidth = p.bandwidth;
	f->dirty_rate = p.dirty_rate;
	f->pause_ns = model->overhead_ns;
	f->total_ns = r.elapsed_ns + line_time(model, r.dirty) + f->pause_ns;
	if (f->end != POLICY_SWITCH)
		f->pause_ns += line_time(model, r.dirty);
	if (f->end == POLICY_CONTINUE)
		f->end = POLICY_GIVE_UP;
}

static bool converges(struct forecast *f, const struct forecast_model *m,
		      const struct policy_config *cfg)
{
	forecast_run(f, m, cfg);
	return f->end == POLICY_STOP;
}

/* The least bandwidth with which it converges, to within a percent. */
static uint64_t enough_bandwidth(const struct forecast_model *model,
				 const struct policy_config *cfg)
{
	struct forecast_model m = *model;
	struct policy_config c = *cfg;
	uint64_t low = m.bandwidth, high;
	struct forecast f;
	unsigned int i;

	c.bandwidth_limit = 0;
	for (i = 0; i < DOUBLINGS && !converges(&f, &m, &c); i++) {
		low = m.bandwidth;
		m.bandwidth *= 2;
	}
	if (i == DOUBLINGS)
		return 0;
	high = m.bandwidth;
	for (i = 0; i < HALVINGS; i++) {
		m.bandwidth = low + (high - low) / 2;
		if (converges(&f, &m, &c))
			high = m.bandwidth;
		else
			low = m.bandwidth;
	}
	return high;
}

void forecast_needs(struct forecast_needs *needs,
		    const struct forecast_model *model,
		    const struct policy_config *cfg)
{
	struct policy_config c = *cfg;
	struct forecast f;

	memset(needs, 0, sizeof(*needs));
	c.auto_converge = true;
	c.timeout_ns = 0;
	if (converges(&f, model, &c))
		needs->throttle = f.throttle;
	c = *cfg;
	c.timeout_ns = 0;
	forecast_run(&f, model, &c);
	c.downtime_ns = c.max_pause_ns = f.least_ns + NSEC_PER_MSEC;
	if (converges(&f, model, &c))
		needs->downtime_ns = c.downtime_ns;
	needs->bandwidth = enough_bandwidth(model, cfg);
}

static uint64_t curve_at(const struct forecast_curve *c, uint64_t ns)
{
	uint64_t x0 = 0, y0 = 0, x1, y1;
	unsigned int i = 0;
	double y;

	if (!c->n)
		return 0;
	while (i + 1 < c->n && c->point[i].ns < ns) {
		x0 = c->point[i].ns;
		y0 = c->point[i++].bytes;
	}
	x1 = c->point[i].ns;
	y1 = c->point[i].bytes;
	y = (double)y0 + (double)(y1 - y0) * ((double)ns - (double)x0) /
	    (double)MAX(x1 - x0, 1ull);
	return y < (double)c->memory ? (uint64_t)y : c->memory;
}

/* It is the same at any time: @from_ns says nothing. */
uint64_t forecast_curve_dirty(const void *arg, uint64_t from_ns, uint64_t ns,
			      unsigned int throttle)
{
	return curve_at(arg, ns / 100 * (100 - throttle));
}
