/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "cmd/client.h"
#include "cmd/commands.h"
#include "vmm/base/util.h"

struct info_config {
	bool json;
};

static const struct option_spec options[] = {
	{ "json", NULL, "As JSON, for programs",
	  .parse = option_bool, .offset = offsetof(struct info_config, json) },
};

static void print_devices(const json_t *devices)
{
	json_t *d;
	size_t i;

	json_array_foreach(devices, i, d)
		printf("  %-26s %-22s %-10s %s\n", client_str(d, "name"),
		       client_str(d, "class"), client_str(d, "id"),
		       client_str(d, "backend"));
}

static void print_info(const json_t *vm, const json_t *migration)
{
	printf("name       %s\nstate      %s\nprocess    %llu\n",
	       client_str(vm, "name"), client_str(vm, "status"),
	       client_num(vm, "pid"));
	if (json_object_get(vm, "uuid")) {
		printf("uuid       %s\n", client_str(vm, "uuid"));
		printf("cpus       %llu, model %s\n", client_num(vm, "cpus"),
		       client_str(vm, "cpu-model"));
		printf("memory     %llu MiB\ndevices\n",
		       client_num(vm, "memory") / MIB);
		print_devices(json_object_get(vm, "devices"));
	}
	if (*client_str(migration, "status"))
		printf("migration  %s%s%s\n", client_str(migration, "status"),
		       json_object_get(migration, "error-desc") ? ": " : "",
		       client_str(migration, "error-desc"));
}

static int info_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct info_config config = { .json = false };
	struct error err = ERROR_INIT;
	struct client *c = NULL;
	json_t *vm = NULL, *migration = NULL;
	int status;

	if (!command_parse(cmd, argc, argv, &config, args, &status))
		return status;
	if (client_open(&c, args[0], &err) ||
	    client_call(c, "x-query-vm", NULL, &vm, &err) ||
	    client_call(c, "query-migrate", NULL, &migration, &err)) {
		command_fail(&err);
	} else if (config.json) {
		json_object_set(vm, "migration", migration);
		client_print(vm);
	} else {
		print_info(vm, migration);
	}
	json_decref(vm);
	json_decref(migration);
	client_close(c);
	return err.code ? 1 : 0;
}

const struct command cmd_info = {
	.name = "info",
	.args = "VM",
	.summary = "Tell all about a VM.",
	COMMAND_OPTIONS(options),
	.min_args = 1, .max_args = 1,
	.run = info_main,
};
