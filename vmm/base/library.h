/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared libraries that are loaded by who wants them first, not linked. */
#ifndef GODWIT_BASE_LIBRARY_H
#define GODWIT_BASE_LIBRARY_H

#include <stddef.h>

#include "vmm/base/error.h"

struct library_function {
	const char *name;	/* as the library has it */
	size_t at;		/* of the pointer to it, in the caller's struct */
};

/*
 * Load @soname and write where its @n functions are into @into. Without it
 * -ENOSYS, as "@need: why"; @need is like "disks on NBD need libnbd". It stays
 * loaded: the libraries behind it don't all stand being unloaded.
 */
int library_load(void *into, const char *soname, const char *need,
		 const struct library_function *function, size_t n,
		 struct error *err) __must_check;

#endif
