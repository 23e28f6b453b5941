/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM of an instance, saved to a file while it runs. */
#include "cmd/instance.h"

static void tell(struct instance *inst, const struct migration_stats *stats)
{
	if (stats->outcome == MIGRATION_COMPLETED)
		log_info(&inst->log, "saved, pause %llu us",
			 (unsigned long long)stats->downtime_us);
	else
		log_warn(&inst->log, "save: %s: %s",
			 migration_outcome_name(stats->outcome),
			 stats->error.msg);
}

static void save_notice(struct instance *inst,
			const struct migration_stats *stats)
{
	bool over = stats->outcome != MIGRATION_GOING_ON;

	if (over) {
		tell(inst, stats);
		inst->save_over = true;
		instance_try_again(inst);
	}
	instance_tell_stage(inst, stats);
	if (!over)
		return;
	if (inst->quitting)
		instance_quit(inst, inst->status);
	else if (vm_get_state(inst->vm) == VM_POSTMIGRATE)
		instance_left(inst);
}

static void on_save(void *arg, const struct migration_stats *stats)
{
	instance_post(arg, stats, save_notice);
}

int instance_save(struct instance *inst, const char *path, bool keep,
		  struct error *err)
{
	struct snapshot_save_config cfg = {
		.vm = inst->vm, .path = path, .keep = keep,
		.downtime_ms = inst->params.downtime_ms,
		.notify = on_save, .arg = inst,
	};
	int ret = instance_check_can_leave(inst, err);

	if (ret)
		return ret;
	cfg.path = instance_path(inst, path, err);
	if (!cfg.path)
		return -err->code;
	snapshot_save_destroy(inst->save);
	inst->save = NULL;
	inst->save_over = false;
	return snapshot_save_start(&inst->save, &cfg, err);
}
