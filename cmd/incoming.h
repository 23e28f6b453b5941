/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An arriving machine tree, made to fit this host. */
#ifndef GODWIT_CMD_INCOMING_H
#define GODWIT_CMD_INCOMING_H

#include "cmd/run_options.h"

/*
 * A copy of @tree (malloc'ed) in which what the options name is local: the
 * disks' and cards' backends by id, the serial port's, the boot images, the
 * name. What isn't named stays as the source has it. Pure. Every reason
 * against it is in @err.
 */
int incoming_localize(const struct run_config *c, const void *tree, size_t len,
		      void **out, struct error *err) __must_check;

#endif
