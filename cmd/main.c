/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/parse.h"
#include "cmd/version.h"
#include "vmm/base/util.h"

static const struct command *const commands[] = {
	&cmd_run, &cmd_list, &cmd_info, &cmd_pause, &cmd_resume, &cmd_stop,
	&cmd_reset, &cmd_migrate, &cmd_cancel, &cmd_resolve, &cmd_save,
	&cmd_restore, &cmd_resize, &cmd_upgrade, &cmd_cpu, &cmd_machine,
	&cmd_doctor,
};

static int usage(FILE *out, int status)
{
	unsigned int i;

	fprintf(out, "Usage: godwit COMMAND [OPTION...] ...\n\n"
		"Run virtual machines, and move them while they run.\n\n"
		"Commands:\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-10s%s\n", commands[i]->name,
			commands[i]->summary);
	fprintf(out, "\n`godwit COMMAND --help` tells more. VM is a name, or the path of a control\n"
		"socket.\n");
	return status;
}

static int unknown(const char *word)
{
	const char *near = NULL;
	unsigned int i, d, least = 3;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		d = edit_distance(word, commands[i]->name);
		if (d < least) {
			near = commands[i]->name;
			least = d;
		}
	}
	fprintf(stderr, "godwit: unknown command '%s'%s%s%s (godwit --help lists all)\n",
		word, near ? ": did you mean " : "", near ? near : "",
		near ? "?" : "");
	return 2;
}

static int dispatch(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;
	char help[] = "--help";
	unsigned int i;

	if (!word)
		return usage(stderr, 2);
	if (!strcmp(word, "help") && argc > 2) {	/* help COMMAND */
		word = argv[1] = argv[2];
		argv[2] = help;
		argc = 3;
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h") ||
	    !strcmp(word, "help"))
		return usage(stdout, 0);
	if (!strcmp(word, "--version")) {
		puts("godwit " VERSION_TEXT);
		return 0;
	}
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(word, commands[i]->name))
			return commands[i]->run(commands[i], argc - 2,
						argv + 2);
	return unknown(word);
}

int main(int argc, char **argv)
{
	exit(dispatch(argc, argv));
}
