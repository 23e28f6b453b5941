/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/escape.h"

static enum escape_action after_key(struct escape *e, unsigned char byte)
{
	e->pending = false;
	switch (byte) {
	case ESCAPE_KEY:
		return e->monitor ? ESCAPE_NONE : ESCAPE_PASS;
	case 'x':
	case 'X':
		return ESCAPE_QUIT;
	case 'c':
	case 'C':
		e->monitor = !e->monitor;
		e->len = 0;
		return e->monitor ? ESCAPE_ENTER : ESCAPE_LEAVE;
	case 'h':
	case 'H':
	case '?':
		return ESCAPE_HELP;
	}
	return ESCAPE_NONE;
}

static enum escape_action edit(struct escape *e, unsigned char byte)
{
	if (byte == '\r' || byte == '\n') {
		e->line[e->len] = '\0';
		e->len = 0;
		return ESCAPE_COMMAND;
	}
	if (byte == 0x7f || byte == '\b') {
		if (!e->len)
			return ESCAPE_NONE;
		e->len--;
		return ESCAPE_ERASE;
	}
	if (byte < ' ' || byte > '~' || e->len + 1 >= ESCAPE_LINE)
		return ESCAPE_NONE;
	e->line[e->len++] = (char)byte;
	return ESCAPE_ECHO;
}

enum escape_action escape_feed(struct escape *e, unsigned char byte)
{
	if (e->pending)
		return after_key(e, byte);
	if (byte == ESCAPE_KEY) {
		e->pending = true;
		return ESCAPE_NONE;
	}
	return e->monitor ? edit(e, byte) : ESCAPE_PASS;
}
