/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cmd/client.h"
#include "cmd/commands.h"

static int nibble(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : -1;
}

static int write_hex(const char *hex, struct error *err)
{
	for (; *hex; hex += 2) {
		int high = nibble(hex[0]), low = nibble(hex[1]);

		if (high < 0 || low < 0)
			return error_set(err, EBADMSG, "the VM's answer is no machine tree");
		putchar(high << 4 | low);
	}
	if (fflush(stdout))
		return error_set(err, errno, "can't write: %s",
				 strerror(errno));
	return 0;
}

static int machine_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct error err = ERROR_INIT;
	struct client *c = NULL;
	json_t *answer = NULL;
	int status;

	if (!command_parse(cmd, argc, argv, NULL, args, &status))
		return status;
	if (isatty(STDOUT_FILENO))
		error_set(&err, EINVAL, "this is binary; try: godwit machine %s | dtc -I dtb",
			  args[0]);
	else if (!client_open(&c, args[0], &err) &&
		 !client_call(c, "x-query-machine", NULL, &answer, &err))
		write_hex(client_str(answer, "dtb-hex"), &err);
	json_decref(answer);
	client_close(c);
	return err.code ? command_fail(&err) : 0;
}

const struct command cmd_machine = {
	.name = "machine",
	.args = "VM",
	.summary = "Print the machine tree of a VM (.dtb; see it with dtc).",
	.min_args = 1, .max_args = 1,
	.run = machine_main,
};
