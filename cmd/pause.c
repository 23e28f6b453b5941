/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/client.h"
#include "cmd/commands.h"

static int pause_main(const struct command *cmd, int argc, char **argv)
{
	return client_simple(cmd, argc, argv, "stop");
}

const struct command cmd_pause = {
	.name = "pause",
	.args = "VM",
	.summary = "Pause a VM.",
	.min_args = 1, .max_args = 1,
	.run = pause_main,
};
