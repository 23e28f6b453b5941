/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Races that are meant. Guest memory is written by the guest while it is read
 * here, as DMA would: whoever reads a page that changes will read it again,
 * because it is dirty then. Linked into every test; without the thread
 * sanitizer nobody calls it.
 */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
	return "race:socket_writev\n"	/* pages, to the wire */
	       "race:gather\n"		/* the same, by TLS */
	       "race:memory_write\n"	/* the VMM's own DMA */
	       "race:memory_read\n";
}
