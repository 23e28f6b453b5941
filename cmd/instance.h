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

#include "cmd/confine.h"
#include "cmd/control.h"
#include "cmd/run_options.h"
#include "cmd/terminal.h"
#include "migration/destination.h"
#include "migration/snapshot.h"
#include "migration/source.h"
#include "migration/tls.h"
#include "vmm/vm.h"

struct instance {
	const struct run_config *config;
	char name[64];
	struct log log;
	struct loop loop;
	struct confine confine;
	struct loop_fd signals;
	struct control *control;
	struct terminal *terminal;	/* while a device holds it */
	struct vm *vm;			/* NULL until one has arrived */
	int status;			/* exit status */
	bool quitting;			/* wait for the migration, then stop */
	bool disk_found;		/* since that was looked at last */

	char state_dir[PATH_MAX];	/* of migrations' records */
	char state_inside[PATH_MAX];	/* as its --user finds it */

	/* leaving */
	struct migration_source *source;
	bool source_over;		/* its last notify was seen */
	struct migration_params params;	/* what migrate starts from */
	char *uri;			/* owned, of params */
	struct migration_forecast forecast;	/* of a dry run to uri */
	struct tls_credentials *tls_out;	/* owned, as the name */
	char *tls_name;

	struct snapshot_save *save;	/* NULL: a migration was the last job */
	bool save_over;

	/* arriving */
	struct migration_destination *destination;
	int userfault_fd;		/* for post-copy; -1: there is none */
	struct tls_credentials *tls_in;	/* owned */
	bool arrived;
	struct restore *restore;	/* instance_restore.c */
};

int instance_init(struct instance *inst, const struct run_config *config,
		  struct error *err) __must_check;
void instance_exit(struct instance *inst);

/* Build the VM of @tree into inst->vm; see struct vm_config. */
int instance_create_vm(struct instance *inst, const void *tree, bool incoming,
		       const struct vm_memory_file *memory, struct error *err)
	__must_check;
/* A VM that stopped for a disk goes on if one came back, unless it is being
 * moved: then when that is over. */
void instance_try_again(struct instance *inst);
/* End the process with @status: at once, or when the migration is over. */
void instance_quit(struct instance *inst, int status);
/* The same, told to clients as QEMU's ShutdownCause @reason. */
void instance_quit_by_host(struct instance *inst, int status,
			   const char *reason);
/* The socket of the name that it has now. */
void instance_control_path(const struct instance *inst, char *buf,
			   size_t size);
/* The directory of records, as it is called now. */
const char *instance_state_dir(struct instance *inst);
/* A path that was named by a command, as it is called now; NULL, and an error,
 * if it can't be reached any more. */
const char *instance_path(struct instance *inst, const char *path,
			  struct error *err);
/* What the control socket serves. */
struct qmp_server instance_server(struct instance *inst);

/* instance_migration.c */

/* How to talk to the other side; what is NULL or false is as `run` was told. */
struct instance_security {
	const char *tls;		/* see tls_credentials_load() */
	const char *tls_name;
	bool plain;
};

int instance_migrate(struct instance *inst, const struct migration_params *p,
		     const struct instance_security *security,
		     struct error *err) __must_check;
/* The link of a post-copy was lost: connect anew, to @uri or where it was. */
int instance_recover(struct instance *inst, const char *uri, struct error *err)
	__must_check;
/* Memory that the VM needs on the other side is here, and no link. */
bool instance_has_lost_link(const struct instance *inst);
/* Warn of that; @really: forget the memory, whoever needs it. */
void instance_leave_behind(struct instance *inst, bool really);
/* 0, or -EBUSY: memory that the VM needs is still on its way here (post-copy), or,
 * if @only_lost, waits for a link: whoever waits for the VM may wait long. */
int instance_check_whole(struct instance *inst, bool only_lost,
			 struct error *err) __must_check;
/* A migration away, or a save, is under way. */
bool instance_is_leaving(const struct instance *inst);
int instance_check_can_leave(struct instance *inst, struct error *err)
	__must_check;
/* Give that up; -EALREADY if it is too late. */
int instance_cancel(struct instance *inst, struct error *err) __must_check;
/* Take a job's notify to the loop's thread. Any thread. */
void instance_post(struct instance *inst, const struct migration_stats *stats,
		   void (*fn)(struct instance *inst,
			      const struct migration_stats *stats));
/* The event MIGRATION. */
void instance_tell_stage(struct instance *inst,
			 const struct migration_stats *stats);
/* The VM is elsewhere now: end, unless somebody still asks about it. */
void instance_left(struct instance *inst);
/* From now on it is known here by its own name, unless it was given one. */
void instance_take_name(struct instance *inst);
/* A migration's figures as JSON, with the VM's disks. */
json_t *instance_migration_report(const struct instance *inst,
				  const struct migration_stats *stats);
/* The latest job's figures; false if there was none. */
bool instance_migration_stats(struct instance *inst,
			      struct migration_stats *out);
int instance_listen(struct instance *inst, struct error *err) __must_check;
void instance_migration_exit(struct instance *inst);

/* instance_upgrade.c: send standard input, output and error to who listens at
 * @uri (unix:PATH), and tell what a process needs to take this one's place. */
int instance_hand_files(struct instance *inst, const char *uri,
			json_t **result, struct error *err) __must_check;

/* instance_save.c */
int instance_save(struct instance *inst, const char *path, bool keep,
		  struct error *err) __must_check;

/* instance_restore.c: from inst->config->restore */
int instance_restore(struct instance *inst, struct error *err) __must_check;
void instance_restore_exit(struct instance *inst);

/* monitor.c: a line that was typed behind Ctrl-A c */
void monitor_command(void *arg, const char *line);

#endif
