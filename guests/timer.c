/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: the local APIC's timer interrupts, and keeps its pace by the TSC.
 * Options: n=20 interrupts, ms=50 apart, tsc=kHz. Prints "timer n us=" for
 * each (us since the one before) and ends with 0 if all came, none early.
 * Ring 0 with interrupts on: the interrupt frame, IRETQ and EOI are real.
 */
#include "lib/guest.h"

#define APIC 0xfee00000UL
#define VECTOR 0x30

enum {
	APIC_EOI = 0xb0, APIC_SPURIOUS = 0xf0,
	APIC_LVT_TIMER = 0x320, APIC_COUNT = 0x380, APIC_CURRENT = 0x390,
	APIC_DIVIDE = 0x3e0,
};

static volatile uint64_t interrupts;

static volatile uint32_t *apic(unsigned int reg)
{
	return (volatile uint32_t *)(APIC + reg);
}

void trap(struct frame *frame)
{
	if (frame->vector != VECTOR) {
		trap_report(frame);
		leave(2);
	}
	interrupts++;
	*apic(APIC_EOI) = 0;
}

/* ticks of the APIC's count-down in a millisecond of TSC */
static uint32_t apic_khz(void)
{
	uint64_t until;

	*apic(APIC_LVT_TIMER) = 0x10000;
	*apic(APIC_DIVIDE) = 0xb;
	*apic(APIC_COUNT) = 0xffffffff;
	until = rdtsc() + 10 * clock_khz();
	while (rdtsc() < until)
		cpu_relax();
	return (0xffffffff - *apic(APIC_CURRENT)) / 10;
}

static void report(uint64_t n, uint64_t us)
{
	char line[64], *at = put_text(line, "timer ");

	at = put_number(at, n);
	at = put_field(at, "us", us);
	*at++ = '\n';
	print_to(line, at);
}

/* one shot of the timer: how long it took, in microseconds */
static uint64_t shot(uint32_t ticks)
{
	uint64_t before = interrupts, start = rdtsc();

	*apic(APIC_COUNT) = ticks;
	while (interrupts == before)
		cpu_relax();
	return to_us(rdtsc() - start);
}

void guest_start(const struct start_info *info)
{
	uint64_t n, count, ms, early = 0;
	uint32_t khz;

	cmdline_init(info);
	clock_init();
	count = cmdline_number("n", 20);
	ms = cmdline_number("ms", 50);
	/* the 8254, used to measure the TSC, has raised IRQ 0: the 8259s,
	 * never told a base, would deliver it as vector 0 */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	*apic(APIC_SPURIOUS) = 0x1ff;
	khz = apic_khz();
	*apic(APIC_LVT_TIMER) = VECTOR;
	print("\n");
	__asm__ volatile("sti" : : : "memory");
	for (n = 1; n <= count; n++) {
		uint64_t us = shot(khz * ms);

		report(n, us);
		early += us < ms * 900;
	}
	leave(early != 0);
}
