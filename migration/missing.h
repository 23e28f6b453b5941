/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Post-copy: telling the other side which pages are missing. */
#ifndef GODWIT_MIGRATION_MISSING_H
#define GODWIT_MIGRATION_MISSING_H

#include "migration/channel.h"
#include "vmm/memory.h"

/*
 * Of pages [first, first + n) of @region, which are to be told of: @bits as in
 * MISSING, all written; false: none. @first is a multiple of
 * WIRE_MISSING_PAGES.
 */
typedef bool missing_look_fn(void *arg, unsigned int region, uint64_t first,
			     uint64_t n, uint8_t *bits);

/* A MISSING for each range of @mem in which @look finds any. The deadline is
 * for all of them, as the channel knows it. */
int missing_tell(struct channel *ch, const struct memory *mem,
		 missing_look_fn *look, void *arg, uint64_t deadline,
		 struct error *err) __must_check;

#endif
