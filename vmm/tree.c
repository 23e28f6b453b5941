/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/tree.h"

#include <errno.h>
#include <libfdt.h>
#include <string.h>

#include "vmm/base/byteorder.h"
#include "vmm/state/state.h"

static const void *prop_of(const void *tree, int node, const char *name,
			   int len)
{
	int got;
	const void *p = fdt_getprop(tree, node, name, &got);

	return p && got == len ? p : NULL;
}

uint32_t tree_u32(const void *tree, int node, const char *prop,
		  uint32_t fallback)
{
	const void *p = prop_of(tree, node, prop, 4);

	return p ? get_be32(p) : fallback;
}

uint64_t tree_u64(const void *tree, int node, const char *prop,
		  uint64_t fallback)
{
	const void *p = prop_of(tree, node, prop, 8);

	return p ? get_be64(p) : fallback;
}

const char *tree_str(const void *tree, int node, const char *prop,
		     const char *fallback)
{
	int len;
	const char *p = fdt_getprop(tree, node, prop, &len);

	/* the terminator must be there before anyone calls strlen() */
	return p && len > 0 && memchr(p, 0, (size_t)len) ? p : fallback;
}

bool tree_has(const void *tree, int node, const char *prop)
{
	return fdt_getprop(tree, node, prop, NULL) != NULL;
}

static uint64_t cells(const uint8_t *p, unsigned int n)
{
	return n == 2 ? get_be64(p) : get_be32(p);
}

int tree_reg(const void *tree, int node, unsigned int index,
	     uint64_t *base, uint64_t *size, struct error *err)
{
	int parent = fdt_parent_offset(tree, node);
	uint32_t na = tree_u32(tree, parent, "#address-cells", 2);
	uint32_t ns = tree_u32(tree, parent, "#size-cells", 2);
	unsigned int step;
	const uint8_t *p;
	int len;

	if (na < 1 || na > 2 || ns < 1 || ns > 2)
		return error_set(err, EINVAL, "machine tree: %s: address cells %u, size cells %u (accepted: 1 or 2)",
				 fdt_get_name(tree, node, NULL), na, ns);
	step = 4 * (na + ns);
	p = fdt_getprop(tree, node, "reg", &len);
	if (!p || len <= 0 || (unsigned int)len % step ||
	    index >= (unsigned int)len / step)
		return error_set(err, EINVAL, "machine tree: %s: no reg entry %u",
				 fdt_get_name(tree, node, NULL), index);
	p += index * step;
	*base = cells(p, na);
	*size = cells(p + 4 * na, ns);
	return 0;
}

unsigned int tree_cpus(const void *tree)
{
	int cpus = fdt_path_offset(tree, "/cpus"), node;
	unsigned int n = 0;

	if (cpus >= 0)
		fdt_for_each_subnode(node, tree, cpus)
			n += !strncmp(fdt_get_name(tree, node, NULL), "cpu@", 4);
	return n;
}

int tree_irq(const void *tree, int node, unsigned int *gsi, struct error *err)
{
	int len;
	const void *p = fdt_getprop(tree, node, "interrupts", &len);

	if (!p || len < 4)
		return error_set(err, EINVAL, "machine tree: %s: no interrupts",
				 fdt_get_name(tree, node, NULL));
	*gsi = get_be32(p);
	return 0;
}

int tree_check(const void *tree, uint64_t len, struct error *err)
{
	int ret = state_fdt_check(tree, (size_t)len);

	if (ret)
		return error_set(err, EINVAL, "machine tree of %llu bytes is damaged: %s",
				 (unsigned long long)len, fdt_strerror(ret));
	if (fdt_node_check_compatible(tree, 0, "godwit,machine"))
		return error_set(err, EINVAL, "not a machine tree: root is not compatible with godwit,machine");
	return 0;
}
