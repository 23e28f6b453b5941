/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arm's PrimeCell GPIO PL061 (DDI 0190): eight lines, of which line 3 is the
 * power key: up while it is pressed, for 100 ms, which is longer than drivers
 * wait for a contact to settle.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/device.h"
#include "vmm/tree.h"

/* Registers (DDI 0190, table 3-1). Data is at 0 to 0x3fc: address bits 9 to 2
 * say which lines an access is about. */
enum {
	PL061_DATA_END = 0x3fc,
	PL061_DIR = 0x400,	/* 1: output */
	PL061_IS = 0x404,	/* 1: level */
	PL061_IBE = 0x408,	/* 1: both edges */
	PL061_IEV = 0x40c,	/* 1: rising or high */
	PL061_IE = 0x410,	/* mask */
	PL061_RIS = 0x414,
	PL061_MIS = 0x418,
	PL061_IC = 0x41c,
	PL061_AFSEL = 0x420,
	PL061_ID = 0xfe0,	/* eight bytes, a word each */
};

#define POWER_LINE	(1 << 3)
#define PRESSED_NS	(100 * NSEC_PER_MSEC)

struct pl061 {
	struct device dev;
	struct irq_line *irq;
	struct loop_timer release;

	/* guest-visible state */
	uint8_t data;		/* lines, inputs and outputs */
	uint8_t dir, is, ibe, iev, ie;
	uint8_t latched;	/* edges seen, not cleared yet */
	uint8_t afsel;
};

static struct pl061 *to_pl061(struct device *dev)
{
	return container_of(dev, struct pl061, dev);
}

/* Raw interrupt status: latched edges, and levels as they are. */
static uint8_t raw(const struct pl061 *p)
{
	uint8_t level = (uint8_t)(p->is & ~(p->data ^ p->iev));

	return (uint8_t)((p->latched & ~p->is) | level);
}

static void drive_irq(struct pl061 *p)
{
	irq_set(p->irq, (raw(p) & p->ie & ~p->dir) != 0);
}

static void set_lines(struct pl061 *p, uint8_t data)
{
	uint8_t changed = (uint8_t)((p->data ^ data) & ~p->dir);

	/* a change counts if both edges do, or if it went the chosen way */
	p->latched |= changed & (p->ibe | (uint8_t)~(data ^ p->iev));
	p->data = data;
	drive_irq(p);
}

static uint8_t *reg_of(struct pl061 *p, uint64_t reg)
{
	switch (reg) {
	case PL061_DIR:
		return &p->dir;
	case PL061_IS:
		return &p->is;
	case PL061_IBE:
		return &p->ibe;
	case PL061_IEV:
		return &p->iev;
	case PL061_IE:
		return &p->ie;
	case PL061_AFSEL:
		return &p->afsel;
	default:
		return NULL;
	}
}

static uint8_t read_reg(struct pl061 *p, uint64_t reg)
{
	static const uint8_t id[] = {
		0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1
	};
	uint8_t *plain = reg_of(p, reg);

	if (plain)
		return *plain;
	if (reg <= PL061_DATA_END)
		return p->data & (uint8_t)(reg >> 2);
	if (reg == PL061_RIS)
		return raw(p);
	if (reg == PL061_MIS)
		return raw(p) & p->ie;
	return reg >= PL061_ID ? id[(reg - PL061_ID) / 4] : 0;
}

static void write_reg(struct pl061 *p, uint64_t reg, uint8_t value)
{
	uint8_t *plain = reg_of(p, reg);
	uint8_t mask = (uint8_t)(reg >> 2) & p->dir;

	if (plain)
		*plain = value;
	else if (reg <= PL061_DATA_END)
		p->data = (uint8_t)((p->data & ~mask) | (value & mask));
	else if (reg == PL061_IC)
		p->latched &= (uint8_t)~value;
}

static enum bus_result pl061_access(struct device *dev,
				    struct bus_access *access)
{
	struct pl061 *p = to_pl061(dev);

