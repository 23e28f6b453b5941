/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/missing.h"

#include <errno.h>
#include <stdlib.h>

#include "migration/message.h"
#include "vmm/base/util.h"

static int send_range(struct channel *ch, const struct wire_missing *m,
		      uint64_t deadline, struct error *err)
{
	uint8_t head[WIRE_MISSING_SIZE];

	return message_send(ch, WIRE_MISSING, head,
			    wire_missing_encode(head, m), m->bits,
			    (m->npages + 7) / 8, deadline, err);
}

int missing_tell(struct channel *ch, const struct memory *mem,
		 missing_look_fn *look, void *arg, uint64_t deadline,
		 struct error *err)
{
	uint8_t *bits = malloc(WIRE_MISSING_PAGES / 8);
	struct wire_missing m = { .bits = bits };
	int ret = bits ? 0 : error_set(err, ENOMEM, "no memory for a map of pages");

	for (unsigned int r = 0; r < mem->nregions; r++)
		for (uint64_t at = 0; ret == 0 && at < memory_pages(mem, r);
		     at += m.npages) {
			m.gpa = mem->region[r].range.base + (at << PAGE_SHIFT);
			m.npages = (uint32_t)MIN(memory_pages(mem, r) - at,
						 (uint64_t)WIRE_MISSING_PAGES);
			if (look(arg, r, at, m.npages, bits))
				ret = send_range(ch, &m, deadline, err);
		}
	free(bits);
	return ret;
}
