/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/tree_build.h"

#include <errno.h>
#include <libfdt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "arch/arch.h"
#include "cmd/cpu_set.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"

/* Enough for CPUID leaves and all slots; what isn't used is given back. */
#define TREE_BYTES (256 * KIB)
#define DEFAULT_MEMORY (512 * MIB)
#define MMIO_BYTES 0x200	/* virtio 1.2, 4.2.2, and room for config */

struct builder {
	const struct run_config *c;
	const char *name;
	void *fdt;
	int ret;		/* first error of libfdt, or 0 */
	unsigned int slot;	/* next free virtio-mmio slot */
};

static void note(struct builder *b, int ret)
{
	if (!b->ret)
		b->ret = ret;
}

static void str(struct builder *b, const char *prop, const char *value)
{
	if (value)
		note(b, fdt_property_string(b->fdt, prop, value));
}

static void u32(struct builder *b, const char *prop, uint32_t value)
{
	note(b, fdt_property_u32(b->fdt, prop, value));
}

static void bytes(struct builder *b, const char *prop, const void *p, int len)
{
	note(b, fdt_property(b->fdt, prop, p, len));
}

static void flag(struct builder *b, const char *prop, bool on)
{
	if (on)
		bytes(b, prop, NULL, 0);
}

static void begin(struct builder *b, const char *node)
{
	note(b, fdt_begin_node(b->fdt, node));
}

static void end(struct builder *b)
{
	note(b, fdt_end_node(b->fdt));
}

static void add_root(struct builder *b, struct error *err)
{
	uint8_t uuid[16];

	if (getrandom(uuid, sizeof(uuid), 0) != (ssize_t)sizeof(uuid)) {
		error_set(err, errno, "no random bytes for a UUID");
		return;
	}
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);	/* RFC 9562, 5.4 */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	str(b, "compatible", "godwit,machine");
	str(b, "model", arch_board.name);
	str(b, "godwit,name", b->name);
	bytes(b, "godwit,uuid", uuid, sizeof(uuid));
	u32(b, "#address-cells", 2);
	u32(b, "#size-cells", 2);
}

/* Absolute, so that the path means the same from any directory. */
static void path(struct builder *b, const char *prop, const char *file)
{
	char *full = file ? realpath(file, NULL) : NULL;

	str(b, prop, full ? full : file);
	free(full);
}

/* A disk's URI, with the path of a local image made absolute. */
static void disk_uri(struct builder *b, const char *uri)
{
	const char *file = strncmp(uri, "file:", 5) ? uri : uri + 5;

	if (file == uri && strchr(uri, ':'))
		str(b, "backend", uri);
	else
		path(b, "backend", file);
}

static void add_chosen(struct builder *b)
{
	begin(b, "chosen");
	str(b, "bootargs", b->c->append ? b->c->append : "");
	path(b, "godwit,kernel", b->c->kernel);
	path(b, "godwit,initrd", b->c->initrd);
	end(b);
}

static void add_memory(struct builder *b)
{
	struct memory_range range[MEMORY_MAX_REGIONS];
	uint8_t reg[16 * MEMORY_MAX_REGIONS];
	uint64_t size = b->c->memory ? b->c->memory : DEFAULT_MEMORY;
	unsigned int i, n = arch_memory_layout(size, range);
	char node[32];

	for (i = 0; i < n; i++) {
		put_be64(reg + 16 * i, range[i].base);
		put_be64(reg + 16 * i + 8, range[i].size);
	}
	snprintf(node, sizeof(node), "memory@%llx",
		 (unsigned long long)(n ? range[0].base : 0));
	begin(b, node);
	str(b, "device_type", "memory");
	bytes(b, "reg", reg, (int)(16 * n));
	str(b, "godwit,backing", b->c->shared ? "memfd" : "anon");
	end(b);
}

/* Opens the node of the next slot; its device's properties follow. */
static void begin_virtio(struct builder *b, const char *kind)
{
	gpa_t base = arch_board.mmio_base + b->slot * arch_board.mmio_stride;
	char node[64], compatible[64];
	uint8_t reg[16];
	int len;

	snprintf(node, sizeof(node), "virtio-%s@%llx", kind,
		 (unsigned long long)base);
	len = snprintf(compatible, sizeof(compatible), "godwit,virtio-%s%cvirtio,mmio",
		       kind, '\0');
	put_be64(reg, base);
	put_be64(reg + 8, MMIO_BYTES);
	begin(b, node);
	bytes(b, "compatible", compatible, len + 1);
	bytes(b, "reg", reg, sizeof(reg));
	u32(b, "interrupts", arch_board.first_gsi + b->slot++);
}

static void add_id(struct builder *b, const char *id, const char *stem,
		   unsigned int index)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%u", stem, index);
	str(b, "id", id ? id : name);
}

static void add_disk(struct builder *b, unsigned int i)
{
	const struct disk_option *d = &b->c->disk[i];

	begin_virtio(b, "blk");
	add_id(b, d->id, "disk", i);
	disk_uri(b, d->uri);
	str(b, "serial", d->serial);
	str(b, "werror", d->werror);
	str(b, "rerror", d->rerror);
	if (d->reconnect_s)
		u32(b, "reconnect-delay", d->reconnect_s);
	flag(b, "readonly", d->readonly);
	flag(b, "direct", d->direct);
	end(b);
}

