/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libFuzzer: a hostile state tree into every field table that is linked in.
 * The first byte chooses whose, the rest is the flattened device tree.
 *
 * Claims: nothing is read or written out of bounds; a refused tree leaves a
 * plain object as it was; what was taken is saved, loaded and saved again the
 * same; a device that took it serves its guest, stops and ends idle.
 *
 * With the single argument --seeds=DIR it writes a tree of each there.
 */
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "tests/lib/virtio_guest.h"

#define NODE "x"
#define TREE_MAX (256 * 1024)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

static const struct kind {
	const struct state_table *table;	/* of a plain object */
	const char *compatible;			/* else a device's class */
	const char *bus, *backend;
	uint64_t base, size;
} kinds[] = {
	{ .table = &arch_vm_table },
	{ .table = &arch_vcpu_table },
	{ NULL, "ns16550a", "isa", NULL, 0x3f8, 8 },
	{ NULL, "motorola,mc146818", "isa", NULL, 0x70, 2 },
	{ NULL, "godwit,acpi-pm", "isa", NULL, 0x600, 16 },
	{ NULL, "godwit,reset", "isa", NULL, 0xcf9, 1 },
	{ NULL, "godwit,i8042", "isa", NULL, 0x60, 5 },
	{ NULL, "godwit,debug-exit", "isa", NULL, 0x501, 1 },
	{ NULL, "godwit,virtio-blk", "soc", "mem:65536", GUEST_MMIO, 0x200 },
	{ NULL, "godwit,virtio-net", "soc", "fake", GUEST_MMIO, 0x200 },
	{ NULL, "godwit,virtio-console", "soc", "null", GUEST_MMIO, 0x200 },
	{ NULL, "godwit,virtio-rng", "soc", "", GUEST_MMIO, 0x200 },
};

/* -- objects */

