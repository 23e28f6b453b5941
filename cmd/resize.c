/* SPDX-License-Identifier: GPL-2.0-or-later */
/* godwit resize: a running VM's disk. */
#include <errno.h>

#include "cmd/client.h"
#include "cmd/commands.h"
#include "cmd/parse.h"

static int resize(const char *vm, const char *disk, uint64_t size,
		  struct error *err)
{
	struct client *c = NULL;
	int ret = client_open(&c, vm, err);

	if (ret == 0)
		ret = client_call(c, "block_resize",
				  json_pack("{s:s, s:I}", "device", disk,
					    "size", (json_int_t)size),
				  NULL, err);
	client_close(c);
	return ret;
}

static int resize_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct error err = ERROR_INIT;
	uint64_t size;
	int status;

	if (!command_parse(cmd, argc, argv, NULL, args, &status))
		return status;
	if (parse_size(args[2], 1, &size, &err) < 0) {
		error_prefix(&err, "SIZE '%s'", args[2]);
		return command_fail(&err);
	}
	if (size > INT64_MAX)
		error_set(&err, E2BIG, "SIZE '%s' is too large", args[2]);
	else if (resize(args[0], args[1], size, &err) == 0)
		return 0;
	return command_fail(&err);
}

const struct command cmd_resize = {
	.name = "resize",
	.args = "VM DISK SIZE",
	.summary = "Make a disk of a VM larger; the guest is told.",
	.about = "SIZE is in bytes, or 20G. A file is made larger, an image in Ceph, too; a\n"
		 "block device or DRBD resource must have that size already.\n",
	.min_args = 3, .max_args = 3,
	.run = resize_main,
};
