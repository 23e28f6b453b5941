/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/runtime.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

void runtime_state_dir(char *buf, size_t size)
{
	const char *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");

	if (xdg && *xdg)
		snprintf(buf, size, "%s/godwit", xdg);
	else if (getuid() && home && *home)
		snprintf(buf, size, "%s/.local/state/godwit", home);
	else
		snprintf(buf, size, "/var/lib/godwit");
}

int runtime_make_state_dir(struct error *err)
{
	char dir[PATH_MAX];

	runtime_state_dir(dir, sizeof(dir));
	/* parents as everybody has them, the last for its owner alone */
	for (char *slash = strchr(dir + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)!mkdir(dir, 0755);
		*slash = '/';
	}
	if (mkdir(dir, 0700) && errno != EEXIST)
		return error_set(err, errno, "can't make the directory %s, which keeps the records of migrations: %s (set XDG_STATE_HOME)",
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
