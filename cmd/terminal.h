/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal as a character device, named "stdio": raw mode, Ctrl-A as
 * escape key, a small monitor. Where standard input is no terminal it is plain
 * input, with no escape key.
 *
 * The terminal's modes are given back by terminal_restore(), by destroy, and
 * by a handler should the program crash.
 */
#ifndef GODWIT_CMD_TERMINAL_H
#define GODWIT_CMD_TERMINAL_H

#include "vmm/base/error.h"
#include "vmm/chardev.h"
#include "vmm/loop.h"

struct terminal_config {
	struct loop *loop;
	/* All in the loop's thread. */
	void (*quit)(void *arg);
	/* A line of the monitor; prints its answer by terminal_print(). */
	void (*command)(void *arg, const char *line);
	/* The terminal is destroyed (by its device): forget it. */
	void (*gone)(void *arg);
	void *arg;
};

struct terminal;

int terminal_create(struct terminal **out, const struct terminal_config *cfg,
		    struct error *err) __must_check;
/* As its device sees it; destroying that destroys the terminal. */
struct chardev *terminal_chardev(struct terminal *t);
/* Print for the user. Any thread. */
void terminal_print(struct terminal *t, const char *text);

#endif
