/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board: where RAM and devices are. */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "arch/arm64/arm64.h"
#include "vmm/base/byteorder.h"

const struct arch_board arch_board = {
	.name = "aarch64",
	.mmio_base = ARM64_MMIO,
	.mmio_stride = 0x1000,
	.mmio_slots = 24,
	.first_gsi = ARM64_SPI_MMIO,
	.max_vcpus = 64,
	/* Debian's cloud kernel has no driver for keys at a GPIO */
	.virtio_power_key = true,
};

unsigned int arch_memory_layout(uint64_t size,
				struct memory_range range[MEMORY_MAX_REGIONS])
{
	range[0] = (struct memory_range){ ARM64_RAM, size };
	return 1;
}

uint32_t arch_irq_line(unsigned int gsi)
{
	return (uint32_t)KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT |
	       (ARM64_FIRST_SPI + gsi);
}

/* As KVM gives them: 16 vCPUs a cluster, for that many reach SGIs. */
uint64_t arm64_mpidr(unsigned int index)
{
	return (index & 0xf) | (uint64_t)(index >> 4) << 8;
}

struct platform_device {
	const char *node;
	const char *compatible;
	uint64_t base;
	uint32_t gsi;		/* 0: none */
};

static const struct platform_device platform_devices[] = {
	{ "serial@9000000", "ns16550a", ARM64_SERIAL, ARM64_SPI_SERIAL },
	{ "rtc@9010000", "arm,pl031", ARM64_RTC, ARM64_SPI_RTC },
	{ "gpio@9030000", "arm,pl061", ARM64_GPIO, ARM64_SPI_GPIO },
	{ "debug-exit@9050000", "godwit,debug-exit", ARM64_DEBUG_EXIT, 0 },
};

static int add_platform_device(void *fdt, const struct platform_device *d,
			       const struct arch_machine *m)
{
	uint8_t reg[16];
	int ret = fdt_begin_node(fdt, d->node);

	put_be64(reg, d->base);
	put_be64(reg + 8, 0x1000);
	if (!ret)
		ret = fdt_property_string(fdt, "compatible", d->compatible);
	if (!ret)
		ret = fdt_property(fdt, "reg", reg, sizeof(reg));
	if (!ret && d->gsi)
		ret = fdt_property_u32(fdt, "interrupts", d->gsi);
	if (!ret && !strcmp(d->compatible, "ns16550a"))
		ret = fdt_property_string(fdt, "backend", m->console);
	return ret ? ret : fdt_end_node(fdt);
}

static int add_platform(void *fdt, const struct arch_machine *m)
{
	int ret = fdt_begin_node(fdt, "platform");

	if (!ret)
		ret = fdt_property_string(fdt, "compatible", "simple-bus");
	if (!ret)
		ret = fdt_property_u32(fdt, "#address-cells", 2);
	if (!ret)
		ret = fdt_property_u32(fdt, "#size-cells", 2);
	if (!ret)
		ret = fdt_property(fdt, "ranges", NULL, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(platform_devices) && !ret; i++)
		ret = add_platform_device(fdt, &platform_devices[i], m);
	return ret ? ret : fdt_end_node(fdt);
}

static int add_cpu(void *fdt, unsigned int index)
{
	uint64_t mpidr = arm64_mpidr(index);
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "cpu@%x", (unsigned int)mpidr);
	ret = fdt_begin_node(fdt, name);
	if (!ret)
		ret = fdt_property_string(fdt, "device_type", "cpu");
	if (!ret)
		ret = fdt_property_string(fdt, "compatible", "arm,armv8");
	if (!ret)
		ret = fdt_property_string(fdt, "enable-method", "psci");
	if (!ret)
		ret = fdt_property_u32(fdt, "reg", (uint32_t)mpidr);
	return ret ? ret : fdt_end_node(fdt);
}

static int add_cpus(void *fdt, const struct arch_machine *m,
		    const struct arm64_identity *id)
{
	int ret = fdt_begin_node(fdt, "cpus");

	if (!ret)
		ret = fdt_property_u32(fdt, "#address-cells", 1);
	if (!ret)
		ret = fdt_property_u32(fdt, "#size-cells", 0);
	if (!ret)
		ret = fdt_property_string(fdt, "godwit,model", m->cpu_model);
	if (!ret)
		ret = arm64_identity_to_tree(fdt, id);
	for (unsigned int i = 0; i < m->cpus && !ret; i++)
		ret = add_cpu(fdt, i);
	return ret ? ret : fdt_end_node(fdt);
}

int arch_tree_add(void *fdt, int kvm_fd, const struct arch_machine *machine,
		  struct error *err)
{
	struct arm64_identity id;
	int ret;

	if (strcmp(machine->cpu_model, "host") || machine->cpu)
		return error_set(err, EINVAL, "no CPU model \"%s\" on %s; accepted: host",
				 machine->cpu_model, arch_board.name);
	ret = arm64_identity_host(kvm_fd, &id, err);
	if (ret)
		return ret;
	ret = add_cpus(fdt, machine, &id);
	if (!ret)
		ret = add_platform(fdt, machine);
	return ret ? error_set(err, ENOSPC, "machine tree: %s",
			       fdt_strerror(ret)) : 0;
}

const char *const arch_cpu_models[] = { NULL };

/* ID registers hold versions, not features that are there or not. */
int arch_cpu_features(const char *model, int kvm_fd, struct nameset *out,
		      struct error *err)
{
	(void)model;
	(void)kvm_fd;
	(void)out;
	return error_set(err, ENOTSUP, "CPU models are not for %s yet; a move compares the ID registers",
			 arch_board.name);
}

int arch_cpu_needs(const char *model, struct nameset *out, struct error *err)
{
	return arch_cpu_features(model, -1, out, err);
}

int arch_tree_check(const void *tree, int kvm_fd, struct error *err)
{
	struct arm64_identity want, have;
	int ret = arm64_identity_from_tree(tree, &want, err);

	if (!ret)
		ret = arm64_identity_host(kvm_fd, &have, err);
	if (ret)
		return ret;
	arm64_features_compare(&want, &have, err);
	return err->code ? -err->code : 0;
}
