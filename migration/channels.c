/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/channels.h"

#include <sched.h>

#include "vmm/base/util.h"

/*
 * A channel is a thread on each side that copies, so more of them than CPUs
 * only wait for each other. On two CPUs, GiB/s through sender and receiver into
 * memory to be made ("make limits"): 2.3 with one channel, 3.8 with two, 3.6 with
 * four; the first has to make pages and copy in turns. A VM of 1 GiB that is
 * busy on one of the CPUs moves in 315 ms instead of 390, at full speed in 300
 * instead of 600; the largest gap that it sees is 9 ms instead of 4, for it
 * has to share its CPU. More CPUs were not at hand: four should carry what
 * networks of 100 Gbit/s do.
 */
unsigned int channels_auto(void)
{
	cpu_set_t cpus;

	/* it fails only where there are more CPUs than the set has bits */
	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return CHANNELS_AUTO;
	return (unsigned int)MAX(1, MIN(CPU_COUNT(&cpus), CHANNELS_AUTO));
}

unsigned int channels_grant(unsigned int wished, bool fewer)
{
	return fewer ? MIN(wished, channels_auto()) : wished;
}
