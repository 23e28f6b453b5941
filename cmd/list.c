/* SPDX-License-Identifier: GPL-2.0-or-later */
/* godwit list: the VMs whose control sockets lie in the runtime directory. */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/client.h"
#include "cmd/commands.h"
#include "cmd/runtime.h"
#include "vmm/base/util.h"

struct list_config {
	bool json;
};

static const struct option_spec options[] = {
	{ "json", NULL, "As JSON, for programs",
	  .parse = option_bool, .offset = offsetof(struct list_config, json) },
};

static int is_socket_name(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 5 && !strcmp(d->d_name + n - 5, ".sock");
}

/* What the VM says of itself, or NULL: a socket that nobody serves is what a
 * killed process left, and no VM. */
static json_t *ask(const char *dir, const char *file)
{
	char path[2 * PATH_MAX];
	struct error err = ERROR_INIT;
	struct client *c = NULL;
	json_t *vm = NULL;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	if (!client_open(&c, path, &err) &&
	    client_call(c, "x-query-vm", NULL, &vm, &err))
		vm = NULL;
	client_close(c);
	return vm;
}

static json_t *ask_all(void)
{
	char dir[PATH_MAX];
	struct dirent **names = NULL;
	json_t *all = json_array(), *vm;
	int i, n;

	runtime_dir(dir, sizeof(dir));
	n = scandir(dir, &names, is_socket_name, alphasort);
	for (i = 0; i < n; i++) {
		vm = ask(dir, names[i]->d_name);
		if (vm)
			json_array_append_new(all, vm);
		free(names[i]);
	}
	free(names);
	return all;
}

static void print_table(const json_t *all)
{
	json_t *vm;
	size_t i;

	printf("%-20s %-14s %4s %9s %8s\n", "NAME", "STATE", "CPUS", "MEMORY",
	       "PID");
	json_array_foreach(all, i, vm)
		printf("%-20s %-14s %4llu %5llu MiB %8llu\n",
		       client_str(vm, "name"), client_str(vm, "status"),
		       client_num(vm, "cpus"), client_num(vm, "memory") / MIB,
		       client_num(vm, "pid"));
}

static int list_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct list_config config = { .json = false };
	json_t *all;
	int status;

	if (!command_parse(cmd, argc, argv, &config, args, &status))
		return status;
	all = ask_all();
	if (config.json)
		client_print(all);
	else
		print_table(all);
	json_decref(all);
	return 0;
}

const struct command cmd_list = {
	.name = "list",
	.args = "",
	.summary = "List the VMs that run on this host.",
	COMMAND_OPTIONS(options),
	.run = list_main,
};
