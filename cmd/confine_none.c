/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the place of confine_filter.c where CONFIG_SECCOMP is off. */
#include <errno.h>

#include "cmd/confine_filter.h"

int confine_filter_make(struct confine *c, struct error *err)
{
	return error_set(err, ENOTSUP, "built without seccomp (CONFIG_SECCOMP): this process is not confined");
}
