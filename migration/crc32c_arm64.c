/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C by the CRC32 extension of Armv8. */
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <string.h>
#include <sys/auxv.h>

#include "migration/crc32c.h"

__attribute__((target("+crc")))
static size_t by_words(uint32_t *crc, const uint8_t *buf, size_t len)
{
	uint64_t word;
	size_t done;

	for (done = 0; done + sizeof(word) <= len; done += sizeof(word)) {
		memcpy(&word, buf + done, sizeof(word));
		*crc = __crc32cd(*crc, word);
	}
	return done;
}

size_t crc32c_cpu(uint32_t *crc, const uint8_t *buf, size_t len)
{
	return getauxval(AT_HWCAP) & HWCAP_CRC32 ? by_words(crc, buf, len) : 0;
}
