/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a page zero? Asked of every page that is sent, so it should cost no more
 * than the memory's own speed: the ways to ask are chosen when a migration
 * begins, by what the CPU has.
 */
#ifndef GODWIT_MIGRATION_PAGE_ZERO_H
#define GODWIT_MIGRATION_PAGE_ZERO_H

#include <stdbool.h>

struct page_zero {
	const char *name;		/* "avx2" */
	/*
	 * @page: 4096 bytes, aligned to that. Any thread. The guest may write
	 * meanwhile: then the page is dirty, and is looked at again.
	 */
	bool (*test)(const void *page);
};

/* The @n-th way that this CPU has, the best first; NULL behind the last.
 * There is always one. */
const struct page_zero *page_zero_way(unsigned int n);

/* The same without the portable way, which comes last: a file for each
 * architecture. */
const struct page_zero *page_zero_cpu(unsigned int n);

#endif
