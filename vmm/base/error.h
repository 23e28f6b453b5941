/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors: what failed, on which object, with which value, what to do.
 *
 * A function that can fail returns 0 or -errno and fills a struct error that
 * its caller owns (never NULL). Layers above may only add context in front
 * (error_prefix); only main and the control socket print.
 */
#ifndef GODWIT_BASE_ERROR_H
#define GODWIT_BASE_ERROR_H

#include <stdarg.h>

struct error {
	int code;		/* positive errno, 0 = no error */
	int line;		/* origin in the source */
	const char *file;	/* origin in the source, static storage */
	char msg[1024];		/* one or more lines, no trailing newline */
};

#define ERROR_INIT { 0 }

/*
 * Fill @err with @code (a positive errno) and a message, replacing what was
 * there. Returns -code, so that `return error_set(err, EINVAL, ...)` works.
 */
#define error_set(err, code, ...) \
	error_set_at(err, __FILE__, __LINE__, code, __VA_ARGS__)

int error_set_at(struct error *err, const char *file, int line, int code,
		 const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Put "context: " in front of the message. The code stays. */
void error_prefix(struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Add one more reason on a line of its own (first call sets the message).
 * For checks that collect every reason instead of stopping at the first.
 * Returns -code of the first reason.
 */
int error_add(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Forget the error. */
void error_clear(struct error *err);

#define __must_check __attribute__((warn_unused_result))

#endif
