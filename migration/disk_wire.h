/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of disks that are copied along: PROTOCOL.md, "Disks". Pure, as
 * wire.h.
 */
#ifndef GODWIT_MIGRATION_DISK_WIRE_H
#define GODWIT_MIGRATION_DISK_WIRE_H

#include <stdint.h>

#include "migration/wire.h"

#define DISK_MAX 16
#define DISK_ID 64		/* with its NUL */

struct wire_disk {
	char id[DISK_ID];
	uint64_t size;		/* bytes, of 512 */
};

struct wire_disks {
	unsigned int n;
	struct wire_disk disk[DISK_MAX];
};

#define WIRE_DISKS_MAX (8 + DISK_MAX * (DISK_ID + 8))
size_t wire_disks_encode(uint8_t *out, const struct wire_disks *m);
int wire_disks_decode(const uint8_t *in, size_t len, struct wire_disks *m,
		      struct error *err) __must_check;

/* What goes over the disk channel, in both directions. */

#define DISK_RUN_MAGIC 0x47445744u	/* "GDWD" */
#define DISK_RUN_HEADER 40
#define DISK_RUN_BYTES (1 * MIB)	/* most of a DATA or SUM run */
#define DISK_RUN_LAST 1u
#define DISK_RUN_FLUSH 2u

enum disk_run_kind {
	DISK_RUN_DATA = 1,
	DISK_RUN_ZERO,
	DISK_RUN_SUM,
	DISK_RUN_FENCE,
};

struct disk_run {
	uint16_t kind;
	uint16_t disk;		/* its place in DISKS */
	uint64_t offset;
	uint64_t len;
	uint32_t seq;		/* FENCE: counted from 1 */
	uint32_t flags;		/* FENCE */
	uint32_t sum;		/* DATA, SUM: CRC-32C of the bytes */
};

void disk_run_encode(uint8_t out[DISK_RUN_HEADER], const struct disk_run *run);
/* Also that it lies within its disk. */
int disk_run_decode(const uint8_t in[DISK_RUN_HEADER],
		    const struct wire_disks *disks, struct disk_run *run,
		    struct error *err) __must_check;

#endif
