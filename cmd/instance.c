/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/instance.h"

#include <errno.h>
#include <libfdt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cmd/qmp_commands.h"
#include "cmd/runtime.h"
#include "devices/block/block.h"
#include "devices/char/char.h"
#include "migration/userfault.h"
#include "vmm/base/fd.h"
#include "vmm/tree.h"

static const struct qmp_group groups[] = {
	{ qmp_vm_commands, QMP_VM_COMMANDS },
	{ qmp_migration_commands, QMP_MIGRATION_COMMANDS },
};

struct qmp_server instance_server(struct instance *inst)
{
	return (struct qmp_server){
		.groups = groups, .ngroups = ARRAY_SIZE(groups), .arg = inst,
	};
}

void instance_quit(struct instance *inst, int status)
{
	struct error ignored = ERROR_INIT;
	bool again = inst->quitting;

	inst->status = status;
	inst->quitting = true;
	/*
	 * A VM half way over must end up on exactly one side: past the point
	 * of no return the process stays until it knows on which, and has its
	 * memory there.
	 */
	if (instance_has_lost_link(inst))
		instance_leave_behind(inst, again);
	else if (instance_is_leaving(inst))
		(void)!instance_cancel(inst, &ignored);
	else
		loop_stop(&inst->loop);
}

void instance_quit_by_host(struct instance *inst, int status,
			   const char *reason)
{
	json_t *data = json_pack("{s:b, s:s}", "guest", 0, "reason", reason);

	control_event(inst->control, "SHUTDOWN", data);
	json_decref(data);
	instance_quit(inst, status);
}

/* -- signals */

static void on_signal(void *arg, uint32_t events)
{
	struct instance *inst = arg;
	struct signalfd_siginfo info;

	if (read(inst->signals.fd, &info, sizeof(info)) != sizeof(info))
		return;
	log_info(&inst->log, "signal %u: quitting", info.ssi_signo);
	instance_quit_by_host(inst, 128 + (int)info.ssi_signo, "host-signal");
}

/* Before any thread is made, so that all of them have these blocked. */
static int watch_signals(struct instance *inst, struct error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	inst->signals = (struct loop_fd){
		.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
		.events = EPOLLIN, .fn = on_signal, .arg = inst,
	};
	if (inst->signals.fd < 0)
		return error_set(err, errno, "signalfd: %s", strerror(errno));
	return loop_add(&inst->loop, &inst->signals, err);
}

/* -- what the VM asks of us */

static void on_vm_event(void *arg, enum vm_event event, int value,
			const char *detail)
{
	static const char *const names[] = {
		[VM_EVENT_STOP] = "STOP",
		[VM_EVENT_RESUME] = "RESUME",
		[VM_EVENT_RESET] = "RESET",
		[VM_EVENT_SHUTDOWN] = "SHUTDOWN",
		[VM_EVENT_POWERDOWN] = "POWERDOWN",
		[VM_EVENT_DISK_LOST] = "X_DISK_LOST",
		[VM_EVENT_DISK_FOUND] = "X_DISK_FOUND",
	};
	struct instance *inst = arg;
	json_t *data = NULL;

	if (event == VM_EVENT_SHUTDOWN || event == VM_EVENT_RESET)
		data = json_pack("{s:b, s:s, s:i}", "guest", 1, "reason",
				 detail, "x-status", value);
	else if (*detail)
		data = json_pack("{s:s}", "reason", detail);
	control_event(inst->control, names[event], data);
	json_decref(data);
	if (event == VM_EVENT_SHUTDOWN)
		instance_quit(inst, value);
	if (event == VM_EVENT_DISK_FOUND) {
		inst->disk_found = true;
		instance_try_again(inst);
	}
}

/* QEMU's event. */
static void on_io_error(void *arg, const struct io_error *e)
{
	struct instance *inst = arg;
	json_t *data = json_pack("{s:s, s:s, s:s, s:b, s:s}", "device",
				 e->device, "operation",
				 e->is_write ? "write" : "read", "action",
				 e->stop ? "stop" : "report", "nospace",
				 e->nospace, "reason", e->reason);

	control_event(inst->control, "BLOCK_IO_ERROR", data);
	json_decref(data);
}

