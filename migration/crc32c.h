/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C (Castagnoli), as iSCSI uses it: RFC 3720, appendix B.4. */
#ifndef GODWIT_MIGRATION_CRC32C_H
#define GODWIT_MIGRATION_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue @crc (0 at the start) over @len bytes. */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

/*
 * As much of @buf as the CPU's own instruction can do, 0 bytes if it has none;
 * @crc is the bare remainder, not inverted. A file for each architecture.
 */
size_t crc32c_cpu(uint32_t *crc, const uint8_t *buf, size_t len);

#endif
