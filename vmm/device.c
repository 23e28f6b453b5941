/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/device.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/tree.h"

/* the bounds of the linker section; weak, for a binary with no device */
extern const struct device_class *const __start_device_classes[]
	__attribute__((weak));
extern const struct device_class *const __stop_device_classes[]
	__attribute__((weak));

const struct device_class *const *device_class_first(void)
{
	return __start_device_classes;
}

const struct device_class *const *device_class_end(void)
{
	return __stop_device_classes;
}

const struct device_class *device_class_find(const char *compatible)
{
	const struct device_class *const *p;

	for (p = device_class_first(); p < device_class_end(); p++)
		if (!strcmp((*p)->compatible, compatible))
			return *p;
	return NULL;
}

void device_init(struct device *dev, const struct device_class *class,
		 struct device_env *env, int node)
{
	const char *name = fdt_get_name(env->tree, node, NULL);

	dev->class = class;
	dev->env = env;
	snprintf(dev->name, sizeof(dev->name), "%s", name ? name : "?");
	pthread_mutex_init(&dev->lock, NULL);
	atomic_init(&dev->inflight, 0);
	list_init(&dev->link);
}

void device_exit(struct device *dev)
{
	list_del(&dev->link);
	pthread_mutex_destroy(&dev->lock);
}

struct bus *device_bus(struct device_env *env, int node)
{
	int parent = fdt_parent_offset(env->tree, node);
	const char *name = fdt_get_name(env->tree, parent, NULL);

	return name && !strcmp(name, "isa") ? env->pio : env->mmio;
}

int device_map(struct device *dev, int node, bus_access_fn access,
	       struct error *err)
{
	struct device_env *env = dev->env;
	uint64_t base, size;
	int ret = tree_reg(env->tree, node, 0, &base, &size, err);

	return ret ? ret : bus_add(device_bus(env, node), base, size, dev,
				   access, err);
}

struct irq_line *device_irq(struct device_env *env, int node,
			    struct error *err)
{
	unsigned int gsi;

	return tree_irq(env->tree, node, &gsi, err) ? NULL :
	       env->irq(env, gsi, err);
}

int device_new(struct device **out, const struct device_class *class,
	       struct device_env *env, int node, bus_access_fn access,
	       struct error *err)
{
	struct device *dev = calloc(1, class->state->size);
	int ret;

	if (!dev)
		return error_set(err, ENOMEM, "no memory for a device");
	device_init(dev, class, env, node);
	ret = device_map(dev, node, access, err);
	if (ret)
		device_free(dev);
	else
		*out = dev;
	return ret;
}

void device_free(struct device *dev)
{
	device_exit(dev);
	free(dev);
}
