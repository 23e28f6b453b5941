/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of a VM's control socket: one call at a time, blocking. */
#ifndef GODWIT_CMD_CLIENT_H
#define GODWIT_CMD_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "cmd/options.h"
#include "vmm/base/error.h"

struct client;

/* @vm is a name, or the path of a socket. Waits at most some seconds for the
 * greeting. */
int client_open(struct client **out, const char *vm, struct error *err)
	__must_check;
void client_close(struct client *c);
int client_fd(const struct client *c);

/* Run a command; @args is taken over and may be NULL. *result (may be NULL) is
 * a new reference to what it returned. */
int client_call(struct client *c, const char *command, json_t *args,
		json_t **result, struct error *err) __must_check;

/* The next event that came by, or NULL; a new reference. Doesn't wait. */
json_t *client_event(struct client *c);

/*
 * For subcommands that are one call: parse (the only word is VM), connect,
 * call. Exit status.
 */
int client_simple(const struct command *cmd, int argc, char **argv,
		  const char *command);

/* A member of an answer, or a fallback. */
const char *client_str(const json_t *object, const char *name);
unsigned long long client_num(const json_t *object, const char *name);
/* An answer on standard output, for --json. */
void client_print(const json_t *answer);

#endif
