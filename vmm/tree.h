/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine tree: the one description of a machine, a flattened device tree.
 *
 *   /           compatible "godwit,machine", model "x86_64" (the architecture),
 *               godwit,name, godwit,uuid (16 bytes), #address-cells = 2,
 *               #size-cells = 2
 *   /chosen     bootargs, godwit,kernel, godwit,initrd (paths, local)
 *   /memory     reg = base and size of each range; godwit,backing "anon"/"memfd"
 *   /cpus       godwit,model; the architecture's identity (x86: godwit,cpuid;
 *               arm64: godwit,id-registers and others);
 *               one node cpu@N each
 *   /isa        (x86) devices with reg = <port size>, one cell each
 *   /platform   (arm64) devices of the board, reg = <base size>, two cells each
 *   /soc        virtio devices, reg likewise
 *
 * A device's node: compatible (first string = device class), reg,
 * interrupts = <gsi>, and properties of its class; "id" is the user's name
 * for it ("disk0"), "backend" what stands behind it on this host.
 *
 * These are small helpers over libfdt for reading; all are pure.
 */
#ifndef GODWIT_TREE_H
#define GODWIT_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"

/* Value of a u32 / u64 property, or @fallback if it is absent or ill-formed. */
uint32_t tree_u32(const void *tree, int node, const char *prop,
		  uint32_t fallback);
uint64_t tree_u64(const void *tree, int node, const char *prop,
		  uint64_t fallback);
/* The NUL-terminated string, or @fallback. Points into the tree. */
const char *tree_str(const void *tree, int node, const char *prop,
		     const char *fallback);
bool tree_has(const void *tree, int node, const char *prop);
/* The @index-th (address, size) pair of "reg", by the parent's cell counts. */
int tree_reg(const void *tree, int node, unsigned int index,
	     uint64_t *base, uint64_t *size, struct error *err);
/* How many nodes cpu@N there are in /cpus. */
unsigned int tree_cpus(const void *tree);
/* First cell of "interrupts". */
int tree_irq(const void *tree, int node, unsigned int *gsi, struct error *err);

/* Structure and size check of a tree that came from elsewhere. */
int tree_check(const void *tree, uint64_t len, struct error *err);

#endif
