/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/client.h"
#include "cmd/commands.h"

struct stop_config {
	bool force;
};

static const struct option_spec options[] = {
	{ "force", NULL, "End it at once, whatever the guest is doing",
	  .parse = option_bool, .offset = offsetof(struct stop_config, force) },
};

static int stop_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct stop_config config = { .force = false };
	struct error err = ERROR_INIT;
	struct client *c = NULL;
	int status;

	if (!command_parse(cmd, argc, argv, &config, args, &status))
		return status;
	if (client_open(&c, args[0], &err) ||
	    client_call(c, config.force ? "quit" : "system_powerdown", NULL,
			NULL, &err))
		command_fail(&err);
	client_close(c);
	return err.code ? 1 : 0;
}

const struct command cmd_stop = {
	.name = "stop",
	.args = "VM",
	.summary = "Press the power button of a VM.",
	COMMAND_OPTIONS(options),
	.min_args = 1, .max_args = 1,
	.run = stop_main,
};
