/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/vcpus.h"

#include <string.h>

#include "vmm/base/util.h"

#define REST_MOST 99.0
/* A shorter time says little. */
#define MEASURE_NS (100 * NSEC_PER_MSEC)

/* What was measured while it rested part of the time, without that. Half of the
 * last guess stays, since rounds differ. */
static double guess(const struct vcpu_loads *l, unsigned int i, bool first)
{
	double now = (double)l->rate[i] * 100 / (100 - l->rest[i]);

	return first ? now : l->need[i] / 2 + now / 2;
}

bool vcpu_loads_measure(struct vcpu_loads *l, unsigned int n,
			const uint64_t *pages, uint64_t now)
{
	bool first = !l->n;

	if (l->since && now - l->since < MEASURE_NS)
		return false;
	for (unsigned int i = 0; i < n && l->since; i++) {
		uint64_t more = pages[i] - l->seen[i];

		l->rate[i] = (uint64_t)((double)more * 1e9 /
					(double)(now - l->since));
		l->need[i] = guess(l, i, first);
	}
	l->n = l->since ? n : 0;
	l->since = now;
	memcpy(l->seen, pages, n * sizeof(*pages));
	return true;
}

/* Those at the most take off REST_MOST of what they need: is the factor of the
 * others such that one of them comes to the most? Then it is one of those. */
static double factor(const struct vcpu_loads *l, double wanted, double slack)
{
	double k = 0, before;

	do {
		double left = wanted, squares = 0;
		bool capped = false;

		before = k;
		for (unsigned int i = 0; i < l->n; i++) {
			if (k * l->need[i] > REST_MOST) {
				left -= REST_MOST * l->need[i];
				capped = true;
			} else {
				squares += l->need[i] * l->need[i];
			}
		}
		left -= capped ? slack : 0;
		if (left > 0 && squares > 0)
			k = MAX(k, left / squares);
	} while (k > before);
	return k;
}

void vcpu_loads_share(struct vcpu_loads *l, unsigned int percent)
{
	double total = 0, k;

	for (unsigned int i = 0; i < l->n; i++)
		total += l->need[i];
	k = factor(l, percent * total, total);
	for (unsigned int i = 0; i < l->n; i++)
		l->rest[i] = total > 0 ?
			(unsigned int)(MIN(k * l->need[i], REST_MOST) + 0.5) :
			percent;
}
