/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file of `godwit save`: a VM's machine tree, state tree and memory.
 *
 *   0            header, SNAPSHOT_HEADER bytes
 *   2 MiB        memory, page by page at fixed places: region after region,
 *                each from a multiple of 2 MiB; zeroes are holes
 *   behind it    table of checksums, a u32 for each 64 KiB of memory
 *                (CRC-32C; what a block lacks to 64 KiB counts as zeroes),
 *                machine tree, state tree
 *
 * The header, integers big-endian:
 *   0  8  magic "GODWITVM"       8  4  version (1)     12  4  flags
 *   16 8  wall clock at the save, ns since 1970
 *   24 8  wall clock at the last restore, 0: none yet
 *   32 8  length of memory in the file
 *   40 24 of the table, 64 24 of the machine tree, 88 24 of the state tree:
 *         8 offset, 8 length, 4 CRC-32C, 4 zero
 *   112 4 CRC-32C of the header with this field zero
 *
 * The header is written last, into a file of another name: whoever sees the
 * name sees a whole file. Pure functions over bytes, no thread, no lock.
 */
#ifndef GODWIT_MIGRATION_SNAPSHOT_FILE_H
#define GODWIT_MIGRATION_SNAPSHOT_FILE_H

#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/util.h"

#define SNAPSHOT_HEADER 116
#define SNAPSHOT_VERSION 1
#define SNAPSHOT_MEMORY_AT (2 * MIB)
#define SNAPSHOT_BLOCK (64 * KIB)

#define SNAPSHOT_RUN 1u		/* it ran when it was saved */

enum snapshot_part {
	SNAPSHOT_TABLE,
	SNAPSHOT_TREE,
	SNAPSHOT_STATE,
	SNAPSHOT_NPARTS
};

struct snapshot_extent {
	uint64_t at, len;	/* bytes */
	uint32_t crc;
};

struct snapshot_header {
	uint32_t flags;
	uint64_t saved_ns, restored_ns;
	uint64_t memory_len;
	struct snapshot_extent part[SNAPSHOT_NPARTS];
};

void snapshot_header_encode(uint8_t buf[SNAPSHOT_HEADER],
			    const struct snapshot_header *h);
/* @size is the file's; what lies outside of it is refused, by its name. */
int snapshot_header_decode(const uint8_t buf[SNAPSHOT_HEADER], uint64_t size,
			   struct snapshot_header *h, struct error *err)
	__must_check;
const char *snapshot_part_name(enum snapshot_part part);
/* Blocks of @len bytes of memory. */
uint64_t snapshot_blocks(uint64_t len);

#endif
