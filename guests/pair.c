/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: two CPUs run, each at its own work. Who writes puts the next number
 * into each page of its own ws= MiB(8) from base= MiB(16) on, one after the
 * other, and looks whether the last one is still there; who doesn't write
 * counts. writer=0, 1, or 2 for both. tsc=kHz, hb=ms(100).
 * CPU 0 prints "3", then "H n t=TSC pages= pages1= count= count1= bad=" each hb.
 */
#include "lib/guest.h"

#define APIC_ICR_LOW ((volatile uint32_t *)0xfee00300)
#define APIC_ICR_HIGH ((volatile uint32_t *)0xfee00310)
#define AP_PAGE 0x8000UL

extern const char ap_code[], ap_code_end[];
void user_second(void);

/* A page of its own for each, which the other one only reads. */
struct cpu {
	volatile uint64_t pages, count, bad;
	uint64_t *memory, npages, next, number;
	uint64_t writes;
} __attribute__((aligned(4096)));

static struct cpu cpus[2];

/* Of all that CPU @n has to do, a little. */
static void work(struct cpu *cpu)
{
	volatile uint64_t *word;

	if (!cpu->writes) {
		cpu->count++;
		return;
	}
	word = cpu->memory + cpu->next * (PAGE_SIZE / sizeof(*word));
	if (*word != cpu->number)
		cpu->bad++;
	*word = cpu->number + 1;
	cpu->pages++;
	if (++cpu->next == cpu->npages) {
		cpu->next = 0;
		cpu->number++;
	}
}

static void prepare(unsigned int n)
{
	struct cpu *cpu = &cpus[n];
	uint64_t writer = cmdline_number("writer", 0), i;
	uint64_t bytes = cmdline_number("ws", 8) << 20;

	cpu->writes = writer == 2 || writer == n;
	cpu->npages = bytes / PAGE_SIZE;
	cpu->memory = (uint64_t *)((cmdline_number("base", 16) << 20) +
				   n * bytes);
	for (i = 0; cpu->writes && i < cpu->npages; i++)
		cpu->memory[i * (PAGE_SIZE / sizeof(uint64_t))] = 0;
}

/* INIT, then where to start (Intel SDM 3A, 11.6.1). */
static void start_second(void)
{
	char *to = (char *)AP_PAGE;
	const char *from;

	for (from = ap_code; from < ap_code_end; from++)
		*to++ = *from;
	*APIC_ICR_HIGH = 1 << 24;
	*APIC_ICR_LOW = 0x4500;
	*APIC_ICR_HIGH = 1 << 24;
	*APIC_ICR_LOW = 0x4600 | AP_PAGE / PAGE_SIZE;
}

static void beat(uint64_t n, uint64_t now)
{
	char line[200], *at = put_text(line, "\nH ");

	at = put_number(at, n);
	at = put_field(at, "t", now);
	at = put_field(at, "pages", cpus[0].pages);
	at = put_field(at, "pages1", cpus[1].pages);
	at = put_field(at, "count", cpus[0].count);
	at = put_field(at, "count1", cpus[1].count);
	at = put_field(at, "bad", cpus[0].bad + cpus[1].bad);
	*at++ = '\n';
	print_to(line, at);
}

void user_second(void)
{
	for (;;)
		work(&cpus[1]);
}

void user_main(const struct start_info *info)
{
	uint64_t period, next, n = 0;

	cmdline_init(info);
	clock_init();
	print("3\n");
	period = cmdline_number("hb", 100) * clock_khz();
	prepare(0);
	prepare(1);
	start_second();
	for (next = rdtsc() + period;;) {
		uint64_t now = rdtsc();

		work(&cpus[0]);
		if (now < next)
			continue;
		beat(n++, now);
		next = now + period;
	}
}