void instance_try_again(struct instance *inst)
{
	struct error err = ERROR_INIT;

	if (!inst->disk_found || instance_is_leaving(inst))
		return;
	inst->disk_found = false;
	if (vm_get_state(inst->vm) != VM_IO_ERROR)
		return;
	log_info(&inst->log, "the disk is back, the VM goes on");
	if (vm_run(inst->vm, &err))
		log_error(&inst->log, "can't go on: %s", err.msg);
}

/* DRBD's driver does, and those need what a confined process has given up. */
static bool runs_programs(const void *tree)
{
	char kind[32];
	int node = -1;

	while ((node = fdt_node_offset_by_compatible(tree, node,
					"godwit,virtio-blk")) >= 0) {
		block_kind(tree_str(tree, node, "backend", ""), kind);
		if (!strcmp(kind, "drbd"))
			return true;
	}
	return false;
}

static int on_vcpu_starts(void *arg, struct error *err)
{
	struct instance *inst = arg;

	return confine_vcpu(&inst->confine, runs_programs(inst->vm->tree), err);
}

/* What a disk wants later, and can't have as another user. */
static int check_user(const struct instance *inst, const void *tree,
		      struct error *err)
{
	const struct confine_user *u = &inst->confine.user;
	const char *uri;
	int node = -1;

	if (!u->on)
		return 0;
	if (runs_programs(tree))
		return error_set(err, ENOTSUP, "--user: not with a disk on DRBD, whose roles are changed by programs that need root");
	while (*u->root && (node = fdt_node_offset_by_compatible(tree, node,
					"godwit,virtio-blk")) >= 0) {
		uri = tree_str(tree, node, "backend", "");
		if (!strncmp(uri, "nbd+unix:", 9))
			return error_set(err, ENOTSUP, "--chroot: not with %s: if that server was lost, its socket could not be found again; accepted: nbd://HOST:PORT",
					 uri);
	}
	return 0;
}

const char *instance_state_dir(struct instance *inst)
{
	return confine_entered(&inst->confine) ? inst->state_inside :
						 inst->state_dir;
}

const char *instance_path(struct instance *inst, const char *path,
			  struct error *err)
{
	const struct confine_user *u = &inst->confine.user;
	const char *inside = path;

	if (confine_entered(&inst->confine))
		inside = confine_user_path(u, path);
	if (!inside)
		error_set(err, EACCES, "%s: this VM's process sees nothing outside of its --chroot %s",
			  path, u->root);
	return inside;
}

static void terminal_gone(void *arg)
{
	struct instance *inst = arg;

	inst->terminal = NULL;
}

static void terminal_quit(void *arg)
{
	instance_quit_by_host(arg, 0, "host-ui");
}

static struct chardev *open_chardev(void *arg, const char *name,
				    struct error *err)
{
	struct instance *inst = arg;
	struct terminal_config cfg = {
		.loop = &inst->loop,
		.quit = terminal_quit,
		.command = monitor_command,
		.gone = terminal_gone,
		.arg = inst,
	};

	if (strcmp(name, "stdio"))
		return char_open(name, &inst->loop, &inst->log, err);
	if (inst->terminal) {
		error_set(err, EBUSY, "stdio is taken by another device; give this one null, file:PATH, unix:PATH or pty");
		return NULL;
	}
	if (terminal_create(&inst->terminal, &cfg, err))
		return NULL;
	return terminal_chardev(inst->terminal);
}

int instance_create_vm(struct instance *inst, const void *tree, bool incoming,
		       const struct vm_memory_file *memory, struct error *err)
{
	struct vm_config cfg = {
		.tree = tree,
		.loop = &inst->loop,
		.log = inst->log,
		.incoming = incoming,
		.memory = memory,
		.event = on_vm_event,
		.io_error = on_io_error,
		.vcpu_starts = on_vcpu_starts,
		.dirty = inst->config->dirty,
		.event_arg = inst,
		.chardev = open_chardev,
		.chardev_arg = inst,
	};

	int ret = check_user(inst, tree, err);

	if (!ret)
		ret = vm_create(&inst->vm, &cfg, err);
	if (ret)
		return ret;
	/* Filters take a while to load, which is not for a pause; and whoever
	 * sends memory is not trusted either. To become another user now would
	 * close the rest of the way here. */
	if (inst->confine.user.on)
		memory_hold_pagemap(&inst->vm->mem);
	else if (incoming)
		vm_begin(inst->vm);
	return 0;
}

