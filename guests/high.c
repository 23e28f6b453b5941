/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: memory above 4 GiB holds what is written there. Option: at=address
 * (0x100000000, within the fifth GiB). Maps that GiB, writes a word and reads
 * it back, prints "high ok" or "high bad"; status 0 if it is the same. Ring 0.
 */
#include "lib/guest.h"

#define WORD 0x4749422d34206576UL
#define GIB (1UL << 30)
#define LARGE (2UL << 20)
#define PRESENT_WRITABLE 3UL
#define PAGE_LARGE 0x80UL

static uint64_t directory[512] __attribute__((aligned(4096)));

/* Only the 2 MiB that are needed: ring 0 may be slow. */
static void map(uint64_t address)
{
	uint64_t *pml4, *gibs;

	__asm__ volatile("mov %%cr3, %0" : "=r"(pml4));
	gibs = (uint64_t *)(pml4[0] & ~0xfffUL);
	directory[address / LARGE % 512] =
		(address & ~(LARGE - 1)) | PRESENT_WRITABLE | PAGE_LARGE;
	gibs[address / GIB] = (uint64_t)directory | PRESENT_WRITABLE;
	__asm__ volatile("mov %0, %%cr3" : : "r"(pml4) : "memory");
}

void guest_start(const struct start_info *info)
{
	volatile uint64_t *word;
	int same;

	cmdline_init(info);
	word = (uint64_t *)cmdline_number("at", 4 * GIB);
	map((uint64_t)word);
	*word = WORD;
	same = *word == WORD;
	print(same ? "\nhigh ok\n" : "\nhigh bad\n");
	leave(!same);
}
