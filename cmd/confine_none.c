/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the place of the filters where CONFIG_SECCOMP is off. */
#include "cmd/confine_filter.h"

const struct confine_filter confine_process_filter;
const struct confine_filter confine_vcpu_filter;