/* -- life */

void instance_control_path(const struct instance *inst, char *buf,
			   size_t size)
{
	if (inst->config->control)
		snprintf(buf, size, "%s", inst->config->control);
	else
		runtime_socket(inst->name, buf, size);
}

/* A VM that has moved away stays for whoever still asks about it. */
static void on_deserted(void *arg)
{
	struct instance *inst = arg;

	if (inst->vm && !instance_is_leaving(inst) &&
	    vm_get_state(inst->vm) == VM_POSTMIGRATE)
		instance_quit(inst, 0);
}

static int start_control(struct instance *inst, struct error *err)
{
	char path[PATH_MAX];
	struct control_config cfg = {
		.path = path,
		.loop = &inst->loop,
		.server = instance_server(inst),
		.deserted = on_deserted,
		.arg = inst,
	};
	int ret = inst->config->control ? 0 : runtime_make_dir(err);

	instance_control_path(inst, path, sizeof(path));
	return ret ? ret : control_create(&inst->control, &cfg, err);
}

/* While this process may still. Without it no VM can arrive by post-copy. */
static void open_userfault(struct instance *inst)
{
	struct error err = ERROR_INIT;

	inst->userfault_fd = -1;
	if (!inst->config->incoming)
		return;
	inst->userfault_fd = userfault_open(&err);
	if (inst->userfault_fd < 0)
		log_info(&inst->log, "no post-copy: %s", err.msg);
}

/* The last that root does without having to. */
static int prepare_user(struct instance *inst, struct error *err)
{
	struct confine_user *u = &inst->confine.user;
	int ret = confine_user_init(u, inst->config->user,
				    inst->config->chroot, err);

	runtime_state_dir(inst->state_dir, sizeof(inst->state_dir));
	if (!ret && u->on)
		ret = confine_user_state_dir(u, inst->state_dir,
					     inst->state_inside, err);
	confine_capabilities(u->on);
	return ret;
}

int instance_init(struct instance *inst, const struct run_config *config,
		  struct error *err)
{
	int ret;

	memset(inst, 0, sizeof(*inst));
	inst->config = config;
	inst->signals.fd = -1;
	migration_params_init(&inst->params);
	if (config->name)
		snprintf(inst->name, sizeof(inst->name), "%s", config->name);
	else
		snprintf(inst->name, sizeof(inst->name), "vm%d", getpid());
	inst->log.level = config->log_level;
	inst->log.fd = STDERR_FILENO;
	memcpy(inst->log.name, inst->name, sizeof(inst->log.name));
	open_userfault(inst);
	ret = confine_init(&inst->confine, !config->no_seccomp, err);
	if (ret == -ENOTSUP) {
		log_warn(&inst->log, "%s", err->msg);
		error_clear(err);
		ret = 0;
	}
	if (!ret)
		ret = prepare_user(inst, err);
	if (!ret)
		ret = loop_init(&inst->loop, err);
	if (ret) {
		confine_exit(&inst->confine);
		return ret;
	}
	ret = watch_signals(inst, err);
	if (!ret)
		ret = start_control(inst, err);
	if (ret)
		instance_exit(inst);
	return ret;
}

void instance_exit(struct instance *inst)
{
	instance_migration_exit(inst);
	instance_restore_exit(inst);
	if (confine_entered(&inst->confine))
		control_entered(inst->control, &inst->confine.user);
	vm_destroy(inst->vm);
	control_destroy(inst->control);
	loop_del(&inst->loop, &inst->signals);
	fd_close(&inst->signals.fd);
	loop_exit(&inst->loop);
	fd_close(&inst->userfault_fd);
	confine_exit(&inst->confine);
}
