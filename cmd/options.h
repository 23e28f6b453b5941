/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options, described once in a table: parsed, checked, and explained by
 * --help from it.
 */
#ifndef GODWIT_CMD_OPTIONS_H
#define GODWIT_CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/base/error.h"

#define OPTIONS_MAX_ARGS 8

struct option_spec {
	const char *name;	/* "memory", given as --memory */
	const char *value;	/* what is accepted, for people; NULL: a flag */
	const char *help;
	bool may_omit;		/* --rng alone means --rng=on */
	/* Into @field (the config object + offset); the error is about the
	 * value alone. */
	int (*parse)(const struct option_spec *spec, void *field,
		     const char *value, struct error *err);
	size_t offset;
	uint64_t min, max;	/* for numbers */
	uint64_t unit;		/* for sizes: bytes when none is given */
};

/* A subcommand. */
struct command {
	const char *name;
	const char *args;	/* "VM URI"; "" if it takes none */
	const char *summary;	/* one line */
	const char *about;	/* a paragraph for --help, or NULL */
	const struct option_spec *options;
	unsigned int noptions;
	unsigned int min_args, max_args;
	/* argv[0] is the first word after the subcommand. Exit status. */
	int (*run)(const struct command *cmd, int argc, char **argv);
};

#define COMMAND_OPTIONS(table)						\
	.options = (table), .noptions = sizeof(table) / sizeof((table)[0])

/* Parse functions for common members; a string must not be empty, a text may. */
int option_string(const struct option_spec *spec, void *field,
		  const char *value, struct error *err);
int option_text(const struct option_spec *spec, void *field,
		const char *value, struct error *err);
int option_bool(const struct option_spec *spec, void *field,
		const char *value, struct error *err);
int option_u32(const struct option_spec *spec, void *field,
	       const char *value, struct error *err);
int option_size(const struct option_spec *spec, void *field,
		const char *value, struct error *err);

/*
 * Parse all words; @args receives the plain ones (NULL after the last one,
 * OPTIONS_MAX_ARGS + 1 places). On an error @err holds a line for each wrong
 * word. *help is set, and nothing else is looked at, if help was asked for.
 */
int options_parse(const struct command *cmd, int argc, char **argv,
		  void *config, const char **args, bool *help,
		  struct error *err) __must_check;
void options_help(FILE *out, const struct command *cmd);

/*
 * For subcommands: parse; print help or errors. True if the command goes on,
 * else *status is its exit status.
 */
bool command_parse(const struct command *cmd, int argc, char **argv,
		   void *config, const char **args, int *status);
/* Print an error to standard error; returns 1, the exit status. */
int command_fail(const struct error *err);

#endif
