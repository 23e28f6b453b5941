/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk before it is copied to; for disk_recv.c. */
#ifndef GODWIT_MIGRATION_DISK_LOOK_H
#define GODWIT_MIGRATION_DISK_LOOK_H

#include "migration/disk_recv.h"

/*
 * Make filled[@i]: what of the disk, which is active, may be other than zero.
 * Unless it may be overwritten that must be nothing: what the disk does not
 * know to be a hole is read. Takes some seconds at most, or until the slots'
 * cancel_fd is signalled.
 */
int disk_look(struct disk_recv *dr, unsigned int i, struct error *err)
	__must_check;

#endif
