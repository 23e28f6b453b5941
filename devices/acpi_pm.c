/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware (ACPI 6.4, 4.8.3): PM1a event and control registers
 * and the power management timer, in 16 ports:
 *
 *	+0 PM1_STS	+2 PM1_EN	+4 PM1_CNT	+8 PM_TMR (32 bits)
 *
 * The machine is always in ACPI mode (the FADT has no SMI command), so SCI_EN
 * reads as one. Sleeping means S5 only: SLP_TYP 5 is what \_S5 must say.
 *
 * Left out: TMR_STS, the interrupt when the timer's top bit changes (systems
 * only read the timer), and the global lock, sleep button and RTC events.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/byteorder.h"
#include "vmm/device.h"

#define PM_PORTS 16

/* Byte offsets. */
enum {
	PM1_STS = 0,
	PM1_EN = 2,
	PM1_CNT = 4,
	PM_TMR = 8,
};

/* PM1_STS and PM1_EN (4.8.3.1). */
#define GBL		(1u << 5)	/* kept; nobody but the guest locks */
#define PWRBTN		(1u << 8)
#define EN_KEPT		(GBL | PWRBTN)

/* PM1_CNT (4.8.3.2). */
#define SCI_EN		(1u << 0)
#define SLP_TYP_SHIFT	10
#define SLP_TYP_MASK	7u
#define SLP_TYP_S5	5u
#define SLP_EN		(1u << 13)
#define CNT_KEPT	((SLP_TYP_MASK << SLP_TYP_SHIFT) | 0x6)

#define PM_TIMER_HZ	3579545u

struct acpi_pm {
	struct device dev;

	/* configuration */
	struct irq_line *sci;

	/* guest-visible state */
	uint16_t sts;
	uint16_t en;
	uint16_t cnt;
	uint64_t timer_ns;	/* age of the timer, as of the last save */
	uint64_t wall_ns;	/* CLOCK_REALTIME of that moment */

	/* host resources */
	uint64_t timer_start;	/* now_ns() when the timer was zero */
};

static struct acpi_pm *to_pm(struct device *dev)
{
	return container_of(dev, struct acpi_pm, dev);
}

static uint32_t timer_value(const struct acpi_pm *pm)
{
	unsigned __int128 ns = now_ns() - pm->timer_start;

	return (uint32_t)(ns * PM_TIMER_HZ / NSEC_PER_SEC);
}

static void drive_sci(struct acpi_pm *pm)
{
	irq_set(pm->sci, (pm->sts & pm->en) != 0);
}

static void write_cnt(struct acpi_pm *pm, uint16_t value)
{
	struct device_env *env = pm->dev.env;
	unsigned int type = (value >> SLP_TYP_SHIFT) & SLP_TYP_MASK;

	pm->cnt = value & CNT_KEPT;
	if ((value & SLP_EN) && type == SLP_TYP_S5)
		env->request(env, VM_REQUEST_POWEROFF, 0);
}

/* The ports as the guest sees them now. */
static void snapshot(const struct acpi_pm *pm, uint8_t image[PM_PORTS])
{
	memset(image, 0, PM_PORTS);
	put_le16(image + PM1_STS, pm->sts);
	put_le16(image + PM1_EN, pm->en);
	put_le16(image + PM1_CNT, pm->cnt | SCI_EN);
	put_le32(image + PM_TMR, timer_value(pm));
}

static void pm_read(struct acpi_pm *pm, struct bus_access *access)
{
	uint8_t image[PM_PORTS], value[8] = { 0 };

	snapshot(pm, image);
	memcpy(value, image + access->offset, access->len);
	access->value = get_le64(value);
}

/* Registers may be written whole, by the byte, or two in one go. */
static void pm_write(struct acpi_pm *pm, const struct bus_access *access)
{
	uint8_t image[PM_PORTS] = { 0 }, written[8];

	/* a byte that is not written clears no status and keeps the rest */
	put_le16(image + PM1_EN, pm->en);
	put_le16(image + PM1_CNT, pm->cnt);
	put_le64(written, access->value);
	memcpy(image + access->offset, written, access->len);
	pm->sts &= ~get_le16(image + PM1_STS);
	pm->en = get_le16(image + PM1_EN) & EN_KEPT;
	write_cnt(pm, get_le16(image + PM1_CNT));
	drive_sci(pm);
}

