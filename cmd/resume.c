/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/client.h"
#include "cmd/commands.h"

static int resume_main(const struct command *cmd, int argc, char **argv)
{
	return client_simple(cmd, argc, argv, "cont");
}

const struct command cmd_resume = {
	.name = "resume",
	.args = "VM",
	.summary = "Let a paused VM run.",
	.min_args = 1, .max_args = 1,
	.run = resume_main,
};
