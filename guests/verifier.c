/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: no page is lost, repeated or mixed up. Every word of a page follows
 * from the page's number and its generation; each visit checks all 512 and
 * writes the next generation. The generations lie right after the working
 * set. Options and output: lib/work.c; "V" when the first pattern stands,
 * "CORRUPT page= word= got= exp= gen=" for what is wrong. rep=1: each word of the
 * pattern stands so many times in a row: memory that compresses.
 */
#include "lib/work.h"

#define WORDS (PAGE_SIZE / sizeof(uint64_t))

static uint64_t seed(uint64_t page, uint64_t generation)
{
	return page * 0x9e3779b97f4a7c15 ^ generation * 0xd1b54a32d192ed03 ^
	       0x5851f42d4c957f2d;
}

static uint64_t step(uint64_t x)
{
	return x * 6364136223846793005 + 1442695040888963407;
}

static void write_page(uint64_t *words, uint64_t x, unsigned int repeat)
{
	unsigned int i, n;

	for (i = 0; i < WORDS; x = step(x))
		for (n = 0; n < repeat && i < WORDS; n++)
			words[i++] = x;
}

/* The first wrong word, or WORDS; *want is what it should be. */
static unsigned int check_page(const uint64_t *words, uint64_t x,
			       unsigned int repeat, uint64_t *want)
{
	unsigned int i = 0, n;

	*want = x;
	for (;;) {
		for (n = 0; n < repeat && i < WORDS; n++, i++)
			if (words[i] != *want)
				return i;
		if (i == WORDS)
			return i;
		*want = step(*want);
	}
}

static void complain(struct work *work, uint64_t page, unsigned int word,
		     uint64_t want, uint64_t generation)
{
	char line[160], *at = put_text(line, "\nCORRUPT");

	if (++work->bad >= 20)
		return;
	at = put_field(at, "page", page);
	at = put_field(at, "word", word);
	at = put_field(at, "got", work_page(work, page)[word]);
	at = put_field(at, "exp", want);
	at = put_field(at, "gen", generation);
	*at++ = '\n';
	print_to(line, at);
}

static void visit(struct work *work, uint32_t *generations,
		  unsigned int repeat)
{
	uint64_t page = work_next(work), want;
	uint64_t *words = work_page(work, page);
	unsigned int wrong;

	wrong = check_page(words, seed(page, generations[page]), repeat, &want);
	if (wrong < WORDS)
		complain(work, page, wrong, want, generations[page]);
	generations[page]++;
	write_page(words, seed(page, generations[page]), repeat);
}

void user_main(const struct start_info *info)
{
	static struct work work;
	uint32_t *generations;
	unsigned int repeat;
	uint64_t page;

	work_init(&work, info);
	repeat = cmdline_number("rep", 1);
	if (!repeat)
		repeat = 1;
	generations = (uint32_t *)(work.base + work.pages * PAGE_SIZE);
	for (page = 0; page < work.pages; page++) {
		write_page(work_page(&work, page), seed(page, 0), repeat);
		generations[page] = 0;
	}
	gap_take();
	print("V\n");
	for (;;)
		visit(&work, generations, repeat);
}
