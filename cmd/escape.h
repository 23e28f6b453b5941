/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal's escape key, Ctrl-A: which bytes go to the guest, which are
 * for us. Pure: a byte in, what to do with it out.
 */
#ifndef GODWIT_CMD_ESCAPE_H
#define GODWIT_CMD_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

#define ESCAPE_KEY 0x01		/* Ctrl-A */
#define ESCAPE_LINE 128

enum escape_action {
	ESCAPE_NONE = 1,	/* swallowed */
	ESCAPE_PASS,		/* the byte is the guest's */
	ESCAPE_QUIT,		/* Ctrl-A x */
	ESCAPE_HELP,		/* Ctrl-A h */
	ESCAPE_ENTER,		/* Ctrl-A c: the monitor opens */
	ESCAPE_LEAVE,		/* Ctrl-A c again: it closes */
	ESCAPE_ECHO,		/* the byte was added to the monitor's line */
	ESCAPE_ERASE,		/* the last one was taken away */
	ESCAPE_COMMAND,		/* the line is complete, in ->line */
};

struct escape {
	bool pending;		/* Ctrl-A was the last byte */
	bool monitor;		/* input goes to the monitor's line */
	size_t len;
	char line[ESCAPE_LINE];	/* with a NUL after ESCAPE_COMMAND */
};

enum escape_action escape_feed(struct escape *e, unsigned char byte);

#endif
