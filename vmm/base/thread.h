/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads that tools can tell apart. */
#ifndef VMM_BASE_THREAD_H
#define VMM_BASE_THREAD_H

#include <pthread.h>

/*
 * pthread_create(3) for a thread that top -H, gdb and perf show as @name, of at
 * most 15 characters. 0, or an errno: then nothing was started.
 */
int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *),
		 void *arg);

#endif
