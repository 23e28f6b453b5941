/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Print this machine's TSC frequency in kHz. An emulated host sees the same
 * counter, and is told (tsc_early_khz=) because it calibrates badly when the
 * machine is busy.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct sample {
	double time, width;
	uint64_t tsc;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* the tightest of some: nothing came between the clock and the counter */
static struct sample take(void)
{
	struct sample best = { .width = 1 };
	int i;

	for (i = 0; i < 50; i++) {
		double before = now();
		uint64_t tsc = __rdtsc();
		double after = now();

		if (after - before < best.width)
			best = (struct sample){ (before + after) / 2,
						after - before, tsc };
	}
	return best;
}

int main(void)
{
	struct sample a = take(), b;

	nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
	b = take();
	printf("%.0f\n", (b.tsc - a.tsc) / (b.time - a.time) / 1e3);
	return 0;
}
