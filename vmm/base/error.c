/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int error_set_at(struct error *err, const char *file, int line, int code,
		 const char *fmt, ...)
{
	va_list ap;

	err->code = code ? code : EIO;
	err->file = file;
	err->line = line;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return -err->code;
}

void error_prefix(struct error *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list ap;
	int n;

	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->msg))
		snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %.*s",
			 (int)(sizeof(err->msg) - (size_t)n), old);
}

int error_add(struct error *err, int code, const char *fmt, ...)
{
	size_t used = err->code ? strlen(err->msg) : 0;
	va_list ap;

	if (!err->code)
		err->code = code ? code : EIO;
	else if (used + 1 < sizeof(err->msg))
		err->msg[used++] = '\n';
	va_start(ap, fmt);
	vsnprintf(err->msg + used, sizeof(err->msg) - used, fmt, ap);
	va_end(ap);
	return -err->code;
}

void error_clear(struct error *err)
{
	err->code = 0;
	err->line = 0;
	err->file = NULL;
	err->msg[0] = '\0';
}
