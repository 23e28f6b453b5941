/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The debug exit port: a write ends the VM, and the value becomes the exit
 * status of the process. For tests and tiny guests; no real machine has it.
 */
#include "vmm/device.h"

struct debug_exit {
	struct device dev;
};

static enum bus_result debug_exit_access(struct device *dev,
					 struct bus_access *access)
{
	if (!access->is_write)
		return BUS_UNHANDLED;
	dev->env->request(dev->env, VM_REQUEST_EXIT,
			  (int)(access->value & 0xff));
	return BUS_OK;
}

/* Nothing to remember: the VM is over when it is used. */
static const struct state_table debug_exit_table = {
	.name = "debug_exit",
	.doc = "debug exit port",
	.size = sizeof(struct debug_exit),
};

static const struct device_class debug_exit_class;

static int debug_exit_create(struct device_env *env, int node,
			     struct device **out, struct error *err)
{
	return device_new(out, &debug_exit_class, env, node, debug_exit_access, err);
}

static const struct device_class debug_exit_class = {
	.compatible = "godwit,debug-exit",
	.doc = "port that ends the VM with an exit status",
	.state = &debug_exit_table,
	.create = debug_exit_create,
	.destroy = device_free,
};

DEVICE_CLASS(debug_exit_class);
