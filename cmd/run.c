/* SPDX-License-Identifier: GPL-2.0-or-later */
/* godwit run: one VM, from its options to its end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/instance.h"
#include "cmd/run.h"
#include "cmd/tree_build.h"
#include "migration/record.h"
#include "vmm/base/fd.h"

static int build_tree(struct instance *inst, void **tree, struct error *err)
{
	int ret, fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return error_set(err, errno, "can't open /dev/kvm: %s (`godwit doctor` tells more)",
				 strerror(errno));
	ret = tree_build(inst->config, inst->name, fd, tree, err);
	fd_close(&fd);
	return ret;
}

/* A VM of this name was given away, and nobody knows how that ended. */
static int check_record(struct instance *inst, struct error *err)
{
	struct error none = ERROR_INIT;
	struct record_info r;

	if (!inst->config->name ||
	    record_find(inst->state_dir, inst->name, RECORD_SOURCE, &r,
			&none) < 0 || !r.going)
		return 0;
	return error_set(err, EBUSY, "'%s' may run at %s: a migration there did not end clearly. `godwit resolve %s` shows what is known and settles it",
			 inst->name, r.uri, inst->name);
}

static int start_here(struct instance *inst, struct error *err)
{
	void *tree = NULL;
	int ret = check_record(inst, err);

	if (!ret)
		ret = build_tree(inst, &tree, err);

	if (!ret)
		ret = instance_create_vm(inst, tree, false, NULL, err);
	free(tree);
	if (!ret)
		ret = vm_boot(inst->vm, err);
	if (ret == -ENOEXEC)
		error_prefix(err, "option --kernel: value '%s'",
			     inst->config->kernel);
	if (!ret)
		ret = vm_activate(inst->vm, err);
	if (!ret && !inst->config->paused)
		ret = vm_run(inst->vm, err);
	return ret;
}

static int start(struct instance *inst, struct error *err)
{
	if (inst->config->incoming)
		return instance_listen(inst, err);
	if (inst->config->restore)
		return instance_restore(inst, err);
	return start_here(inst, err);
}

static int run(const struct run_config *config)
{
	struct error err = ERROR_INIT;
	struct instance inst;
	int ret = instance_init(&inst, config, &err);

	if (ret)
		return command_fail(&err);
	ret = start(&inst, &err);
	if (!ret)
		loop_run(&inst.loop);
	/* first the terminal's modes, then the message */
	instance_exit(&inst);
	return ret ? command_fail(&err) : inst.status;
}

int run_checked(struct run_config *config)
{
	struct error err = ERROR_INIT;

	if (!run_config_check(config, &err))
		return run(config);
	command_fail(&err);
	return 2;
}

static int run_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct run_config config;
	struct command full = *cmd;
	int status;

	full.options = run_option_table;
	full.noptions = run_option_count;
	run_config_init(&config);
	if (command_parse(&full, argc, argv, &config, args, &status))
		status = run_checked(&config);
	run_config_exit(&config);
	return status;
}

const struct command cmd_run = {
	.name = "run",
	.args = "",
	.summary = "Run a VM until it ends.",
	.about = "On a terminal: Ctrl-A x quits, Ctrl-A c is a monitor, Ctrl-A h helps.\n"
		 "The exit status is 0 after a power-off, the guest's value after a write to\n"
		 "the debug-exit port, 1 when the VM can't start or go on, 2 for wrong\n"
		 "options, 128 + N after signal N.",
	.run = run_main,
};
