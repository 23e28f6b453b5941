/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All subcommands: one a file, listed in main.c. */
#ifndef GODWIT_CMD_COMMANDS_H
#define GODWIT_CMD_COMMANDS_H

#include "cmd/options.h"

extern const struct command cmd_run, cmd_list, cmd_info, cmd_pause, cmd_resume,
	cmd_resolve, cmd_stop, cmd_reset, cmd_migrate, cmd_cancel, cmd_save,
	cmd_restore, cmd_resize, cmd_upgrade, cmd_cpu, cmd_machine, cmd_doctor;

#endif
