/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A job of a running VM, watched from a terminal: migrate, save. */
#ifndef GODWIT_CMD_WATCH_H
#define GODWIT_CMD_WATCH_H

#include <jansson.h>
#include <stdbool.h>

#include "vmm/base/error.h"

/*
 * Start the job by @command with @args (taken over) and wait for its end; its
 * stages and progress go to standard error unless @quiet. Ctrl-C cancels it.
 * *report is a new reference, if there was an end.
 */
int watch_job(const char *vm, const char *command, json_t *args, bool quiet,
	      json_t **report, struct error *err) __must_check;

#endif
