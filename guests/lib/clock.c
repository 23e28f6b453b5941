/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TSC: its frequency, and the largest gap between two looks at it. */
#include "guest.h"

static struct {
	uint64_t khz;
	uint64_t last, widest;
} tsc = { .khz = 1000000 };

/*
 * Channel 0 of the 8254 counts 20 ms down in mode 0; the read-back command's
 * status has its output in bit 7 (port 0x61 would be simpler, but small
 * machines have none). No PIT reads as ones: then 1 GHz is as good as any,
 * and microseconds are only proportional.
 */
static uint64_t measure(void)
{
	const uint32_t count = 1193182 / 50;
	unsigned int tries;
	uint64_t start;

	outb(0x43, 0x30);
	outb(0x40, count & 0xff);
	start = rdtsc();
	outb(0x40, count >> 8);
	start += (rdtsc() - start) / 2;
	for (tries = 0; tries < 100000; tries++) {
		outb(0x43, 0xe2);
		if (inb(0x40) & 0x80)
			break;
	}
	return tries && tries < 100000 ? (rdtsc() - start) / 20 : tsc.khz;
}

void clock_init(void)
{
	uint64_t khz = cmdline_number("tsc", 0);

	tsc.khz = khz ? khz : measure();
	tsc.last = rdtsc();
	tsc.widest = 0;
}

uint64_t clock_khz(void)
{
	return tsc.khz;
}

uint64_t to_us(uint64_t ticks)
{
	return ticks / tsc.khz * 1000 + ticks % tsc.khz * 1000 / tsc.khz;
}

uint64_t gap_stamp(void)
{
	uint64_t now = rdtsc();
	int64_t gap = now - tsc.last;

	if (gap > (int64_t)tsc.widest)
		tsc.widest = gap;
	tsc.last = now;
	return now;
}

uint64_t gap_take(void)
{
	uint64_t widest = tsc.widest;

	tsc.widest = 0;
	tsc.last = rdtsc();
	return widest;
}
