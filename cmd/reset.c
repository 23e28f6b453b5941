/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/client.h"
#include "cmd/commands.h"

static int reset_main(const struct command *cmd, int argc, char **argv)
{
	return client_simple(cmd, argc, argv, "system_reset");
}

const struct command cmd_reset = {
	.name = "reset",
	.args = "VM",
	.summary = "Press the reset button of a VM.",
	.min_args = 1, .max_args = 1,
	.run = reset_main,
};