static enum bus_result acpi_pm_access(struct device *dev,
				      struct bus_access *access)
{
	if (!range_within(access->offset, access->len, PM_PORTS) ||
	    access->len > 4)
		return BUS_UNHANDLED;
	if (access->is_write)
		pm_write(to_pm(dev), access);
	else
		pm_read(to_pm(dev), access);
	return BUS_OK;
}

static void acpi_pm_power_button(struct device *dev)
{
	struct acpi_pm *pm = to_pm(dev);

	device_lock(dev);
	pm->sts |= PWRBTN;
	drive_sci(pm);
	device_unlock(dev);
}

static int acpi_pm_start(struct device *dev, struct error *err)
{
	device_lock(dev);
	drive_sci(to_pm(dev));	/* a VM that arrived: nobody else does it */
	device_unlock(dev);
	return 0;
}

/* The timer goes on: nothing promises where it starts. */
static void acpi_pm_reset(struct device *dev)
{
	struct acpi_pm *pm = to_pm(dev);

	device_lock(dev);
	pm->sts = 0;
	pm->en = 0;
	pm->cnt = 0;
	drive_sci(pm);
	device_unlock(dev);
}

static void acpi_pm_pre_save(void *obj)
{
	struct acpi_pm *pm = obj;

	pm->timer_ns = now_ns() - pm->timer_start;
	pm->wall_ns = clock_ns(CLOCK_REALTIME);
}

/*
 * The time of the move has passed for the guest, by the wall clock and never
 * backwards: KVM_SET_CLOCK with KVM_CLOCK_REALTIME does the same for kvmclock,
 * and a guest that compares the two clocks must find them in step.
 */
static int acpi_pm_post_load(void *obj, struct error *err)
{
	struct acpi_pm *pm = obj;
	uint64_t wall = clock_ns(CLOCK_REALTIME);
	uint64_t moved = wall > pm->wall_ns ? wall - pm->wall_ns : 0;

	pm->timer_start = now_ns() - pm->timer_ns - moved;
	return 0;
}

static const struct state_table acpi_pm_table = {
	.name = "acpi_pm",
	.doc = "ACPI fixed hardware",
	.size = sizeof(struct acpi_pm),
	STATE_VISIBLE(struct acpi_pm, sts, wall_ns),
	STATE_FIELDS(
		STATE_U16(struct acpi_pm, sts, .max = PWRBTN,
			  .doc = "PM1 status"),
		STATE_U16(struct acpi_pm, en, .max = EN_KEPT,
			  .doc = "PM1 enable"),
		STATE_U16(struct acpi_pm, cnt, .max = CNT_KEPT,
			  .doc = "PM1 control, without SCI_EN and SLP_EN"),
		STATE_U64(struct acpi_pm, timer_ns,
			  .doc = "age of the timer, ns"),
		STATE_U64(struct acpi_pm, wall_ns,
			  .doc = "wall clock at that moment, ns since 1970"),
	),
	.pre_save = acpi_pm_pre_save,
	.post_load = acpi_pm_post_load,
};

static const struct device_class acpi_pm_class;

static int acpi_pm_build(struct acpi_pm *pm, int node, struct error *err)
{
	pm->sci = device_irq(pm->dev.env, node, err);
	if (!pm->sci)
		return -err->code;
	pm->timer_start = now_ns();
	return device_map(&pm->dev, node, acpi_pm_access, err);
}

static int acpi_pm_create(struct device_env *env, int node,
			  struct device **out, struct error *err)
{
	struct acpi_pm *pm = calloc(1, sizeof(*pm));
	int ret;

	if (!pm)
		return error_set(err, ENOMEM, "no memory");
	device_init(&pm->dev, &acpi_pm_class, env, node);
	ret = acpi_pm_build(pm, node, err);
	if (ret)
		device_free(&pm->dev);
	else
		*out = &pm->dev;
	return ret;
}

static const struct device_class acpi_pm_class = {
	.compatible = "godwit,acpi-pm",
	.doc = "ACPI PM1a registers and PM timer (ACPI 6.4, 4.8.3)",
	.state = &acpi_pm_table,
	.create = acpi_pm_create,
	.destroy = device_free,
	.reset = acpi_pm_reset,
	.start = acpi_pm_start,
	.power_button = acpi_pm_power_button,
};

DEVICE_CLASS(acpi_pm_class);
