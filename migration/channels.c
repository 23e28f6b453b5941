/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/channels.h"

#include <sched.h>
#include <sys/resource.h>

#include "vmm/base/util.h"

/* A tenth of a CPU beside a vCPU that wants all of it. */
#define NICE 10
/* Takes longer to copy than another thread's turn to begin and end. */
#define MUCH (256 * KIB)

/* That this process may use. */
static unsigned int cpus(void)
{
	cpu_set_t set;

	/* it fails only where there are more CPUs than the set has bits */
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return CPU_SETSIZE;
	return (unsigned int)CPU_COUNT(&set);
}

/*
 * A channel is a thread on each side that copies, so more of them than CPUs
 * only wait for each other. On two CPUs, GiB/s through sender and receiver into
 * memory to be made ("make limits"): 2.3 with one channel, 3.8 with two, 3.6 with
 * four; the first has to make pages and copy in turns. More CPUs were not at
 * hand: four should carry what networks of 100 Gbit/s do.
 */
unsigned int channels_auto(void)
{
	return MAX(1, MIN(cpus(), CHANNELS_AUTO));
}

unsigned int channels_grant(unsigned int wished, bool fewer)
{
	return fewer ? MIN(wished, channels_auto()) : wished;
}

/*
 * Threads that copy without a pause take turns with a vCPU of some milliseconds
 * each, as long as the scheduler's tick is: on two CPUs with two channels a guest
 * that is always busy saw gaps of 9 ms for the 300 ms that 1 GiB took. With one
 * channel that steps back it sees 2 to 3 ms, and 430 ms are its price.
 */
unsigned int channels_room(unsigned int busy)
{
	return cpus() > busy ? cpus() - busy : 0;
}

void channels_give_way(uint64_t bytes)
{
	if (bytes >= MUCH)
		sched_yield();
}

void channels_step_back(void)
{
	if (getpriority(PRIO_PROCESS, 0) < NICE)
		(void)setpriority(PRIO_PROCESS, 0, NICE);
}
