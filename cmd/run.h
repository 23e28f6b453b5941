/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `run` and `restore` share. */
#ifndef GODWIT_CMD_RUN_H
#define GODWIT_CMD_RUN_H

#include "cmd/run_options.h"

/* Check what the options say together, then run the VM to its end. Exit
 * status. */
int run_checked(struct run_config *config);

#endif
