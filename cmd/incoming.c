/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/incoming.h"

#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/tree.h"

#define ROOM (64 * KIB)		/* for longer strings; given back by pack */

struct localizer {
	void *tree;
	struct error *err;
};

static void set_string(struct localizer *l, int node, const char *prop,
		       const char *value)
{
	int ret = fdt_setprop_string(l->tree, node, prop, value);

	if (ret)
		error_add(l->err, EINVAL, "machine tree: can't set %s to %s: %s",
			  prop, value, fdt_strerror(ret));
}

/* The ids of the devices of this class, for the message. */
static void list_ids(const void *tree, const char *compatible, char *buf,
		     size_t size)
{
	int node = -1;
	size_t n = 0;

	buf[0] = '\0';
	while ((node = fdt_node_offset_by_compatible(tree, node,
						     compatible)) >= 0 &&
	       n + 1 < size)
		n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "",
				      tree_str(tree, node, "id", "?"));
	if (!*buf)
		snprintf(buf, size, "none");
}

static int find_id(const void *tree, const char *compatible, const char *id)
{
	int node = -1;

	while ((node = fdt_node_offset_by_compatible(tree, node,
						     compatible)) >= 0)
		if (!strcmp(tree_str(tree, node, "id", ""), id))
			return node;
	return -1;
}

static int device(struct localizer *l, const char *option,
		  const char *compatible, const char *id)
{
	int node = find_id(l->tree, compatible, id);
	char ids[256];

	if (node < 0) {
		list_ids(l->tree, compatible, ids, sizeof(ids));
		error_add(l->err, ENODEV, "option --%s: id=%s: the arriving machine has no such device; accepted: %s",
			  option, id, ids);
	}
	return node;
}

/* What one host writes to a path or a server, DRBD does not replicate. */
static bool is_drbd(const char *uri)
{
	return !strncmp(uri, "drbd:", 5);
}

static void set_disk(struct localizer *l, const struct disk_option *d)
{
	int node = device(l, "disk", "godwit,virtio-blk", d->id);
	const char *there;

	if (node < 0)
		return;
	there = tree_str(l->tree, node, "backend", "");
	if ((is_drbd(there) || is_drbd(d->uri)) && strcmp(there, d->uri))
		error_add(l->err, EINVAL, "option --disk: id=%s: it is %s on the other side and %s here; a DRBD disk is the same resource on both",
			  d->id, there, d->uri);
	if (d->serial)
		error_add(l->err, EINVAL, "option --disk: id=%s: serial= belongs to the machine and can't change on its way",
			  d->id);
	if (d->readonly && !tree_has(l->tree, node, "readonly"))
		error_add(l->err, EINVAL, "option --disk: id=%s: readonly=on, but the machine writes to this disk",
			  d->id);
	fdt_delprop(l->tree, node, "direct");
	if (d->direct)
		fdt_setprop(l->tree, node, "direct", NULL, 0);
	if (d->overwrite)
		fdt_setprop(l->tree, node, "overwrite", NULL, 0);
	set_string(l, node, "backend", d->uri);
	if (d->werror)
		set_string(l, node, "werror", d->werror);
	if (d->rerror)
		set_string(l, node, "rerror", d->rerror);
	if (d->reconnect_s)
		fdt_setprop_u32(l->tree, node, "reconnect-delay",
				d->reconnect_s);
}

static void set_net(struct localizer *l, const struct net_option *n)
{
	int node = device(l, "net", "godwit,virtio-net", n->id);

	if (node < 0)
		return;
	if (n->has_mac)
		error_add(l->err, EINVAL, "option --net: id=%s: mac= belongs to the machine and can't change on its way",
			  n->id);
	set_string(l, node, "backend", n->backend);
}

static void set_serial(struct localizer *l, const char *backend)
{
	int node = fdt_node_offset_by_compatible(l->tree, -1, "ns16550a");

	if (node < 0)
		error_add(l->err, ENODEV, "option --serial: the arriving machine has no serial port");
	else
		set_string(l, node, "backend", backend);
}

static void set_image(struct localizer *l, const char *prop, const char *file)
{
	int node = fdt_path_offset(l->tree, "/chosen");
	char *full = realpath(file, NULL);

	if (node < 0)
		node = fdt_add_subnode(l->tree, 0, "chosen");
	set_string(l, node, prop, full ? full : file);
	free(full);
}

/* What the side before was told is no word of ours. */
static void forbid_overwriting(struct localizer *l)
{
	int node = -1;

	while ((node = fdt_node_offset_by_compatible(l->tree, node,
						     "godwit,virtio-blk")) >= 0)
		fdt_delprop(l->tree, node, "overwrite");
}

static void localize(struct localizer *l, const struct run_config *c)
{
	unsigned int i;

	forbid_overwriting(l);
	for (i = 0; i < c->ndisks; i++)
		set_disk(l, &c->disk[i]);
	for (i = 0; i < c->nnets; i++)
		set_net(l, &c->net[i]);
	if (c->serial)
		set_serial(l, c->serial);
	if (c->kernel)
		set_image(l, "godwit,kernel", c->kernel);
	if (c->initrd)
		set_image(l, "godwit,initrd", c->initrd);
	if (c->name)
		set_string(l, 0, "godwit,name", c->name);
}

int incoming_localize(const struct run_config *c, const void *tree, size_t len,
		      void **out, struct error *err)
{
	struct localizer l = { .err = err };
	int ret = tree_check(tree, len, err);

	if (ret)
		return ret;
	l.tree = malloc(len + ROOM);
	if (!l.tree)
		return error_set(err, ENOMEM, "no memory for a machine tree of %zu bytes",
				 len);
	ret = fdt_open_into(tree, l.tree, (int)(len + ROOM));
	if (ret)
		error_set(err, EINVAL, "machine tree: %s", fdt_strerror(ret));
	else
		localize(&l, c);
	if (err->code) {
		free(l.tree);
		return -err->code;
	}
	fdt_pack(l.tree);
	*out = l.tree;
	return 0;
}