static void *save(const struct state_table *t, void *obj, size_t *len)
{
	struct error err = ERROR_INIT;
	struct state_writer w;
	void *fdt;

	if (state_writer_init(&w, &err) < 0 ||
	    state_save(&w, NODE, t, obj, &err) < 0 ||
	    state_writer_finish(&w, &fdt, len, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
	return fdt;
}

static int load(const struct state_table *t, void *obj, const void *fdt,
		size_t len)
{
	struct error err = ERROR_INIT;
	int ret = state_check(fdt, len, &err);

	return ret ? ret : state_load(fdt, NODE, t, obj, &err);
}

static void fuzz_plain(const struct state_table *t, const void *fdt, size_t len)
{
	char *obj = calloc(1, t->size), *before = calloc(1, t->size);
	size_t first_len, second_len;
	void *first, *second;

	if (load(t, obj, fdt, len) < 0) {
		if (memcmp(obj, before, t->size))
			abort();
	} else {
		first = save(t, obj, &first_len);
		memset(obj, 0, t->size);
		if (load(t, obj, first, first_len) < 0)
			abort();
		second = save(t, obj, &second_len);
		if (first_len != second_len ||
		    memcmp(first, second, first_len))
			abort();
		free(first);
		free(second);
	}
	free(obj);
	free(before);
}

static void props(void *fdt, void *arg)
{
	const struct kind *k = arg;
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

	if (k->backend) {
		fdt_property_string(fdt, "backend", k->backend);
		fdt_property_u32(fdt, "queue-size", GUEST_QUEUE_SIZE);
		fdt_property(fdt, "mac", mac, sizeof(mac));
	}
}

static struct device *make_device(struct fake_env *env, const struct kind *k)
{
	struct error err = ERROR_INIT;
	struct device *dev;
	struct kind copy = *k;

	fake_env_init(env, GUEST_MEM);
	env->log.level = 0;	/* what the guest did wrong is no news */
	dev = fake_device(env, k->bus, k->compatible, k->base, k->size,
			  GUEST_GSI, props, &copy);
	if (dev->class->activate && dev->class->activate(dev, &err) < 0)
		abort();
	return dev;
}

static void end_device(struct fake_env *env, struct device *dev)
{
	if (dev->class->stop)
		dev->class->stop(dev);
	while (atomic_load(&dev->inflight))
		loop_run_once(&env->loop, 100);
	fake_device_destroy(dev);
	fake_env_exit(env);
}

static void serve(struct fake_env *env, struct device *dev,
		  const struct kind *k)
{
	struct bus *bus = strcmp(k->bus, "isa") ? &env->mmio : &env->pio;
	struct error err = ERROR_INIT;

	if (dev->class->start && dev->class->start(dev, &err) < 0)
		return;
	for (uint64_t i = 0; i < k->size; i += k->backend ? 4 : 1)
		fake_read(bus, k->base + i, k->backend ? 4 : 1);
	for (int i = 0; i < 4; i++)
		loop_run_once(&env->loop, 0);
}

static void fuzz_device(const struct kind *k, const void *fdt, size_t len)
{
	struct fake_env env;
	struct device *dev = make_device(&env, k);

	if (dev->class->state &&
	    load(dev->class->state, dev, fdt, len) == 0)
		serve(&env, dev, k);
	end_device(&env, dev);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct kind *k;
	void *fdt;

	if (size < 2 || size > TREE_MAX)
		return 0;
	k = &kinds[data[0] % ARRAY_SIZE(kinds)];
	/* exactly as long as it is, so that reading on is seen */
	fdt = memcpy(malloc(size - 1), data + 1, size - 1);
	if (k->table)
		fuzz_plain(k->table, fdt, size - 1);
	else
		fuzz_device(k, fdt, size - 1);
	free(fdt);
	return 0;
}

/* -- mutating */

/* Bytes of one property among all of a tree, which stays whole. */
static bool mutate_property(uint8_t *fdt, size_t len, unsigned int seed)
{
	int nodes = 0, node = 0, prop, props_seen = 0, size;
	const void *value;

	if (state_fdt_check(fdt, len))
		return false;
	for (int n = 0; n >= 0; n = fdt_next_node(fdt, n, NULL))
		nodes++;
	for (unsigned int i = seed % (unsigned int)nodes; i; i--)
		node = fdt_next_node(fdt, node, NULL);
	fdt_for_each_property_offset(prop, fdt, node)
		props_seen++;
	if (!props_seen)
		return false;
	props_seen = (int)(seed / 7) % props_seen;
	fdt_for_each_property_offset(prop, fdt, node)
		if (!props_seen--)
			break;
	value = fdt_getprop_by_offset(fdt, prop, NULL, &size);
	if (!value || size <= 0)
		return false;
	LLVMFuzzerMutate(fdt + ((const uint8_t *)value - fdt), (size_t)size,
			 (size_t)size);
	return true;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned int seed)
{
	if (size > 1 && seed % 4 && mutate_property(data + 1, size - 1,
						    seed / 4))
		return size;
	return LLVMFuzzerMutate(data, size, max);
}

/* -- seeds */

static void write_seed(const char *dir, size_t i, const struct state_table *t,
		       void *obj)
{
	uint8_t first = (uint8_t)i;
	char path[4096];
	size_t len;
	void *fdt = save(t, obj, &len);
	FILE *out;

	snprintf(path, sizeof(path), "%s/state-%s", dir, t->name);
	out = fopen(path, "w");
	if (!out || fwrite(&first, 1, 1, out) != 1 ||
	    fwrite(fdt, 1, len, out) != len || fclose(out))
		abort();
	free(fdt);
}

static void write_seeds(const char *dir)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *k = &kinds[i];
		struct fake_env env;
		struct device *dev;
		void *obj;

		if (k->table) {
			obj = calloc(1, k->table->size);
			write_seed(dir, i, k->table, obj);
			free(obj);
			continue;
		}
		dev = make_device(&env, k);
		if (dev->class->state)
			write_seed(dir, i, dev->class->state, dev);
		end_device(&env, dev);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (*argc == 2 && !strncmp((*argv)[1], "--seeds=", 8)) {
		write_seeds((*argv)[1] + 8);
		exit(0);
	}
	return 0;
}
