/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices of the host by name:
 *
 *	null		swallows output, has no input
 *	file:PATH	appends output to a file, has no input
 *	unix:PATH	listens on a unix socket, serves one client at a time
 *	pty		a pseudo-terminal; its name is in the log
 *
 * ("stdio" is the terminal's, in cmd/.) Output that nobody takes is dropped.
 */
#ifndef GODWIT_CHAR_H
#define GODWIT_CHAR_H

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/chardev.h"
#include "vmm/loop.h"

/* Is it one of the above? Opens nothing. */
int char_check(const char *name, struct error *err);
/* NULL and @err if it can't be had. Undone by the chardev's destroy(). */
struct chardev *char_open(const char *name, struct loop *loop,
			  const struct log *log, struct error *err);

#endif
