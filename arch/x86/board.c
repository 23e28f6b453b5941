/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC-like board: where RAM and devices are. */
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/x86.h"

/* ISA interrupts below 10 belong to the board (4 serial, 8 clock, 9 ACPI);
 * the I/O APIC has 24 pins. */
const struct arch_board arch_board = {
	.name = "x86_64",
	.mmio_base = 0xd0000000,
	.mmio_stride = 0x1000,
	.mmio_slots = 14,
	.first_gsi = 10,
	.max_vcpus = 64,
};

unsigned int arch_memory_layout(uint64_t size,
				struct memory_range range[MEMORY_MAX_REGIONS])
{
	range[0] = (struct memory_range){ 0, MIN(size, X86_HOLE_START) };
	if (size <= X86_HOLE_START)
		return 1;
	range[1] = (struct memory_range){ X86_HOLE_END, size - X86_HOLE_START };
	return 2;
}

unsigned int x86_e820(const struct memory *mem, struct x86_e820 *map)
{
	unsigned int n = 0;
	uint64_t low = mem->region[0].range.size;

	map[n++] = (struct x86_e820){ 0, X86_EBDA, 1 };
	map[n++] = (struct x86_e820){ X86_EBDA, 0xa0000 - X86_EBDA, 2 };
	map[n++] = (struct x86_e820){ X86_ACPI, X86_ACPI_END - X86_ACPI, 2 };
	map[n++] = (struct x86_e820){ X86_HIGH, low - X86_HIGH, 1 };
	for (unsigned int i = 1; i < mem->nregions; i++)
		map[n++] = (struct x86_e820){ mem->region[i].range.base,
					      mem->region[i].range.size, 1 };
	return n;
}

struct isa_device {
	const char *node;
	const char *compatible;
	uint32_t port, size;
	uint32_t gsi;		/* 0: none */
};

static const struct isa_device isa_devices[] = {
	{ "i8042@60", "godwit,i8042", 0x60, 5, 0 },
	{ "rtc@70", "motorola,mc146818", 0x70, 2, 8 },
	{ "serial@3f8", "ns16550a", 0x3f8, 8, 4 },
	{ "debug-exit@501", "godwit,debug-exit", 0x501, 1, 0 },
	{ "pm@600", "godwit,acpi-pm", 0x600, 16, 9 },
	{ "reset@cf9", "godwit,reset", 0xcf9, 1, 0 },
};

static int add_isa_device(void *fdt, const struct isa_device *d,
			  const struct arch_machine *m)
{
	fdt32_t reg[2] = { cpu_to_fdt32(d->port), cpu_to_fdt32(d->size) };
	int ret = fdt_begin_node(fdt, d->node);

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

static int add_isa(void *fdt, const struct arch_machine *m)
{
	int ret = fdt_begin_node(fdt, "isa");

	if (!ret)
		ret = fdt_property_u32(fdt, "#address-cells", 1);
	if (!ret)
		ret = fdt_property_u32(fdt, "#size-cells", 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(isa_devices) && !ret; i++)
		ret = add_isa_device(fdt, &isa_devices[i], m);
	return ret ? ret : fdt_end_node(fdt);
}

static int add_cpuid(void *fdt, const struct x86_cpuid *cpuid)
{
	fdt32_t *cell;
	void *p;
	int ret = fdt_property_placeholder(fdt, "godwit,cpuid",
					   (int)(cpuid->head.nent * 28), &p);

	if (ret)
		return ret;
	cell = p;
	for (uint32_t i = 0; i < cpuid->head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entry[i];

		*cell++ = cpu_to_fdt32(e->function);
		*cell++ = cpu_to_fdt32(e->index);
		*cell++ = cpu_to_fdt32(e->flags);
		*cell++ = cpu_to_fdt32(e->eax);
		*cell++ = cpu_to_fdt32(e->ebx);
		*cell++ = cpu_to_fdt32(e->ecx);
		*cell++ = cpu_to_fdt32(e->edx);
	}
	return 0;
}

static int add_cpu(void *fdt, unsigned int index)
{
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "cpu@%x", index);
	ret = fdt_begin_node(fdt, name);
	if (!ret)
		ret = fdt_property_string(fdt, "device_type", "cpu");
	if (!ret)
		ret = fdt_property_u32(fdt, "reg", index);
	return ret ? ret : fdt_end_node(fdt);
}

static int add_cpus(void *fdt, const struct arch_machine *m,
		    const struct x86_cpuid *cpuid)
{
	int ret = fdt_begin_node(fdt, "cpus");

	if (!ret)
		ret = fdt_property_u32(fdt, "#address-cells", 1);
	if (!ret)
		ret = fdt_property_u32(fdt, "#size-cells", 0);
	if (!ret)
		ret = fdt_property_string(fdt, "godwit,model", m->cpu_model);
	if (!ret)
		ret = add_cpuid(fdt, cpuid);
	for (unsigned int i = 0; i < m->cpus && !ret; i++)
		ret = add_cpu(fdt, i);
	return ret ? ret : fdt_end_node(fdt);
}

int arch_tree_add(void *fdt, int kvm_fd, const struct arch_machine *machine,
		  struct error *err)
{
	struct x86_cpuid cpuid;
	int ret = x86_cpuid_host(kvm_fd, &cpuid, err);

	if (!ret)
		ret = machine->cpu ?
		      x86_cpu_set_apply(machine->cpu, &cpuid, err) :
		      x86_cpu_model_apply(machine->cpu_model, &cpuid, err);
	if (ret)
		return ret;
	ret = add_cpus(fdt, machine, &cpuid);
	if (!ret)
		ret = add_isa(fdt, machine);
	return ret ? error_set(err, ENOSPC, "machine tree: %s",
			       fdt_strerror(ret)) : 0;
}
