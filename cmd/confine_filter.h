/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The system calls of each role, as filters for seccomp(2): made from the lists
 * of cmd/confine_rules.c while building. Without libseccomp then: length 0. */
#ifndef GODWIT_CMD_CONFINE_FILTER_H
#define GODWIT_CMD_CONFINE_FILTER_H

#include <linux/filter.h>
#include <stddef.h>

struct confine_filter {
	const struct sock_filter *code;
	size_t len;		/* instructions */
};

/* All threads of a VM's process; its vCPUs' threads besides. */
extern const struct confine_filter confine_process_filter;
extern const struct confine_filter confine_vcpu_filter;

#endif
