/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The debug exit port: a write ends the VM, and the value becomes the exit
 * status of the process. For tests and tiny guests; no real machine has it.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/device.h"
#include "vmm/tree.h"

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

static void debug_exit_destroy(struct device *dev)
{
	device_exit(dev);
	free(container_of(dev, struct debug_exit, dev));
}

static int debug_exit_create(struct device_env *env, int node,
			     struct device **out, struct error *err)
{
	struct debug_exit *d = calloc(1, sizeof(*d));
	uint64_t base, size;
	int ret;

	if (!d)
		return error_set(err, ENOMEM, "no memory");
	device_init(&d->dev, &debug_exit_class, env, node);
	ret = tree_reg(env->tree, node, 0, &base, &size, err);
	if (!ret)
		ret = bus_add(device_bus(env, node), base, size, &d->dev,
			      debug_exit_access, err);
	if (ret)
		debug_exit_destroy(&d->dev);
	else
		*out = &d->dev;
	return ret;
}

static const struct device_class debug_exit_class = {
	.compatible = "godwit,debug-exit",
	.doc = "port that ends the VM with an exit status",
	.state = &debug_exit_table,
	.create = debug_exit_create,
	.destroy = debug_exit_destroy,
};

DEVICE_CLASS(debug_exit_class);
