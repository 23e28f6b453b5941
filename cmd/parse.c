/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vmm/base/util.h"

/* strtoull() takes signs and spaces; we don't. */
static int digits(const char *text, const char **end, uint64_t *out,
		  struct error *err)
{
	uint64_t v = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9'; p++)
		if (mul_overflows(v, 10, &v) ||
		    add_overflows(v, (uint64_t)(*p - '0'), &v))
			return error_set(err, ERANGE, "does not fit in 64 bits");
	if (p == text)
		return error_set(err, EINVAL, "not a number");
	*end = p;
	*out = v;
	return 0;
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out,
		 struct error *err)
{
	const char *end;
	uint64_t v;
	int ret = digits(text, &end, &v, err);

	if (ret)
		return ret;
	if (*end)
		return error_set(err, EINVAL, "not a number");
	if (v < min || v > max)
		return error_set(err, ERANGE, "not from %llu to %llu",
				 (unsigned long long)min,
				 (unsigned long long)max);
	*out = v;
	return 0;
}

static bool unit_of(const char *suffix, uint64_t fallback, uint64_t *unit)
{
	static const char letters[] = "KMGTPE";
	const char *p;

	*unit = fallback;
	if (!*suffix)
		return true;
	*unit = 1;
	if (!strcasecmp(suffix, "B"))
		return true;
	p = strchr(letters, toupper((unsigned char)*suffix));
	if (!p || (suffix[1] && strcasecmp(suffix + 1, "iB")))
		return false;
	*unit = 1ull << (10 * (p - letters + 1));
	return true;
}

int parse_size(const char *text, uint64_t unit, uint64_t *out,
	       struct error *err)
{
	const char *end;
	uint64_t v;
	int ret = digits(text, &end, &v, err);

	if (ret == -EINVAL)
		return error_set(err, EINVAL, "not a size (a number, then K, M, G, T or KiB, MiB, GiB, TiB)");
	if (ret)
		return ret;
	if (!unit_of(end, unit, &unit))
		return error_set(err, EINVAL, "unknown unit '%s' (K, M, G, T or KiB, MiB, GiB, TiB)",
				 end);
	if (mul_overflows(v, unit, out))
		return error_set(err, ERANGE, "does not fit in 64 bits");
	return 0;
}

int parse_bool(const char *text, bool *out, struct error *err)
{
	static const char *const words[][2] = {
		{ "off", "on" }, { "no", "yes" }, { "false", "true" },
	};
	unsigned int i;

	for (i = 0; i < 2 * ARRAY_SIZE(words); i++)
		if (!strcasecmp(text, words[i / 2][i % 2])) {
			*out = i % 2;
			return 0;
		}
	return error_set(err, EINVAL, "neither on nor off");
}

int parse_mac(const char *text, uint8_t mac[6], struct error *err)
{
	uint8_t got[6];
	unsigned int i;

	for (i = 0; i < 6; i++, text += 3) {
		if (!isxdigit((unsigned char)text[0]) ||
		    !isxdigit((unsigned char)text[1]) ||
		    text[2] != (i < 5 ? ':' : '\0'))
			return error_set(err, EINVAL, "not a MAC address (like 52:54:00:12:34:56)");
		got[i] = (uint8_t)strtoul(text, NULL, 16);
	}
	if (got[0] & 1)
		return error_set(err, EINVAL, "a group address, which no NIC can have");
	memcpy(mac, got, 6);
	return 0;
}

int parse_name(const char *text, struct error *err)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz"
				"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	if (!n || text[n] || n > 47 || *text == '.' || *text == '-')
		return error_set(err, EINVAL, "not a name (up to 47 letters, digits, '.', '_', '-'; not first '.' or '-')");
	return 0;
}

/* Cut the element off at its comma; ",," becomes "," and doesn't cut. */
static char *cut_element(char **cursor)
{
	char *start = *cursor, *from = start, *to = start;

	while (*from && (*from != ',' || from[1] == ',')) {
		if (*from == ',')
			from++;
		*to++ = *from++;
	}
	*cursor = *from ? from + 1 : NULL;
	*to = '\0';
	return start;
}

bool parse_list_next(char **cursor, char **key, char **value)
{
	size_t word;

	if (!*cursor)
		return false;
	*key = NULL;
	*value = cut_element(cursor);
	word = strspn(*value, "abcdefghijklmnopqrstuvwxyz0123456789-_");
	if (word && (*value)[word] == '=') {
		*key = *value;
		(*value)[word] = '\0';
		*value += word + 1;
	}
	return true;
}

static int dirty_how(const char *word, enum dirty_how *out, struct error *err)
{
	static const char *const name[] = {
		[DIRTY_BITMAP] = "bitmap", [DIRTY_RING] = "ring",
		[DIRTY_AUTO] = "auto",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(name); i++)
		if (!strcmp(word, name[i])) {
			*out = (enum dirty_how)i;
			return 0;
		}
	return error_set(err, EINVAL, "'%s' is none of bitmap, ring, auto",
			 word);
}

static int dirty_word(struct dirty_config *d, const char *key,
		      const char *value, struct error *err)
{
	uint64_t v = 0;
	int ret;

	if (!key)
		return dirty_how(value, &d->how, err);
	if (strcmp(key, "entries"))
		return error_set(err, EINVAL, "unknown key '%s'", key);
	ret = parse_number(value, DIRTY_RING_LEAST, DIRTY_RING_MOST, &v, err);
	if (!ret && (v & (v - 1)))
		ret = error_set(err, EINVAL, "entries=%s is not a power of two",
				value);
	d->entries = (uint32_t)v;
	return ret;
}

int parse_dirty(const char *text, struct dirty_config *out, struct error *err)
{
	char *copy = strdup(text), *cursor = copy, *key, *value;
	int ret = copy ? 0 : error_set(err, ENOMEM, "no memory");

	while (!ret && parse_list_next(&cursor, &key, &value))
		ret = dirty_word(out, key, value, err);
	free(copy);
	return ret;
}

unsigned int edit_distance(const char *a, const char *b)
{
	unsigned int row[33], diagonal, up, i, j;
	size_t la = strlen(a), lb = strlen(b);

	if (la > 32 || lb > 32)
		return 32;
	for (j = 0; j <= lb; j++)
		row[j] = j;
	for (i = 1; i <= la; i++) {
		diagonal = row[0];
		row[0] = i;
		for (j = 1; j <= lb; j++) {
			up = row[j];
			row[j] = MIN(diagonal + (a[i - 1] != b[j - 1]),
				     MIN(up, row[j - 1]) + 1);
			diagonal = up;
		}
	}
	return row[lb];
}
