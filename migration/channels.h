/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How many bulk channels a migration has. */
#ifndef GODWIT_MIGRATION_CHANNELS_H
#define GODWIT_MIGRATION_CHANNELS_H

#include <stdbool.h>
#include <stdint.h>

#define CHANNELS_MAX 16		/* that a migration may have */
#define CHANNELS_AUTO 4		/* the most where nobody says how many */

/* As many as suit the CPUs that this process may use: 1..CHANNELS_AUTO. */
unsigned int channels_auto(void);
/* What a destination grants of @wished ones; with @fewer its CPUs decide. */
unsigned int channels_grant(unsigned int wished, bool fewer);
/* CPUs that vCPUs which keep @busy of them leave to the copy; 0: none. */
unsigned int channels_room(unsigned int busy);
/* The calling thread copies: from now on a guest that wants its CPU comes first.
 * For good: without privileges there is no way back. Idempotent. */
void channels_step_back(void);
/* The calling thread has copied @bytes: if that was much, whoever waits for its CPU
 * is next, and not only at the scheduler's next tick, which may be 4 ms away. Before
 * Linux 6.18 that is a wish: it goes on if the other one had more than its share. */
void channels_give_way(uint64_t bytes);

#endif
