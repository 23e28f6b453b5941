/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: memory that changes while the machine moves arrives as it was last.
 * mode=spin writes nothing, mode=halt stops its CPU, mode=dirty writes w=
 * words in each page of the working set. Options and output: lib/work.c.
 */
#include "lib/work.h"

static void spin(struct work *work)
{
	for (;;) {
		uint64_t until = work_poll(work) + clock_khz() / 1000;

		while (rdtsc() < until)
			cpu_relax();
	}
}

static void dirty(struct work *work, uint64_t words)
{
	for (;;) {
		uint64_t *page = work_page(work, work_next(work));
		uint64_t seq = work->done, i;

		for (i = 0; i < words; i++)
			page[(seq * 7 + i) % 512] = seq * 0x9e3779b97f4a7c15;
	}
}

void user_main(const struct start_info *info)
{
	static struct work work;
	char mode;

	work_init(&work, info);
	mode = cmdline_letter("mode", 's');
	if (mode == 'd')
		dirty(&work, cmdline_number("w", 1));
	if (mode == 'h')
		leave(0);
	spin(&work);
}
