/* SPDX-License-Identifier: GPL-2.0-or-later */
/* godwit restore: one VM, from its file to its end. */
#include "cmd/commands.h"
#include "cmd/run.h"

static int restore_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct run_config config;
	struct command full = *cmd;
	int status;

	full.options = restore_option_table;
	full.noptions = restore_option_count;
	run_config_init(&config);
	if (command_parse(&full, argc, argv, &config, args, &status)) {
		config.restore = args[0];
		status = run_checked(&config);
	}
	run_config_exit(&config);
	return status;
}

const struct command cmd_restore = {
	.name = "restore",
	.args = "FILE",
	.summary = "Run a VM from a file of `godwit save`.",
	.about = "It goes on where it was saved; its pages are read when it touches them, so\n"
		 "leave the file alone while the VM runs. What is local to a host stays as it\n"
		 "was, or is told by options. A VM that writes to disks comes back once.",
	.min_args = 1, .max_args = 1,
	.run = restore_main,
};
