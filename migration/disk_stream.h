/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs and fences on the disk channel; for disk_send.c, in its thread. */
#ifndef GODWIT_MIGRATION_DISK_STREAM_H
#define GODWIT_MIGRATION_DISK_STREAM_H

#include "migration/disk_send.h"

/* A header, and with @data its bytes. */
int disk_stream_write(struct disk_send *ds, const struct disk_run *run,
		      uint8_t *data, struct error *err) __must_check;
/*
 * Read @len (at most DISK_RUN_BYTES) and, a few reads later, send what was
 * found: data and zeroes, or with kind SUM its checksum to be compared.
 */
int disk_stream_read(struct disk_send *ds, enum disk_run_kind kind,
		     unsigned int disk, uint64_t offset, uint64_t len,
		     struct error *err) __must_check;
int disk_stream_drain(struct disk_send *ds, struct error *err) __must_check;
/* Back when the other side has carried out all that was sent. */
int disk_stream_fence(struct disk_send *ds, uint32_t flags, struct error *err)
	__must_check;
/* Count a run in the report. */
void disk_stream_account(struct disk_send *ds, const struct disk_run *run);

#endif
