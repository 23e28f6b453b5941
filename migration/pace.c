/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/pace.h"

#include <string.h>

#include "vmm/base/util.h"

#define START 2			/* a mistake costs little here, whatever the link */
#define GAIN 1.03		/* what a step must bring */
#define WORTH 0.9		/* of the bytes: more are sent as they are */
#define PATIENCE_MAX 64

/* Each about half as fast as the one before, on memory that compresses. */
static const int level[PACE_STEPS] = { 0, -20, -5, 1, 3, 6, 9 };

void pace_init(struct pace *p)
{
	*p = (struct pace){ .step = START, .patience = 1 };
}

int pace_level(const struct pace *p)
{
	return level[p->step];
}

static void try_step(struct pace *p, double rate, unsigned int step)
{
	p->trying = true;
	p->old_step = p->step;
	p->old_rate = rate;
	p->step = step;
}

static void take_back(struct pace *p)
{
	p->step = p->old_step;
	p->wait = p->patience;
	p->patience = MIN(4 * p->patience, PATIENCE_MAX);
}

/* The neighbour towards which the longer wait points. */
static unsigned int next_step(const struct pace *p)
{
	if (!p->step || (p->send_ns > p->cpu_ns && p->step + 1 < PACE_STEPS))
		return p->step + 1;
	if (p->send_ns > p->cpu_ns)
		return p->step;
	/* to compress at all did not pay */
	return p->step - 1;
}

static void decide(struct pace *p)
{
	double rate = (double)p->raw / (double)MAX(p->cpu_ns + p->send_ns, 1ull);
	bool worth = (double)p->out <= WORTH * (double)p->raw;
	bool gained = rate > p->old_rate * GAIN;

	if (p->step && !worth) {
		/* incompressible: whatever the link, CPU time is for nothing */
		p->old_step = 0;
		p->trying = false;
		take_back(p);
		return;
	}
	if (p->trying && !gained) {
		p->trying = false;
		take_back(p);
		return;
	}
	if (p->trying)
		p->patience = 1;
	p->trying = false;
	if (p->wait)
		p->wait--;
	else if (next_step(p) != p->step)
		try_step(p, rate, next_step(p));
}

void pace_note(struct pace *p, const struct pace_batch *b)
{
	p->raw += b->raw;
	p->out += b->out;
	p->cpu_ns += b->cpu_ns;
	p->send_ns += b->send_ns;
	/* to look whether it pays again costs most where it does not */
	if (p->raw < (p->trying && !p->old_step ? PACE_PROBE : PACE_WINDOW))
		return;
	decide(p);
	p->raw = p->out = p->cpu_ns = p->send_ns = 0;
}