/* FNV-1a: spreads names over 24 bits; 52:54:00 is what KVM guests use. */
void tree_default_mac(const char *name, unsigned int index, uint8_t mac[6])
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	h = (h ^ index) * 16777619u;
	mac[0] = 0x52;
	mac[1] = 0x54;
	mac[2] = 0x00;
	mac[3] = (uint8_t)(h >> 24);
	mac[4] = (uint8_t)(h >> 12);
	mac[5] = (uint8_t)h;
}

static void add_net(struct builder *b, unsigned int i)
{
	const struct net_option *n = &b->c->net[i];
	uint8_t mac[6];

	tree_default_mac(b->name, i, mac);
	begin_virtio(b, "net");
	add_id(b, n->id, "net", i);
	str(b, "backend", n->backend);
	bytes(b, "mac", n->has_mac ? n->mac : mac, 6);
	end(b);
}

static bool console_is(const struct run_config *c, const char *what)
{
	const char *console = c->console ? c->console : "serial";

	return !strncmp(console, what, strlen(what));
}

static void add_console(struct builder *b)
{
	const char *colon;

	if (!console_is(b->c, "virtio"))
		return;
	colon = strchr(b->c->console, ':');
	begin_virtio(b, "console");
	str(b, "id", "console0");
	str(b, "backend", colon ? colon + 1 : "stdio");
	end(b);
}

static void add_soc(struct builder *b)
{
	unsigned int i;

	begin(b, "soc");
	str(b, "compatible", "simple-bus");
	u32(b, "#address-cells", 2);
	u32(b, "#size-cells", 2);
	bytes(b, "ranges", NULL, 0);
	for (i = 0; i < b->c->ndisks; i++)
		add_disk(b, i);
	for (i = 0; i < b->c->nnets; i++)
		add_net(b, i);
	add_console(b);
	if (b->c->rng) {
		begin_virtio(b, "rng");
		str(b, "id", "rng0");
		end(b);
	}
	if (arch_board.virtio_power_key) {
		begin_virtio(b, "power-key");
		end(b);
	}
	end(b);
}

static const char *serial_backend(const struct run_config *c)
{
	if (c->serial)
		return c->serial;
	return console_is(c, "serial") ? "stdio" : "null";
}

static int add_arch(struct builder *b, int kvm_fd, struct error *err)
{
	struct arch_machine machine = {
		.cpu_model = b->c->cpu_model ? b->c->cpu_model : "host",
		.cpus = b->c->cpus ? b->c->cpus : 1,
		.console = serial_backend(b->c),
	};
	struct nameset set;
	int ret = 0;

	if (cpu_set_is_file(machine.cpu_model)) {
		ret = cpu_set_read(machine.cpu_model, &set, err);
		machine.cpu = &set;
	}
	if (!ret)
		ret = arch_tree_add(b->fdt, kvm_fd, &machine, err);
	/* no such model: the message says which there are */
	if (ret == -EINVAL)
		error_prefix(err, "option --cpu: value '%s'",
			     machine.cpu_model);
	return ret;
}

static int write_tree(struct builder *b, int kvm_fd, struct error *err)
{
	int ret;

	note(b, fdt_create(b->fdt, TREE_BYTES));
	note(b, fdt_finish_reservemap(b->fdt));
	begin(b, "");
	add_root(b, err);
	add_chosen(b);
	add_memory(b);
	if (err->code)
		return -err->code;
	ret = b->ret ? 0 : add_arch(b, kvm_fd, err);
	if (ret)
		return ret;
	add_soc(b);
	end(b);
	note(b, fdt_finish(b->fdt));
	if (b->ret)
		return error_set(err, EINVAL, "can't write the machine tree: %s",
				 fdt_strerror(b->ret));
	return 0;
}

/* The board has the port; a guest that wasn't meant to may not end its VM. */
static int remove_debug_exit(struct builder *b, struct error *err)
{
	int node = fdt_node_offset_by_compatible(b->fdt, -1,
						 "godwit,debug-exit");
	int ret = 0;

	if (node < 0)
		return 0;
	ret = fdt_open_into(b->fdt, b->fdt, TREE_BYTES);
	node = fdt_node_offset_by_compatible(b->fdt, -1, "godwit,debug-exit");
	if (!ret)
		ret = fdt_del_node(b->fdt, node);
	if (!ret)
		ret = fdt_pack(b->fdt);
	if (ret)
		return error_set(err, EINVAL, "can't write the machine tree: %s",
				 fdt_strerror(ret));
	return 0;
}

static int check_slots(const struct run_config *c, struct error *err)
{
	unsigned int n = c->ndisks + c->nnets + console_is(c, "virtio") +
			 c->rng + arch_board.virtio_power_key;

	if (n > arch_board.mmio_slots)
		return error_set(err, E2BIG, "%u virtio devices; accepted: up to %u on a %s machine",
				 n, arch_board.mmio_slots, arch_board.name);
	return 0;
}

int tree_build(const struct run_config *c, const char *name, int kvm_fd,
	       void **tree, struct error *err)
{
	struct builder b = { .c = c, .name = name };
	void *fit;
	int ret = check_slots(c, err);

	if (ret)
		return ret;
	b.fdt = calloc(1, TREE_BYTES);
	if (!b.fdt)
		return error_set(err, ENOMEM, "no memory for the machine tree");
	ret = write_tree(&b, kvm_fd, err);
	if (!ret && !c->debug_exit)
		ret = remove_debug_exit(&b, err);
	if (ret) {
		free(b.fdt);
		return ret;
	}
	fit = realloc(b.fdt, fdt_totalsize(b.fdt));
	*tree = fit ? fit : b.fdt;
	return 0;
}
