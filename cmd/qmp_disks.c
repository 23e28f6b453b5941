/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks in a migration's report: what keeps the other host from writing. */
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "cmd/qmp_commands.h"
#include "devices/block/block.h"
#include "vmm/tree.h"

/* The disk's entry in x-job.disks, made if it isn't there. */
static json_t *entry(json_t *job, const char *id)
{
	json_t *disks = json_object_get(job, "disks"), *d;
	size_t i;

	if (!disks) {
		disks = json_array();
		json_object_set_new(job, "disks", disks);
	}
	json_array_foreach(disks, i, d)
		if (!strcmp(json_string_value(json_object_get(d, "id")) ?: "",
			    id))
			return d;
	d = json_pack("{s:s}", "id", id);
	json_array_append_new(disks, d);
	return d;
}

static void add_fence(json_t *disk, const void *tree, int node)
{
	const char *uri = tree_str(tree, node, "backend", "");
	const char *fence = block_fence(uri);
	char kind[32];

	block_kind(uri, kind);
	if (tree_has(tree, node, "readonly"))
		fence = "not needed: it is read-only";
	json_object_set_new(disk, "kind", json_string(kind));
	json_object_set_new(disk, "fenced", json_boolean(fence));
	json_object_set_new(disk, "fence", json_string(fence ? fence :
		"none: a host that hangs and comes back may write to it"));
}

void qmp_migration_disks(json_t *report, const void *tree)
{
	json_t *job = json_object_get(report, "x-job");
	int node = -1;

	while ((node = fdt_node_offset_by_compatible(tree, node,
					"godwit,virtio-blk")) >= 0)
		add_fence(entry(job, tree_str(tree, node, "id", "?")), tree,
			  node);
}
