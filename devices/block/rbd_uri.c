/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's way to name an RBD image, since people have it in their scripts:
 * rbd:POOL/[NAMESPACE/]IMAGE[@SNAP][:KEY=VALUE...]. A backslash takes the
 * meaning from the character that follows. Keys: conf (ceph.conf), id (the
 * cephx user without "client."), lock=break (ours), and whatever else
 * ceph.conf knows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/rbd.h"

/*
 * The word at *at, ended in place where the first character of @ends stands;
 * *at moves behind that, or becomes NULL at the end. Returns that character.
 */
static char cut(char **at, const char *ends)
{
	char *from = *at, *to = *at, end;

	while (*from && !strchr(ends, *from)) {
		if (from[0] == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	end = *from;
	*at = end ? from + 1 : NULL;
	*to = '\0';
	return end;
}

static int set_key(struct rbd_uri *u, const char *key, const char *value,
		   struct error *err)
{
	if (!strcmp(key, "conf")) {
		u->conf = value;
	} else if (!strcmp(key, "id")) {
		u->id = value;
	} else if (!strcmp(key, "lock")) {
		if (strcmp(value, "break"))
			return error_set(err, EINVAL,
					 "lock=%s: only lock=break is known",
					 value);
		u->break_lock = true;
	} else if (!strcmp(key, "key")) {
		/* it would be in ps, in the job's report and in logs */
		return error_set(err, EINVAL,
				 "a secret key does not belong here, use keyring=FILE");
	} else if (u->nset == RBD_MAX_SETTINGS) {
		return error_set(err, E2BIG, "more than %d settings",
				 RBD_MAX_SETTINGS);
	} else {
		u->set[u->nset++] = (struct rbd_setting){ key, value };
	}
	return 0;
}

static int read_settings(struct rbd_uri *u, char *at, struct error *err)
{
	int ret = 0;

	while (at && !ret) {
		char *key = at, *value;

		if (cut(&at, "=:") != '=')
			return error_set(err, EINVAL,
					 "'%s' is not key=value", key);
		value = at;
		cut(&at, ":");
		ret = set_key(u, key, value, err);
	}
	return ret;
}

/* The words between slashes; what follows them is left in *at. */
static int read_name(struct rbd_uri *u, char **at, struct error *err)
{
	const char *word[3];
	unsigned int n = 0;
	char end;

	do {
		word[n++] = *at;
		end = cut(at, "/@:");
	} while (end == '/' && n < ARRAY_SIZE(word));
	u->pool = word[0];
	u->nspace = n == 3 && *word[1] ? word[1] : NULL;
	u->image = word[n - 1];
	if (end == '@') {
		u->snap = *at;
		end = cut(at, ":");
	}
	if (end == '/' || n < 2 || !*u->pool || !*u->image ||
	    (u->snap && !*u->snap))
		return error_set(err, EINVAL,
				 "an image is written rbd:POOL/[NAMESPACE/]IMAGE[@SNAP][:KEY=VALUE...]");
	return 0;
}

int rbd_uri_parse(struct rbd_uri *u, const char *uri, struct error *err)
{
	char *at;
	int ret;

	*u = (struct rbd_uri){ .copy = strdup(uri) };
	if (!u->copy)
		return error_set(err, ENOMEM, "no memory");
	at = u->copy + strlen("rbd:");
	ret = read_name(u, &at, err) ?: read_settings(u, at, err);
	if (ret)
		rbd_uri_free(u);
	return ret;
}

void rbd_uri_free(struct rbd_uri *u)
{
	free(u->copy);
	u->copy = NULL;
}
