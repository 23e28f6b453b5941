/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/client.h"
#include "cmd/commands.h"

static int cancel_main(const struct command *cmd, int argc, char **argv)
{
	return client_simple(cmd, argc, argv, "migrate_cancel");
}

const struct command cmd_cancel = {
	.name = "cancel",
	.args = "VM",
	.summary = "Give up the migration of a VM; it runs on where it is.",
	.min_args = 1, .max_args = 1,
	.run = cancel_main,
};
