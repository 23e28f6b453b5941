/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tree that the guest boots from, made from the machine tree: interrupts
 * in the GIC's three cells, interrupt controller, timer, firmware and power
 * key added; what is this host's business (paths, backends) taken out.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"
#include "vmm/tree.h"

enum { PHANDLE_GIC = 1, PHANDLE_CLOCK, PHANDLE_GPIO };
enum { GIC_SPI, GIC_PPI };			/* arm,gic-v3.yaml */
enum { IRQ_EDGE = 1, IRQ_LEVEL = 4 };
#define KEY_POWER 116
#define GPIO_POWER_LINE 3
#define CLOCK_HZ 24000000
#define SERIAL_HZ 1843200

struct maker {
	void *fdt;
	int ret;		/* first error of libfdt, or 0 */
};

static void note(struct maker *m, int ret)
{
	if (!m->ret && ret < 0)
		m->ret = ret;
}

static int add_node(struct maker *m, int parent, const char *name)
{
	int node = fdt_add_subnode(m->fdt, parent, name);

	note(m, node);
	return node;
}

static void str(struct maker *m, int node, const char *prop, const char *value)
{
	note(m, fdt_setprop_string(m->fdt, node, prop, value));
}

static void list(struct maker *m, int node, const char *prop, const char *a,
		 const char *b)
{
	str(m, node, prop, a);
	note(m, fdt_appendprop_string(m->fdt, node, prop, b));
}

static void cells(struct maker *m, int node, const char *prop,
		  const uint32_t *cell, unsigned int n)
{
	note(m, fdt_setprop(m->fdt, node, prop, NULL, 0));
	for (unsigned int i = 0; i < n; i++)
		note(m, fdt_appendprop_u32(m->fdt, node, prop, cell[i]));
}

#define CELLS(m, node, prop, ...)					\
	cells(m, node, prop, (const uint32_t[]){ __VA_ARGS__ },		\
	      ARRAY_SIZE(((const uint32_t[]){ __VA_ARGS__ })))

static void empty(struct maker *m, int node, const char *prop)
{
	note(m, fdt_setprop(m->fdt, node, prop, NULL, 0));
}

static void add_gic(struct maker *m, unsigned int ncpus)
{
	int node = add_node(m, 0, "interrupt-controller@8000000");

	str(m, node, "compatible", "arm,gic-v3");
	empty(m, node, "interrupt-controller");
	CELLS(m, node, "#interrupt-cells", 3);
	CELLS(m, node, "reg", 0, ARM64_GICD, 0, 0x10000,
	      0, ARM64_GICR, 0, (uint32_t)(ncpus * ARM64_GICR_BYTES));
	CELLS(m, node, "phandle", PHANDLE_GIC);
	CELLS(m, 0, "interrupt-parent", PHANDLE_GIC);
}

/* secure, non-secure, virtual, hypervisor: the numbers KVM has */
static void add_timer(struct maker *m)
{
	int node = add_node(m, 0, "timer");

	str(m, node, "compatible", "arm,armv8-timer");
	empty(m, node, "always-on");
	CELLS(m, node, "interrupts", GIC_PPI, 13, IRQ_LEVEL,
	      GIC_PPI, 14, IRQ_LEVEL, GIC_PPI, 11, IRQ_LEVEL,
	      GIC_PPI, 10, IRQ_LEVEL);
}

static void add_psci(struct maker *m)
{
	int node = add_node(m, 0, "psci");

	list(m, node, "compatible", "arm,psci-1.0", "arm,psci-0.2");
	str(m, node, "method", "hvc");
}

/* PrimeCell devices want a clock, though none here has one. */
static void add_clock(struct maker *m)
{
	int node = add_node(m, 0, "apb-pclk");

	str(m, node, "compatible", "fixed-clock");
	CELLS(m, node, "#clock-cells", 0);
	CELLS(m, node, "clock-frequency", CLOCK_HZ);
	str(m, node, "clock-output-names", "clk24mhz");
	CELLS(m, node, "phandle", PHANDLE_CLOCK);
}

static void add_power_key(struct maker *m)
{
	int keys = add_node(m, 0, "gpio-keys"), node;

	str(m, keys, "compatible", "gpio-keys");
	node = add_node(m, keys, "power");
	str(m, node, "label", "power");
	CELLS(m, node, "linux,code", KEY_POWER);
	CELLS(m, node, "gpios", PHANDLE_GPIO, GPIO_POWER_LINE, 0);
}

static void make_serial(struct maker *m, int node)
{
	CELLS(m, node, "clock-frequency", SERIAL_HZ);
	CELLS(m, node, "reg-shift", 0);
	CELLS(m, node, "reg-io-width", 1);
}

