/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine tree (vmm/tree.h) from options. */
#ifndef GODWIT_CMD_TREE_BUILD_H
#define GODWIT_CMD_TREE_BUILD_H

#include <stdint.h>

#include "cmd/run_options.h"

/*
 * Options that were not given take their defaults. @kvm_fd is /dev/kvm, for
 * the exact identity of the CPUs. *tree is malloc'ed.
 */
int tree_build(const struct run_config *c, const char *name, int kvm_fd,
	       void **tree, struct error *err) __must_check;

/* The address of card @index of the VM @name: the same at each start. */
void tree_default_mac(const char *name, unsigned int index, uint8_t mac[6]);

#endif
