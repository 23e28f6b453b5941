/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/fake_env.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TREE_BYTES 4096

static void die(const char *what)
{
	fprintf(stderr, "fake_env: %s\n", what);
	abort();
}

static void line_set(struct irq_line *line, int level)
{
	struct fake_env *f = container_of(line - line->gsi, struct fake_env,
					  line[0]);

	f->level[line->gsi] = level;
}

static void line_pulse(struct irq_line *line)
{
	struct fake_env *f = container_of(line - line->gsi, struct fake_env,
					  line[0]);

	f->pulses[line->gsi]++;
}

static struct irq_line *env_irq(struct device_env *env, unsigned int gsi,
				struct error *err)
{
	struct fake_env *f = env->owner;

	if (gsi >= FAKE_GSIS) {
		error_set(err, EINVAL, "gsi %u, limit %d", gsi, FAKE_GSIS - 1);
		return NULL;
	}
	return &f->line[gsi];
}

static int env_ioeventfd(struct device_env *env, gpa_t addr, uint32_t value,
			 int fd, bool add)
{
	return -ENOTSUP;
}

static void env_request(struct device_env *env, enum vm_request what,
			int value)
{
	struct fake_env *f = env->owner;

	f->last_request = what;
	f->last_value = value;
}

static void env_io_error(struct device_env *env, const struct io_error *e)
{
	struct fake_env *f = env->owner;

	f->io_errors++;
	f->last_io_error = *e;
}

static void env_idle(struct device_env *env)
{
	struct fake_env *f = env->owner;

	f->idles++;
}

static void chr_write(struct chardev *chr, const void *buf, size_t len)
{
	struct fake_chardev *c = container_of(chr, struct fake_chardev, chr);
	size_t room = sizeof(c->out) - c->out_len;

	len = MIN(len, room);
	memcpy(c->out + c->out_len, buf, len);
	c->out_len += len;
}

static void chr_accept(struct chardev *chr)
{
	container_of(chr, struct fake_chardev, chr)->accepts++;
}

static void chr_destroy(struct chardev *chr)
{
}

static const struct chardev_ops chr_ops = {
	.write = chr_write,
	.accept_input = chr_accept,
	.destroy = chr_destroy,
};

static struct chardev *env_chardev(struct device_env *env, const char *name,
				   struct error *err)
{
	struct fake_env *f = env->owner;

	return &f->chr.chr;
}

void fake_env_init(struct fake_env *f, uint64_t mem_bytes)
{
	struct memory_range ram = { .base = 0, .size = mem_bytes };
	struct error err = ERROR_INIT;

	memset(f, 0, sizeof(*f));
	f->log = (struct log){ .level = LOG_ERROR, .fd = 2, .name = "test" };
	if (memory_init(&f->mem, &ram, 1, MEMORY_ANON, &err) < 0 ||
	    loop_init(&f->loop, &err) < 0)
		die(err.msg);
	bus_init(&f->pio);
	bus_init(&f->mmio);
	for (unsigned int i = 0; i < FAKE_GSIS; i++)
		f->line[i] = (struct irq_line){
			.gsi = i, .set = line_set, .pulse = line_pulse
		};
	f->chr.chr.ops = &chr_ops;
	f->env = (struct device_env){
		.log = &f->log, .mem = &f->mem, .loop = &f->loop,
		.pio = &f->pio, .mmio = &f->mmio, .owner = f,
		.irq = env_irq, .ioeventfd = env_ioeventfd,
		.request = env_request, .io_error = env_io_error,
		.chardev = env_chardev, .idle = env_idle,
	};
}

void fake_env_exit(struct fake_env *f)
{
	loop_exit(&f->loop);
	memory_exit(&f->mem);
	free(f->tree);
}

static void put_reg(void *fdt, bool isa, uint64_t base, uint64_t size)
{
	fdt32_t one[2] = { cpu_to_fdt32((uint32_t)base),
			   cpu_to_fdt32((uint32_t)size) };
	fdt64_t two[2] = { cpu_to_fdt64(base), cpu_to_fdt64(size) };

	if (isa)
		fdt_property(fdt, "reg", one, sizeof(one));
	else
		fdt_property(fdt, "reg", two, sizeof(two));
}

struct device *fake_device(struct fake_env *f, const char *bus,
			   const char *compatible, uint64_t base,
			   uint64_t size, unsigned int gsi,
			   void (*add_props)(void *fdt, void *arg), void *arg)
{
	const struct device_class *class = device_class_find(compatible);
	bool isa = !strcmp(bus, "isa");
	struct error err = ERROR_INIT;
	struct device *dev;
	char name[48];
	void *fdt;

	if (!class)
		die("no such device class");
	fdt = calloc(1, TREE_BYTES);
	snprintf(name, sizeof(name), "dev@%llx", (unsigned long long)base);
	if (fdt_create(fdt, TREE_BYTES) || fdt_finish_reservemap(fdt) ||
	    fdt_begin_node(fdt, "") || fdt_begin_node(fdt, bus) ||
	    fdt_property_u32(fdt, "#address-cells", isa ? 1 : 2) ||
	    fdt_property_u32(fdt, "#size-cells", isa ? 1 : 2) ||
	    fdt_begin_node(fdt, name) ||
	    fdt_property_string(fdt, "compatible", compatible))
		die("tree");
	put_reg(fdt, isa, base, size);
	fdt_property_u32(fdt, "interrupts", gsi);
	if (add_props)
		add_props(fdt, arg);
	if (fdt_end_node(fdt) || fdt_end_node(fdt) || fdt_end_node(fdt) ||
	    fdt_finish(fdt))
		die("tree");
	free(f->tree);
	f->tree = fdt;
	f->env.tree = fdt;
	if (class->create(&f->env, fdt_first_subnode(fdt,
				fdt_first_subnode(fdt, 0)), &dev, &err) < 0)
		die(err.msg);
	return dev;
}

void fake_device_destroy(struct device *dev)
{
	dev->class->destroy(dev);
}

uint64_t fake_read(struct bus *bus, uint64_t addr, unsigned int len)
{
	uint64_t v = 0;

	bus_dispatch(bus, addr, &v, len, false);
	return v;
}

void fake_write(struct bus *bus, uint64_t addr, unsigned int len,
		uint64_t value)
{
	bus_dispatch(bus, addr, &value, len, true);
}

void fake_run_until(struct fake_env *f, bool (*cond)(void *arg), void *arg)
{
	uint64_t end = now_ns() + 20 * NSEC_PER_SEC;

	while (!cond(arg)) {
		if (now_ns() > end)
			die("condition not reached in 20 s");
		loop_run_once(&f->loop, 100);
	}
}
