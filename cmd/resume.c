/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/client.h"
#include "cmd/commands.h"

struct resume_config {
	bool force;
};

static const struct option_spec options[] = {
	{ "force", NULL, "Even if a migration ended with nobody knowing on which side\n"
	  "the VM runs. First see that it does not run there.",
	  .parse = option_bool, .offset = offsetof(struct resume_config, force) },
};

static int resume_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct resume_config config = { .force = false };
	struct error err = ERROR_INIT;
	struct client *c = NULL;
	int status;

	if (!command_parse(cmd, argc, argv, &config, args, &status))
		return status;
	if (client_open(&c, args[0], &err) ||
	    client_call(c, "cont", json_pack("{s:b}", "x-force", config.force),
			NULL, &err))
		command_fail(&err);
	client_close(c);
	return err.code ? 1 : 0;
}

const struct command cmd_resume = {
	.name = "resume",
	.args = "VM",
	.summary = "Let a paused VM run.",
	COMMAND_OPTIONS(options),
	.min_args = 1, .max_args = 1,
	.run = resume_main,
};
