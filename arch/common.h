/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all architectures ask of KVM alike. */
#ifndef GODWIT_ARCH_COMMON_H
#define GODWIT_ARCH_COMMON_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "arch/arch.h"

struct arch_cap {
	int cap;		/* KVM_CAP_* */
	const char *name;
	const char *without;	/* what follows if it is missing */
	bool needed;
};

/* A line each to @out. Returns true if all that are needed are there. */
bool arch_caps_print(FILE *out, int kvm_fd, const struct arch_cap *cap,
		     size_t n);

/* arch_vcpu_exit() for exits that mean the same everywhere, or nothing here. */
enum arch_exit arch_exit_common(const struct kvm_run *run, struct error *err);

#endif
