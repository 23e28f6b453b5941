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

#endif
