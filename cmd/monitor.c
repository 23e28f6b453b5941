/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor behind Ctrl-A c: commands of the control socket that take no
 * arguments, by their own names or by short ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/instance.h"

static const struct {
	const char *word;
	const char *command;	/* of the control socket */
	const char *doc;
} words[] = {
	{ "info", "query-status", "state of the VM" },
	{ "stop", "stop", "pause" },
	{ "cont", "cont", "run on" },
	{ "powerdown", "system_powerdown", "press the power button" },
	{ "reset", "system_reset", "press the reset button" },
	{ "migration", "query-migrate", "figures of the migration" },
	{ "cancel", "migrate_cancel", "give up the migration" },
	{ "quit", "quit", "end the VM at once" },
};

static void print_help(struct terminal *t)
{
	char line[96];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		snprintf(line, sizeof(line), "%-10s  %s\n", words[i].word,
			 words[i].doc);
		terminal_print(t, line);
	}
	terminal_print(t, "Ctrl-A c    back to the guest\n");
}

static void print_answer(struct terminal *t, json_t *result)
{
	char *text = json_dumps(result, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

	if (text) {
		terminal_print(t, text);
		terminal_print(t, "\n");
	}
	free(text);
}

static void run_word(struct instance *inst, const char *command)
{
	struct qmp_server server = instance_server(inst);
	struct error err = ERROR_INIT;
	json_t *args = json_object(), *result = NULL;

	if (qmp_run(&server, command, args, &result, &err)) {
		terminal_print(inst->terminal, err.msg);
		terminal_print(inst->terminal, "\n");
	} else if (result) {
		print_answer(inst->terminal, result);
	}
	json_decref(result);
	json_decref(args);
}

void monitor_command(void *arg, const char *line)
{
	struct instance *inst = arg;
	const char *command = line;
	unsigned int i;

	if (!*line)
		return;
	if (!strcmp(line, "help") || !strcmp(line, "?")) {
		print_help(inst->terminal);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(line, words[i].word))
			command = words[i].command;
	run_word(inst, command);
}
