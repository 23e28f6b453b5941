/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages that are made when somebody touches them: userfaultfd(2), of which this
 * is the little that post-copy needs. Any thread; a fault is told to one.
 */
#ifndef GODWIT_MIGRATION_USERFAULT_H
#define GODWIT_MIGRATION_USERFAULT_H

#include <stdint.h>

#include "vmm/base/error.h"

/* A descriptor, of this process's memory alone. It takes root, or a right to
 * /dev/userfaultfd: to be had before capabilities are given up. */
int userfault_open(struct error *err) __must_check;
/* From now on whoever touches a page of [start, start + len) that is not there
 * waits until it is. */
int userfault_register(int fd, void *start, uint64_t len, struct error *err)
	__must_check;
/* Whoever waits goes on, and finds a page of zeroes. */
void userfault_unregister(int fd, void *start, uint64_t len);
/* Make pages that are not there, and let go on who waits for them; what is
 * there is left as it is. Addresses and @len are multiples of the page size. */
int userfault_copy(int fd, void *to, const void *from, uint64_t len,
		   struct error *err) __must_check;
int userfault_zero(int fd, void *to, uint64_t len, struct error *err)
	__must_check;
/* 1 and where somebody waits, 0: nobody new. */
int userfault_next(int fd, uintptr_t *addr, struct error *err) __must_check;

#endif
