/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command line: ws=MiB(64) rate=MiB/s(0: as fast as it can) ord=s|r
 * base=MiB(16) fill=none|zero|rand|comp fillmb=MiB(ws) hb=ms(100) tick=us(0)
 * tsc=kHz.
 * Serial: "3" in ring 3, "F us" filled, then each hb ms a line
 * "H n t=TSC gap=us pages= sw= bad=", and a dot each tick us.
 */
#include "work.h"

#define WORDS (PAGE_SIZE / sizeof(uint64_t))

static void fill_random(uint64_t *words, uint64_t *state)
{
	uint64_t x = *state;
	unsigned int i;

	for (i = 0; i < WORDS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		words[i] = x;
	}
	*state = x;
}

static void fill_text(uint64_t *words, uint64_t number)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		words[i] = i & 7 ? 0x6f77206f6c6c6568 : number;
}

static void fill(struct work *work, char kind, uint64_t bytes)
{
	uint64_t page, i;

	for (page = 0; page < bytes / PAGE_SIZE; page++) {
		uint64_t *words = work_page(work, page);

		if (kind == 'r')
			fill_random(words, &work->random);
		else if (kind == 'c')
			fill_text(words, page);
		else
			for (i = 0; i < WORDS; i++)
				words[i] = 0;
	}
}

static void read_options(struct work *work)
{
	uint64_t rate = cmdline_number("rate", 0);

	work->base = cmdline_number("base", 16) << 20;
	work->pages = (cmdline_number("ws", 64) << 20) / PAGE_SIZE;
	if (!work->pages)
		work->pages = 1;
	work->period = cmdline_number("hb", 100) * clock_khz();
	work->dot_period = cmdline_number("tick", 0) * clock_khz() / 1000;
	work->order = cmdline_letter("ord", 's');
	if (rate)
		work->page_ticks = clock_khz() * 1000 * PAGE_SIZE /
				   (rate << 20);
}

void work_init(struct work *work, const struct start_info *info)
{
	char line[40], *at, kind;
	uint64_t bytes, start;

	cmdline_init(info);
	clock_init();
	read_options(work);
	print("3\n");
	kind = cmdline_letter("fill", 'n');
	bytes = cmdline_number("fillmb", 0) << 20;
	if (bytes < work->pages * PAGE_SIZE && cmdline_letter("mode", 'd') != 's')
		bytes = work->pages * PAGE_SIZE;
	start = rdtsc();
	work->random = (0x243f6a8885a308d3 ^ start) | 1;
	if (kind != 'n')
		fill(work, kind, bytes);
	at = put_text(line, "F ");
	at = put_number(at, to_us(rdtsc() - start));
	*at++ = '\n';
	print_to(line, at);
	gap_take();
	work->paced_from = rdtsc();
	work->next_beat = work->paced_from + work->period;
	work->next_dot = work->paced_from + work->dot_period;
}

static void beat(struct work *work, uint64_t now)
{
	char line[160], *at = put_text(line, "\nH ");

	at = put_number(at, work->beats++);
	at = put_field(at, "t", now);
	at = put_field(at, "gap", to_us(gap_take()));
	at = put_field(at, "pages", work->done);
	at = put_field(at, "sw", work->sweeps);
	at = put_field(at, "bad", work->bad);
	*at++ = '\n';
	print_to(line, at);
}

/* also due when the clock went back (restored on another machine) */
static int due(uint64_t now, uint64_t when, uint64_t period)
{
	return now >= when || now + 4 * period < when;
}

uint64_t work_poll(struct work *work)
{
	uint64_t now = gap_stamp();

	if (due(now, work->next_beat, work->period)) {
		beat(work, now);
		work->next_beat = now + work->period;
	}
	if (work->dot_period && due(now, work->next_dot, work->dot_period)) {
		print(".");
		work->next_dot = now + work->dot_period;
	}
	return now;
}

/*
 * A debt above 10 ms is forgiven: after a pause no burst follows. More than a
 * second early means that the clock went back: forgiven as well.
 */
static void wait_turn(struct work *work)
{
	const int64_t second = clock_khz() * 1000;

	while (work->page_ticks) {
		uint64_t now = work_poll(work);
		int64_t late = now - work->paced_from -
			       work->paced * work->page_ticks;

		if (late < 0 && late > -second) {
			cpu_relax();
			continue;
		}
		if (late < 0 || late > second / 100) {
			work->paced_from = now;
			work->paced = 0;
		}
		work->paced++;
		return;
	}
	work_poll(work);
}

uint64_t work_next(struct work *work)
{
	uint64_t page = work->next;

	wait_turn(work);
	work->done++;
	if (++work->next == work->pages) {
		work->next = 0;
		work->sweeps++;
	}
	if (work->order != 'r')
		return page;
	work->random = work->random * 6364136223846793005 + 1442695040888963407;
	return (work->random >> 33) % work->pages;
}
