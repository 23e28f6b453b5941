/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The side where a VM arrives. It listens on one address, and only there;
 * one attempt is served at a time. See PROTOCOL.md.
 *
 * Everything that it reads is checked; a hostile or cut stream costs the
 * attempt, never the process: the copy is destroyed, the reason told to the
 * source, and (unless once) the next attempt waited for.
 */
#ifndef GODWIT_MIGRATION_DESTINATION_H
#define GODWIT_MIGRATION_DESTINATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/channel.h"
#include "migration/stats.h"
#include "migration/vm_ops.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

struct vm;
struct vm_memory_file;
struct migration_destination;

struct migration_destination_config {
	const char *uri;	/* tcp:HOST:PORT (port 0: any), unix:PATH */
	struct channel_security security;
	const struct migration_vm_ops *ops;	/* NULL: the real ones */
	struct log log;
	const char *record_dir;	/* see record.h; NULL: no record */
	int userfault_fd;	/* of userfault_open(), for post-copy; not
				 * owned; 0 or -1: there is none */
	bool once;		/* over after the first attempt that fails */
	uint32_t go_wait_ms;	/* link lost when PREPARED; 0 = 5000 */
	uint32_t linger_ms;	/* answer QUERY afterwards; 0 = 30000 */
	/*
	 * All are called in the destination's thread; what needs the loop's
	 * thread goes there by loop_call(). build constructs the VM of the
	 * offer (vm_create with incoming, and @memory unless that is NULL), or
	 * says all reasons why not.
	 */
	int (*build)(void *arg, const void *tree, size_t len,
		     const struct vm_memory_file *memory, struct vm **vm,
		     struct error *err);
	void (*destroy)(void *arg, struct vm *vm);	/* undoes build */
	/* Stage changes. With outcome COMPLETED the VM runs here and is no
	 * longer the destination's; with FAILED the attempt is over, its VM
	 * destroyed, and it listens again unless once. */
	void (*notify)(void *arg, const struct migration_stats *stats);
	void *arg;
};

/* Listens when it returns. */
int migration_destination_start(struct migration_destination **out,
				const struct migration_destination_config *cfg,
				struct error *err) __must_check;
/* The address it listens on, with the real port: a URI to connect to. */
const char *migration_destination_uri(const struct migration_destination *d);
void migration_destination_stats(struct migration_destination *d,
				 struct migration_stats *out);
/* Ends the attempt that is under way (its VM is destroyed unless it runs),
 * waits for the thread, frees. Not in the loop's thread while an attempt is
 * under way. */
void migration_destination_destroy(struct migration_destination *d);

#endif
