/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The system calls of each role. */
#ifndef GODWIT_CMD_CONFINE_FILTER_H
#define GODWIT_CMD_CONFINE_FILTER_H

#include "cmd/confine.h"

/* Fill in both filters of @c. */
int confine_filter_make(struct confine *c, struct error *err) __must_check;

#endif
