/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is left of the PC's keyboard controller: the command that pulses the
 * reset line, by which kernels reboot when nothing better is described.
 *
 * There is no keyboard and no controller to find. The status says "output
 * full, input empty": a driver that probes drains the output, which never
 * ends, and gives up after its 16 tries; a reboot that waits for the input to
 * become empty doesn't wait.
 *
 * Ports: data at +0 (0x60), status and command at +4 (0x64). What lies between
 * is not the controller's (0x61 is the timer's).
 */
#include "vmm/device.h"

#define STATUS_OUTPUT_FULL	0x01
#define STATUS_SELF_TEST	0x04

#define COMMAND_OFFSET		4
#define COMMAND_PULSE_RESET	0xfe

struct i8042 {
	struct device dev;
};

static enum bus_result i8042_access(struct device *dev,
				    struct bus_access *access)
{
	bool command = access->offset == COMMAND_OFFSET;

	if (access->len != 1 || (access->offset && !command))
		return BUS_UNHANDLED;
	if (!access->is_write)
		access->value = command ? STATUS_OUTPUT_FULL | STATUS_SELF_TEST
					: 0;
	else if (command && access->value == COMMAND_PULSE_RESET)
		dev->env->request(dev->env, VM_REQUEST_RESET, 0);
	return BUS_OK;
}

/* Every command is over at once, so there is nothing to remember. */
static const struct state_table i8042_table = {
	.name = "i8042",
	.doc = "reset line of the keyboard controller",
	.size = sizeof(struct i8042),
};

static const struct device_class i8042_class;

static int i8042_create(struct device_env *env, int node,
			struct device **out, struct error *err)
{
	return device_new(out, &i8042_class, env, node, i8042_access, err);
}

static const struct device_class i8042_class = {
	.compatible = "godwit,i8042",
	.doc = "keyboard controller: its reset line only",
	.state = &i8042_table,
	.create = i8042_create,
	.destroy = device_free,
};

DEVICE_CLASS(i8042_class);
