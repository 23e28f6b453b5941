/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/device.h"

#include <libfdt.h>
#include <stdio.h>
#include <string.h>

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