	if (access->offset % 4 || access->len > 4)
		return BUS_UNHANDLED;
	if (access->is_write)
		write_reg(p, access->offset, (uint8_t)access->value);
	else
		access->value = read_reg(p, access->offset);
	drive_irq(p);
	return BUS_OK;
}

static void on_release(void *arg)
{
	struct pl061 *p = arg;

	device_lock(&p->dev);
	set_lines(p, p->data & (uint8_t)~POWER_LINE);
	device_unlock(&p->dev);
}

static void pl061_power_button(struct device *dev)
{
	struct pl061 *p = to_pl061(dev);

	device_lock(dev);
	set_lines(p, p->data | POWER_LINE);
	device_unlock(dev);
	loop_timer_set(dev->env->loop, &p->release, now_ns() + PRESSED_NS);
}

/* A key that was down when the VM left comes up here. */
static int pl061_start(struct device *dev, struct error *err)
{
	struct pl061 *p = to_pl061(dev);

	device_lock(dev);
	drive_irq(p);
	if (p->data & POWER_LINE)
		loop_timer_set(dev->env->loop, &p->release,
			       now_ns() + PRESSED_NS);
	device_unlock(dev);
	return 0;
}

static void pl061_stop(struct device *dev)
{
	loop_timer_cancel(&to_pl061(dev)->release);
}

static void pl061_reset(struct device *dev)
{
	struct pl061 *p = to_pl061(dev);

	device_lock(dev);
	p->data = p->dir = p->is = p->ibe = p->iev = p->ie = 0;
	p->latched = p->afsel = 0;
	drive_irq(p);
	device_unlock(dev);
}

static const struct state_table pl061_table = {
	.name = "pl061",
	.doc = "PL061 GPIO with the power key",
	.size = sizeof(struct pl061),
	STATE_VISIBLE(struct pl061, data, afsel),
	STATE_FIELDS(
		STATE_U8(struct pl061, data, .doc = "the lines"),
		STATE_U8(struct pl061, dir, .doc = "outputs"),
		STATE_U8(struct pl061, is, .doc = "level-sensitive"),
		STATE_U8(struct pl061, ibe, .doc = "both edges count"),
		STATE_U8(struct pl061, iev, .doc = "rising or high counts"),
		STATE_U8(struct pl061, ie, .doc = "interrupt mask"),
		STATE_U8(struct pl061, latched, .doc = "edges not cleared yet"),
		STATE_U8(struct pl061, afsel, .doc = "alternate functions"),
	),
};

static const struct device_class pl061_class;

static void pl061_destroy(struct device *dev)
{
	struct pl061 *p = to_pl061(dev);

	loop_timer_cancel(&p->release);
	device_exit(dev);
	free(p);
}

static int pl061_build(struct pl061 *p, int node, struct error *err)
{
	struct device_env *env = p->dev.env;
	uint64_t base, size;
	int ret = tree_reg(env->tree, node, 0, &base, &size, err);

	if (ret)
		return ret;
	p->irq = device_irq(env, node, err);
	if (!p->irq)
		return -err->code;
	return bus_add(env->mmio, base, 0x1000, &p->dev, pl061_access, err);
}

static int pl061_create(struct device_env *env, int node, struct device **out,
			struct error *err)
{
	struct pl061 *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return error_set(err, ENOMEM, "no memory for a GPIO");
	device_init(&p->dev, &pl061_class, env, node);
	loop_timer_init(&p->release, on_release, p);
	ret = pl061_build(p, node, err);
	if (ret)
		pl061_destroy(&p->dev);
	else
		*out = &p->dev;
	return ret;
}

static const struct device_class pl061_class = {
	.compatible = "arm,pl061",
	.doc = "PL061 GPIO (DDI 0190), line 3 is the power key",
	.state = &pl061_table,
	.create = pl061_create,
	.destroy = pl061_destroy,
	.reset = pl061_reset,
	.start = pl061_start,
	.stop = pl061_stop,
	.power_button = pl061_power_button,
};

DEVICE_CLASS(pl061_class);
