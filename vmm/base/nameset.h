/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A set of short names, sorted; of fixed size, so that it lives on its own. */
#ifndef GODWIT_BASE_NAMESET_H
#define GODWIT_BASE_NAMESET_H

#include <stdbool.h>
#include <stdio.h>

#include "vmm/base/error.h"

#define NAMESET_MAX 512
#define NAMESET_NAME 40		/* bytes, with the NUL */

struct nameset {
	unsigned int n;
	char name[NAMESET_MAX][NAMESET_NAME];
};

bool nameset_has(const struct nameset *s, const char *name);
/* Adds it unless it is there. An error if it is too long or one too many. */
int nameset_add(struct nameset *s, const char *name, struct error *err)
	__must_check;
/* Keep what @other has, too. */
void nameset_intersect(struct nameset *s, const struct nameset *other);
/* All of @a that @b has not, into @out; how many. */
unsigned int nameset_missing(const struct nameset *a, const struct nameset *b,
			     struct nameset *out);
/* Read names, divided by white space; from # to the end of a line is a
 * comment. */
int nameset_read(struct nameset *s, FILE *in, struct error *err) __must_check;

#endif
