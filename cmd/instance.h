/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM in its process, with all that stands around it: loop, control socket,
 * terminal, and the migration that it leaves or arrives by.
 *
 * Threads: all in the loop's thread, but for the migration's callbacks, which
 * come to it by loop_call() and loop_post().
 */
#ifndef GODWIT_CMD_INSTANCE_H
#define GODWIT_CMD_INSTANCE_H

#include <limits.h>

#include "cmd/control.h"
#include "cmd/run_options.h"
#include "cmd/terminal.h"
#include "migration/destination.h"
#include "migration/source.h"
#include "vmm/vm.h"

struct instance {
	const struct run_config *config;
	char name[64];
	struct log log;
	struct loop loop;
	struct loop_fd signals;
	struct control *control;
	struct terminal *terminal;	/* while a device holds it */
	struct vm *vm;			/* NULL until one has arrived */
	int status;			/* exit status */
	bool quitting;			/* wait for the migration, then stop */

	char state_dir[PATH_MAX];	/* of migrations' records */

	/* leaving */
	struct migration_source *source;
	bool source_over;		/* its last notify was seen */
	struct migration_params params;	/* what migrate starts from */
	char *uri;			/* owned, of params */

	/* arriving */
	struct migration_destination *destination;
	bool arrived;
};

int instance_init(struct instance *inst, const struct run_config *config,
		  struct error *err) __must_check;
void instance_exit(struct instance *inst);

/* Build the VM of @tree into inst->vm. */
int instance_create_vm(struct instance *inst, const void *tree, bool incoming,
		       struct error *err) __must_check;
/* End the process with @status: at once, or when the migration is over. */
void instance_quit(struct instance *inst, int status);
/* The same, told to clients as QEMU's ShutdownCause @reason. */
void instance_quit_by_host(struct instance *inst, int status,
			   const char *reason);
/* The socket of the name that it has now. */
void instance_control_path(const struct instance *inst, char *buf,
			   size_t size);
/* What the control socket serves. */
struct qmp_server instance_server(struct instance *inst);

/* instance_migration.c */
int instance_migrate(struct instance *inst, const struct migration_params *p,
		     struct error *err) __must_check;
/* A migration away is under way. */
bool instance_is_leaving(const struct instance *inst);
/* The latest migration's figures; false if there was none. */
bool instance_migration_stats(struct instance *inst,
			      struct migration_stats *out);
int instance_listen(struct instance *inst, struct error *err) __must_check;
void instance_migration_exit(struct instance *inst);

/* monitor.c: a line that was typed behind Ctrl-A c */
void monitor_command(void *arg, const char *line);

#endif
