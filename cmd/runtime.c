/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/runtime.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void runtime_dir(char *buf, size_t size)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	snprintf(buf, size, "%s/godwit", xdg && *xdg ? xdg : "/run");
}

int runtime_make_dir(struct error *err)
{
	char dir[PATH_MAX];

	runtime_dir(dir, sizeof(dir));
	if (mkdir(dir, 0700) && errno != EEXIST)
		return error_set(err, errno, "can't make the runtime directory %s: %s (set XDG_RUNTIME_DIR, or give --control PATH)",
				 dir, strerror(errno));
	return 0;
}

void runtime_socket(const char *name, char *buf, size_t size)
{
	char dir[PATH_MAX];

	if (strchr(name, '/')) {
		snprintf(buf, size, "%s", name);
		return;
	}
	runtime_dir(dir, sizeof(dir));
	snprintf(buf, size, "%s/%s.sock", dir, name);
}
