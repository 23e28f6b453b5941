/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reset control register of a PC chipset at port 0xcf9 (Intel ICH9 data
 * sheet, 13.7.5), which ACPI names as the machine's reset register.
 *
 * A write that sets RST_CPU resets the machine when SYS_RST is set too. A
 * reset of the CPU alone (SYS_RST clear) is left out, and so is the power
 * cycle that FULL_RST asks for: both would look alike to a guest.
 */
#include "vmm/device.h"

#define SYS_RST		0x02
#define RST_CPU		0x04
#define FULL_RST	0x08

struct reset {
	struct device dev;

	/* guest-visible state */
	uint8_t control;
};

static struct reset *to_reset(struct device *dev)
{
	return container_of(dev, struct reset, dev);
}

static enum bus_result reset_access(struct device *dev,
				    struct bus_access *access)
{
	struct reset *r = to_reset(dev);

	if (access->len != 1)
		return BUS_UNHANDLED;
	if (!access->is_write) {
		access->value = r->control;
		return BUS_OK;
	}
	/* RST_CPU is a trigger and reads as zero */
	r->control = access->value & (SYS_RST | FULL_RST);
	if ((access->value & (SYS_RST | RST_CPU)) == (SYS_RST | RST_CPU))
		dev->env->request(dev->env, VM_REQUEST_RESET, 0);
	return BUS_OK;
}

static void reset_reset(struct device *dev)
{
	device_lock(dev);
	to_reset(dev)->control = 0;
	device_unlock(dev);
}

static const struct state_table reset_table = {
	.name = "reset",
	.doc = "reset control register",
	.size = sizeof(struct reset),
	STATE_VISIBLE(struct reset, control, control),
	STATE_FIELDS(
		STATE_U8(struct reset, control, .max = SYS_RST | FULL_RST,
			 .doc = "register without the trigger bit"),
	),
};

static const struct device_class reset_class;

static int reset_create(struct device_env *env, int node,
			struct device **out, struct error *err)
{
	return device_new(out, &reset_class, env, node, reset_access, err);
}

static const struct device_class reset_class = {
	.compatible = "godwit,reset",
	.doc = "reset control register, port 0xcf9",
	.state = &reset_table,
	.create = reset_create,
	.destroy = device_free,
	.reset = reset_reset,
};

DEVICE_CLASS(reset_class);
