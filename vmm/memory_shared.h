/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between memory.c and memory_shared.c; nobody else includes it. */
#ifndef GODWIT_VMM_MEMORY_SHARED_H
#define GODWIT_VMM_MEMORY_SHARED_H

#include "vmm/memory.h"

/* Make mem->fd, with room for @need bytes of regions. */
int memory_shared_make(struct memory *mem, uint64_t need, struct error *err)
	__must_check;
/* Take a duplicate of @fd as mem->fd, if it can be relied on. */
int memory_shared_adopt(struct memory *mem, int fd, uint64_t need,
			struct error *err) __must_check;
/* mem->fd stays. */
void memory_shared_exit(struct memory *mem);

#endif