static void make_primecell(struct maker *m, int node, const char *compatible)
{
	char name[32];

	snprintf(name, sizeof(name), "%s", compatible);
	list(m, node, "compatible", name, "arm,primecell");
	CELLS(m, node, "clocks", PHANDLE_CLOCK);
	str(m, node, "clock-names", "apb_pclk");
	if (strcmp(name, "arm,pl061"))
		return;
	empty(m, node, "gpio-controller");
	CELLS(m, node, "#gpio-cells", 2);
	CELLS(m, node, "phandle", PHANDLE_GPIO);
}

static void make_device(struct maker *m, int node)
{
	static const char *const local[] = {
		"backend", "id", "serial", "readonly", "direct", "mac",
	};
	const char *compatible = tree_str(m->fdt, node, "compatible", "");
	bool pulses = !strncmp(compatible, "godwit,virtio", 13);
	struct error ignored = ERROR_INIT;
	unsigned int gsi;

	/* virtio devices pulse their line, the board's hold it */
	if (tree_irq(m->fdt, node, &gsi, &ignored) == 0)
		CELLS(m, node, "interrupts", GIC_SPI, gsi,
		      pulses ? IRQ_EDGE : IRQ_LEVEL);
	for (unsigned int i = 0; i < ARRAY_SIZE(local); i++)
		fdt_delprop(m->fdt, node, local[i]);
	if (pulses)
		str(m, node, "compatible", "virtio,mmio");
	else if (!strcmp(compatible, "ns16550a"))
		make_serial(m, node);
	else if (!strncmp(compatible, "arm,", 4))
		make_primecell(m, node, compatible);
}

/* Editing moves what follows, so nodes are found anew by their number. */
static void make_bus(struct maker *m, const char *path)
{
	for (int i = 0; !m->ret; i++) {
		int node = fdt_first_subnode(m->fdt,
					     fdt_path_offset(m->fdt, path));

		for (int k = 0; k < i && node >= 0; k++)
			node = fdt_next_subnode(m->fdt, node);
		if (node < 0)
			return;
		make_device(m, node);
	}
}

/* Randomness before any device: the kernel's own address, its generator. */
static void add_seeds(struct maker *m, int chosen)
{
	uint8_t seed[40];

	if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return;
	note(m, fdt_setprop(m->fdt, chosen, "kaslr-seed", seed, 8));
	note(m, fdt_setprop(m->fdt, chosen, "rng-seed", seed + 8, 32));
}

static void make_chosen(struct maker *m, gpa_t initrd, uint64_t size)
{
	int chosen = fdt_path_offset(m->fdt, "/chosen");

	note(m, chosen);
	fdt_delprop(m->fdt, chosen, "godwit,kernel");
	fdt_delprop(m->fdt, chosen, "godwit,initrd");
	str(m, chosen, "stdout-path", "/platform/serial@9000000");
	add_seeds(m, chosen);
	if (!size)
		return;
	note(m, fdt_setprop_u64(m->fdt, chosen, "linux,initrd-start", initrd));
	note(m, fdt_setprop_u64(m->fdt, chosen, "linux,initrd-end",
				initrd + size));
}

static void make_cpus(struct maker *m, unsigned int *ncpus)
{
	static const char *const ours[] = {
		"godwit,model", "godwit,features", "godwit,counter-frequency",
		"godwit,sve-vectors", "godwit,id-registers",
	};
	int cpus = fdt_path_offset(m->fdt, "/cpus"), node;

	for (unsigned int i = 0; i < ARRAY_SIZE(ours); i++)
		fdt_delprop(m->fdt, cpus, ours[i]);
	*ncpus = 0;
	fdt_for_each_subnode(node, m->fdt, cpus)
		(*ncpus)++;
}

int arm64_fdt_make(const void *tree, gpa_t initrd, uint64_t initrd_size,
		   void **out, struct error *err)
{
	struct maker m = { .fdt = malloc(ARM64_DTB_BYTES) };
	unsigned int ncpus;

	if (!m.fdt)
		return error_set(err, ENOMEM, "no memory for a device tree");
	note(&m, fdt_open_into(tree, m.fdt, ARM64_DTB_BYTES));
	if (!m.ret) {
		str(&m, 0, "compatible", "linux,dummy-virt");
		str(&m, 0, "model", "Godwit");
		make_cpus(&m, &ncpus);
		make_chosen(&m, initrd, initrd_size);
		make_bus(&m, "/platform");
		make_bus(&m, "/soc");
		add_gic(&m, ncpus);
		add_timer(&m);
		add_psci(&m);
		add_clock(&m);
		add_power_key(&m);
		note(&m, fdt_pack(m.fdt));
	}
	if (m.ret) {
		free(m.fdt);
		return error_set(err, EINVAL, "can't make the guest's device tree: %s",
				 fdt_strerror(m.ret));
	}
	*out = m.fdt;
	return 0;
}
