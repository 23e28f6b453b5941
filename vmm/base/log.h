/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log: lines to standard error, "name: level: text". A struct log hangs
 * from its VM; it is read-only once the VM runs, so every thread may use it.
 */
#ifndef GODWIT_BASE_LOG_H
#define GODWIT_BASE_LOG_H

enum log_level { LOG_ERROR = 1, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log {
	enum log_level level;	/* lines above this level are dropped */
	int fd;			/* where lines go, usually 2; not owned */
	char name[64];		/* whose lines these are: the VM's name */
};

/* Write one line; @fmt carries no newline. Each line is one write(2). */
void log_print(const struct log *log, enum log_level level,
	       const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define log_error(log, ...) log_print(log, LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_print(log, LOG_WARN, __VA_ARGS__)
#define log_info(log, ...) log_print(log, LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_print(log, LOG_DEBUG, __VA_ARGS__)

#endif
