/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where control sockets live. */
#ifndef GODWIT_CMD_RUNTIME_H
#define GODWIT_CMD_RUNTIME_H

#include <stddef.h>

#include "vmm/base/error.h"

/* $XDG_RUNTIME_DIR/godwit, or /run/godwit where that is not set. */
void runtime_dir(char *buf, size_t size);
/* Make it, for its owner alone. */
int runtime_make_dir(struct error *err);
/* The control socket of the VM @name; a word with a "/" is a path already. */
void runtime_socket(const char *name, char *buf, size_t size);

/*
 * Where records of migrations live: they outlast their processes.
 * $XDG_STATE_HOME/godwit; without it /var/lib/godwit for root, and
 * ~/.local/state/godwit for others.
 */
void runtime_state_dir(char *buf, size_t size);
int runtime_make_state_dir(struct error *err);

#endif
