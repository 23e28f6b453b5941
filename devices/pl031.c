/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arm's PrimeCell real-time clock PL031 (DDI 0224): a counter of seconds.
 *
 * Time is the host's CLOCK_REALTIME plus an offset that the guest moves by
 * loading the counter and that travels with it. Left out: the alarm, whose
 * registers are kept but whose interrupt never comes.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/device.h"
#include "vmm/tree.h"

/* Registers (DDI 0224, table 3-1). */
enum {
	PL031_DR = 0x00,	/* seconds now */
	PL031_MR = 0x04,	/* alarm */
	PL031_LR = 0x08,	/* load */
	PL031_CR = 0x0c,	/* 1: runs, always */
	PL031_IMSC = 0x10,
	PL031_ID = 0xfe0,	/* eight bytes, a word each */
};

struct pl031 {
	struct device dev;

	/* guest-visible state */
	uint32_t offset;	/* guest's seconds - host's, modulo 2^32 */
	uint32_t match;
	uint32_t load;
	uint32_t imsc;
};

static struct pl031 *to_pl031(struct device *dev)
{
	return container_of(dev, struct pl031, dev);
}

static void write_reg(struct pl031 *p, uint64_t reg, uint32_t value)
{
	switch (reg) {
	case PL031_MR:
		p->match = value;
		break;
	case PL031_LR:
		p->load = value;
		p->offset = value - (uint32_t)time(NULL);
		break;
	case PL031_IMSC:
		p->imsc = value & 1;
		break;
	default:	/* the clock can't be stopped; nothing to clear */
		break;
	}
}

static uint32_t read_reg(const struct pl031 *p, uint64_t reg)
{
	static const uint8_t id[] = {
		0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1
	};

	switch (reg) {
	case PL031_DR:
		return (uint32_t)time(NULL) + p->offset;
	case PL031_MR:
		return p->match;
	case PL031_LR:
		return p->load;
	case PL031_CR:
		return 1;
	case PL031_IMSC:
		return p->imsc;
	default:
		return reg >= PL031_ID ? id[(reg - PL031_ID) / 4] : 0;
	}
}

static enum bus_result pl031_access(struct device *dev,
				    struct bus_access *access)
{
	struct pl031 *p = to_pl031(dev);

	if (access->offset % 4 || access->len > 4)
		return BUS_UNHANDLED;
	if (access->is_write)
		write_reg(p, access->offset, (uint32_t)access->value);
	else
		access->value = read_reg(p, access->offset);
	return BUS_OK;
}

/* The battery keeps time. */
static void pl031_reset(struct device *dev)
{
	struct pl031 *p = to_pl031(dev);

	device_lock(dev);
	p->match = p->load = p->imsc = 0;
	device_unlock(dev);
}

static const struct state_table pl031_table = {
	.name = "pl031",
	.doc = "PL031 real-time clock",
	.size = sizeof(struct pl031),
	STATE_VISIBLE(struct pl031, offset, imsc),
	STATE_FIELDS(
		STATE_U32(struct pl031, offset,
			  .doc = "guest's seconds minus the wall clock's, modulo 2^32"),
		STATE_U32(struct pl031, match, .doc = "alarm"),
		STATE_U32(struct pl031, load, .doc = "last value loaded"),
		STATE_U32(struct pl031, imsc, .max = 1,
			  .doc = "interrupt mask"),
	),
};

static const struct device_class pl031_class;

static int pl031_create(struct device_env *env, int node, struct device **out,
			struct error *err)
{
	struct pl031 *p = calloc(1, sizeof(*p));
	uint64_t base, size;
	int ret;

	if (!p)
		return error_set(err, ENOMEM, "no memory for a clock");
	device_init(&p->dev, &pl031_class, env, node);
	ret = tree_reg(env->tree, node, 0, &base, &size, err);
	if (!ret)
		ret = bus_add(env->mmio, base, 0x1000, &p->dev, pl031_access,
			      err);
	if (ret)
		device_free(&p->dev);
	else
		*out = &p->dev;
	return ret;
}

static const struct device_class pl031_class = {
	.compatible = "arm,pl031",
	.doc = "PL031 real-time clock (DDI 0224)",
	.state = &pl031_table,
	.create = pl031_create,
	.destroy = device_free,
	.reset = pl031_reset,
};

DEVICE_CLASS(pl031_class);
