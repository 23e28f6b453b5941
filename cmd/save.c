/* SPDX-License-Identifier: GPL-2.0-or-later */
/* godwit save: a running VM into a file. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/client.h"
#include "cmd/commands.h"
#include "cmd/watch.h"
#include "vmm/base/util.h"

struct save_config {
	bool keep, json, quiet;
};

#define FIELD(member) .offset = offsetof(struct save_config, member)

static const struct option_spec options[] = {
	{ "keep", NULL, "The VM runs on. Its disks change then: save or copy them\n"
	  "at the same moment, or the file is of no use",
	  .parse = option_bool, FIELD(keep) },
	{ "json", NULL, "The report as JSON on standard output",
	  .parse = option_bool, FIELD(json) },
	{ "quiet", NULL, "No stages and no progress",
	  .parse = option_bool, FIELD(quiet) },
};

/* The process of the VM has a working directory of its own. */
static int absolute(const char *file, char path[PATH_MAX], struct error *err)
{
	char dir[PATH_MAX];

	if (!getcwd(dir, sizeof(dir)))
		return error_set(err, errno, "no working directory: %s",
				 strerror(errno));
	if ((size_t)snprintf(path, PATH_MAX, "%s%s%s",
			     *file == '/' ? "" : dir,
			     *file == '/' ? "" : "/", file) >= PATH_MAX)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long",
				 file);
	return 0;
}

static void print(const char *vm, const char *file, const json_t *report)
{
	const json_t *job = json_object_get(report, "x-job");

	printf("%s to %s: %s, %.1f MiB in %.1f ms, pause %.1f ms\n", vm, file,
	       client_str(report, "status"),
	       (double)client_num(job, "normal-pages") * 4096 / MIB,
	       (double)client_num(job, "time-elapsed-us") / 1000,
	       (double)client_num(job, "downtime-us") / 1000);
}

static int save_main(const struct command *cmd, int argc, char **argv)
{
	struct save_config config = { 0 };
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct error err = ERROR_INIT;
	json_t *report = NULL;
	char path[PATH_MAX];
	int status;

	if (!command_parse(cmd, argc, argv, &config, args, &status))
		return status;
	if (absolute(args[1], path, &err) ||
	    watch_job(args[0], "x-save", json_pack("{s:s, s:b}", "file", path,
						   "keep", config.keep),
		      config.quiet, &report, &err)) {
		json_decref(report);
		return command_fail(&err);
	}
	if (config.json)
		client_print(report);
	else
		print(args[0], args[1], report);
	status = strcmp(client_str(report, "status"), "completed") ? 1 : 0;
	if (status)
		fprintf(stderr, "godwit: %s: not saved: %s\n", args[0],
			client_str(report, "error-desc"));
	json_decref(report);
	return status;
}

const struct command cmd_save = {
	.name = "save",
	.args = "VM FILE",
	.summary = "Save a running VM to a file, and end it.",
	.about = "It runs while its memory is written, and pauses for the rest. `godwit restore\n"
		 "FILE` brings it back. Ctrl-C cancels: the VM runs on, and no file is left.",
	COMMAND_OPTIONS(options),
	.min_args = 2, .max_args = 2,
	.run = save_main,
};
