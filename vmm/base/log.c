/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static const char *const level_names[] = {
	[LOG_ERROR] = "error: ",
	[LOG_WARN] = "warning: ",
	[LOG_INFO] = "",
	[LOG_DEBUG] = "debug: ",
};

void log_print(const struct log *log, enum log_level level,
	       const char *fmt, ...)
{
	char line[1400];
	va_list ap;
	int n, m;

	if (level > log->level)
		return;
	n = snprintf(line, sizeof(line), "godwit%s%s: %s",
		     log->name[0] ? " " : "", log->name, level_names[level]);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	n += m;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	/* a log line that can't be written has nowhere else to go */
	if (write(log->fd, line, (size_t)n) < 0)
		return;
}
