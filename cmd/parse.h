/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Words of a command line as values. All pure: the error says what is wrong
 * with the value; who calls adds which option it was and what is accepted.
 */
#ifndef GODWIT_CMD_PARSE_H
#define GODWIT_CMD_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/dirty.h"

/* A decimal number from @min to @max. */
int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out,
		 struct error *err) __must_check;

/*
 * A size: a number and B, K, M, G, T or KiB, MiB, GiB, TiB (powers of 1024,
 * in either case); @unit bytes each if none is given. "GB" is refused: half
 * of its writers mean 1000.
 */
int parse_size(const char *text, uint64_t unit, uint64_t *out,
	       struct error *err) __must_check;

/* on, off, yes, no, true, false. */
int parse_bool(const char *text, bool *out, struct error *err) __must_check;

/* Six pairs of hexadecimal digits with colons; not a group address. */
int parse_mac(const char *text, uint8_t mac[6], struct error *err)
	__must_check;

/* A name for a VM or a device: letters, digits, and . _ - inside; 1 to 47. */
int parse_name(const char *text, struct error *err) __must_check;

/*
 * The next element of a list "a,key=b,c", which is cut up in place. A comma
 * within an element is written twice. *key is NULL where the element isn't
 * key=value, that is where the part before "=" is no plain word (a URI may
 * hold a "="). False at the end.
 */
bool parse_list_next(char **cursor, char **key, char **value);

/* bitmap, ring or auto, and entries=N, a power of two. */
int parse_dirty(const char *text, struct dirty_config *out, struct error *err)
	__must_check;

/* How many edits turn @a into @b, up to a small bound: for typing errors. */
unsigned int edit_distance(const char *a, const char *b);

#endif
