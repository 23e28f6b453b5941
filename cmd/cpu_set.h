/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU features in a text file: what `godwit cpu` prints and `--cpu` takes. */
#ifndef GODWIT_CMD_CPU_SET_H
#define GODWIT_CMD_CPU_SET_H

#include "vmm/base/nameset.h"

/* A file's name has a slash or a dot; no model's has. */
bool cpu_set_is_file(const char *word);
int cpu_set_read(const char *path, struct nameset *out, struct error *err)
	__must_check;
/* Of a file, or of a model (or "host") on this host. */
int cpu_set_of(const char *word, struct nameset *out, struct error *err)
	__must_check;

#endif
