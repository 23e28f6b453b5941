/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/nameset.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* Where it is, or where it belongs. */
static unsigned int place(const struct nameset *s, const char *name)
{
	unsigned int from = 0, to = s->n;

	while (from < to) {
		unsigned int mid = (from + to) / 2;

		if (strcmp(s->name[mid], name) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

bool nameset_has(const struct nameset *s, const char *name)
{
	unsigned int i = place(s, name);

	return i < s->n && !strcmp(s->name[i], name);
}

int nameset_add(struct nameset *s, const char *name, struct error *err)
{
	unsigned int i = place(s, name);

	if (i < s->n && !strcmp(s->name[i], name))
		return 0;
	if (strlen(name) >= NAMESET_NAME)
		return error_set(err, ENAMETOOLONG, "name '%.60s': longer than %d bytes",
				 name, NAMESET_NAME - 1);
	if (s->n == NAMESET_MAX)
		return error_set(err, E2BIG, "more than %d names", NAMESET_MAX);
	memmove(s->name[i + 1], s->name[i], (s->n - i) * NAMESET_NAME);
	strcpy(s->name[i], name);
	s->n++;
	return 0;
}

void nameset_intersect(struct nameset *s, const struct nameset *other)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < s->n; i++)
		if (nameset_has(other, s->name[i]))
			memmove(s->name[n++], s->name[i], NAMESET_NAME);
	s->n = n;
}

unsigned int nameset_missing(const struct nameset *a, const struct nameset *b,
			     struct nameset *out)
{
	out->n = 0;
	for (unsigned int i = 0; i < a->n; i++)
		if (!nameset_has(b, a->name[i]))
			memcpy(out->name[out->n++], a->name[i], NAMESET_NAME);
	return out->n;
}

int nameset_read(struct nameset *s, FILE *in, struct error *err)
{
	char word[NAMESET_NAME + 1];
	unsigned int len = 0;
	bool comment = false;
	int c, ret = 0;

	do {
		c = getc(in);
		if (c == '#' && !len)
			comment = true;
		if (c != EOF && !isspace(c) && !comment) {
			if (len < NAMESET_NAME)
				word[len++] = (char)c;
		} else if (len) {
			word[len] = '\0';
			len = 0;
			ret = nameset_add(s, word, err);
		}
		if (c == '\n')
			comment = false;
	} while (c != EOF && ret == 0);
	if (ret == 0 && ferror(in))
		ret = error_set(err, EIO, "can't read");
	return ret;
}
