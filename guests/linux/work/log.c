/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's log since the workload began: what it says while booting is
 * not about a move. Lines begin with "<n>[seconds.micros]".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <time.h>

#include "work.h"

enum { READ_ALL = 3, SIZE_BUFFER = 10 };

static double log_from;

void log_start(void)
{
	/* printk's clock runs apart from CLOCK_MONOTONIC by very little */
	log_from = seconds(CLOCK_MONOTONIC);
}

/* The whole log, to be freed; NULL: cannot be read. */
static char *read_log(void)
{
	int size = klogctl(SIZE_BUFFER, NULL, 0), n;
	char *text = size > 0 ? malloc(size + 1) : NULL;

	if (!text)
		return NULL;
	n = klogctl(READ_ALL, text, size);
	if (n < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static bool is_new(const char *line)
{
	const char *bracket = strchr(line, '[');

	return bracket && strtod(bracket + 1, NULL) >= log_from;
}

/* The first new line with one of the texts, copied to found; or false. */
static bool search(const char *const *texts, char *found, size_t size)
{
	char *log = read_log(), *line, *rest = log;
	const char *const *t;
	bool hit = false;

	while (!hit && (line = strsep(&rest, "\n"))) {
		if (!is_new(line))
			continue;
		for (t = texts; *t && !hit; t++)
			hit = strstr(line, *t) != NULL;
		if (hit)
			snprintf(found, size, "%s", line);
	}
	free(log);
	return hit;
}

bool log_has(const char *text)
{
	const char *const texts[] = { text, NULL };
	char found[200];

	return search(texts, found, sizeof(found));
}

struct report log_check(void)
{
	static const char *const texts[] = {
		"soft lockup", "hard LOCKUP", "blocked for more than",
		"detected stall", "rcu: INFO", "Marking clocksource",
		"TSC unstable", "timekeeping watchdog", "EXT4-fs error",
		"EXT4-fs warning", "I/O error", "Call Trace", "BUG:",
		"WARNING:", "Oops", "nobody cared", "NETDEV WATCHDOG", NULL
	};
	char found[200];

	if (search(texts, found, sizeof(found)))
		return report(VERDICT_FAIL, "%.180s", found);
	return report(VERDICT_OK, "nothing since the workload began");
}
