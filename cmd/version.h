/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GODWIT_CMD_VERSION_H
#define GODWIT_CMD_VERSION_H

#include <jansson.h>

#define VERSION_MAJOR 0
#define VERSION_MINOR 1
#define VERSION_MICRO 0
#define VERSION_TEXT "0.1.0"

/*
 * As QMP clients want it. The member is named "qemu" because they look for it
 * there; "package" says who we are.
 */
static inline json_t *version_json(void)
{
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major",
			 VERSION_MAJOR, "minor", VERSION_MINOR, "micro",
			 VERSION_MICRO, "package", "godwit-" VERSION_TEXT);
}

#endif
