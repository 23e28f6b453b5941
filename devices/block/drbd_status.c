/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * drbdsetup(8), "status": one line begins with the resource's name, those of
 * its volumes and peers are indented; in them are words of the form key:value.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/drbd.h"

static void keep(char to[DRBD_WORD_BYTES], const char *value)
{
	snprintf(to, DRBD_WORD_BYTES, "%s", value);
}

static void keep_worst(char to[DRBD_WORD_BYTES], const char *value,
		       const char *well)
{
	if (!to[0] || strcmp(value, well))
		keep(to, value);
}

static void read_word(struct drbd_status *st, char *word, bool peer)
{
	char *value = strchr(word, ':');

	if (!value)
		return;
	*value++ = '\0';
	if (!strcmp(word, "role") && peer)
		st->peer_primary |= !strcmp(value, "Primary");
	else if (!strcmp(word, "role"))
		st->primary = !strcmp(value, "Primary");
	else if (!strcmp(word, "disk"))
		keep_worst(st->disk, value, "UpToDate");
	else if (!strcmp(word, "peer-disk"))
		keep_worst(st->peer_disk, value, "UpToDate");
	else if (!strcmp(word, "connection"))
		keep_worst(st->connection, value, "Connected");
	else if (!strcmp(word, "replication"))
		keep_worst(st->replication, value, "Established");
}

int drbd_status_parse(const char *text, struct drbd_status *st)
{
	char *copy = strdup(text), *line, *word, *lines = NULL, *words;
	bool peer = false;

	*st = (struct drbd_status){ 0 };
	if (!copy)
		return -ENOMEM;
	for (line = strtok_r(copy, "\n", &lines); line;
	     line = strtok_r(NULL, "\n", &lines)) {
		/* the second "role:" is a peer's */
		if (line[0] == ' ' && strstr(line, " role:"))
			peer = true;
		words = NULL;
		for (word = strtok_r(line, " \t", &words); word;
		     word = strtok_r(NULL, " \t", &words))
			read_word(st, word, peer);
	}
	free(copy);
	st->connected = !strcmp(st->connection, "Connected");
	return st->disk[0] ? 0 : -EPROTO;
}

int drbd_status(const char *resource, struct drbd_status *st,
		struct error *err)
{
	const char *argv[] = {
		"drbdsetup", "status", resource, "--verbose", NULL
	};
	char text[DRBD_TEXT_BYTES];
	int ret = drbd_tool(argv, text, sizeof(text), err);

	if (ret)
		return ret;
	if (drbd_status_parse(text, st))
		return error_set(err, EPROTO,
				 "it is not up here (drbdadm up %s)", resource);
	return 0;
}
