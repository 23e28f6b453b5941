/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long a thread runs before another one has its turn. */
#ifndef VMM_SLICE_H
#define VMM_SLICE_H

/*
 * Asks for the shortest slice, 0.1 ms, for the calling thread, which keeps its
 * policy and nice value: it gets no more CPU time, but gets it back first after
 * another thread had its turn (EEVDF, Linux 6.12 and later; sched_setattr(2)).
 * Only a wish: older kernels, and other policies than SCHED_OTHER and
 * SCHED_BATCH, go on as they did. Before the thread's seccomp filter.
 */
void slice_shorten(void);

#endif
