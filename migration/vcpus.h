/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each vCPU dirties, where dirty rings tell, and how long each rests for
 * that: pure functions. The policy says by how much the total shall come down
 * (policy.h); here that is shared out.
 */
#ifndef GODWIT_MIGRATION_VCPUS_H
#define GODWIT_MIGRATION_VCPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/vm.h"

struct vcpu_loads {
	unsigned int n;			/* vCPUs; 0: nothing known yet */
	uint64_t since;			/* when it was measured last, ns */
	uint64_t seen[VM_MAX_VCPUS];	/* pages up to then */
	uint64_t rate[VM_MAX_VCPUS];	/* pages/s, as it is */
	double need[VM_MAX_VCPUS];	/* pages/s, did it never rest: a guess */
	unsigned int rest[VM_MAX_VCPUS];	/* percent of the time, now */
};

/*
 * @pages: of each of @n vCPUs, all that it has dirtied by @now (ns). Between two
 * measurements ->rest is as it was. False, and nothing changed, if the last one
 * was hardly before this. The first one only remembers.
 */
bool vcpu_loads_measure(struct vcpu_loads *l, unsigned int n,
			const uint64_t *pages, uint64_t now);

/*
 * ->rest of each, 0..99, in proportion to what it would dirty, such that all
 * together dirty @percent (0..99) less than if none rested. One that is at 99
 * leaves the rest of its part to others, but for a hundredth of the total. One
 * vCPU alone, vCPUs that are all alike, and ones that dirty nothing rest @percent.
 */
void vcpu_loads_share(struct vcpu_loads *l, unsigned int percent);

#endif
