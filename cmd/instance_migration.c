/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The migration that an instance leaves or arrives by. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cmd/incoming.h"
#include "cmd/instance.h"
#include "cmd/qmp_commands.h"
#include "cmd/runtime.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

/* A notify on its way from the migration's thread to the loop's. */
struct notice {
	struct instance *inst;
	struct migration_stats stats;
	void (*fn)(struct instance *inst, const struct migration_stats *stats);
};

static void deliver(void *arg)
{
	struct notice *n = arg;

	n->fn(n->inst, &n->stats);
}

static void deliver_and_free(void *arg)
{
	deliver(arg);
	free(arg);
}

/* Posted rather than called: the pause must not wait for the loop. */
void instance_post(struct instance *inst, const struct migration_stats *stats,
		   void (*fn)(struct instance *inst,
			      const struct migration_stats *stats))
{
	struct notice now = { .inst = inst, .stats = *stats, .fn = fn };
	struct notice *later = malloc(sizeof(*later));

	if (!later) {
		loop_call(&inst->loop, deliver, &now);
		return;
	}
	*later = now;
	loop_post(&inst->loop, deliver_and_free, later);
}

json_t *instance_migration_report(const struct instance *inst,
				  const struct migration_stats *stats)
{
	json_t *report = qmp_migration_report(stats);

	if (inst->vm)
		qmp_migration_disks(report, inst->vm->tree);
	return report;
}

void instance_tell_stage(struct instance *inst,
			 const struct migration_stats *stats)
{
	json_t *data = json_pack("{s:s, s:s}", "status",
				 qmp_migration_status(stats), "x-stage",
				 migration_stage_name(stats->stage));

	if (stats->outcome != MIGRATION_GOING_ON)
		json_object_set_new(data, "x-report",
				    instance_migration_report(inst, stats));
	control_event(inst->control, "MIGRATION", data);
	json_decref(data);
}

/* -- leaving */

static void tell(struct instance *inst, const struct migration_stats *stats)
{
	if (stats->outcome == MIGRATION_COMPLETED)
		log_info(&inst->log, "moved to %s, pause %llu us", inst->uri,
			 (unsigned long long)stats->downtime_us);
	else
		log_warn(&inst->log, "migration to %s: %s: %s", inst->uri,
			 migration_outcome_name(stats->outcome),
			 stats->error.msg);
}

static void source_notice(struct instance *inst,
			  const struct migration_stats *stats)
{
	bool over = stats->outcome != MIGRATION_GOING_ON;

	log_info(&inst->log, "migration: %s",
		 migration_stage_name(stats->stage));
	if (!over && stats->postcopy.link == MIGRATION_LINK_LOST)
		log_warn(&inst->log, "post-copy: the link was lost, and the VM waits at %s for memory that is here: `godwit migrate --recover %s` goes on: %s",
			 inst->uri, inst->name, stats->postcopy.lost.msg);
	if (over) {
		tell(inst, stats);
		inst->source_over = true;
		inst->forecast = stats->forecast;
	}
	instance_tell_stage(inst, stats);
	if (!over)
		return;
	instance_try_again(inst);
	if (inst->quitting)
		instance_quit(inst, inst->status);
	else if (stats->outcome == MIGRATION_COMPLETED)
		instance_left(inst);
}

void instance_left(struct instance *inst)
{
	if (!control_clients(inst->control))
		instance_quit(inst, 0);
}

static void on_source(void *arg, const struct migration_stats *stats)
{
	instance_post(arg, stats, source_notice);
}

bool instance_is_leaving(const struct instance *inst)
{
	return (inst->source && !inst->source_over) ||
	       (inst->save && !inst->save_over);
}

int instance_cancel(struct instance *inst, struct error *err)
{
	if (!inst->save)
		return migration_source_cancel(inst->source, err);
	snapshot_save_cancel(inst->save);
	return 0;
}

bool instance_migration_stats(struct instance *inst,
			      struct migration_stats *out)
{
	if (inst->save)
		snapshot_save_stats(inst->save, out);
	else if (inst->source)
		migration_source_stats(inst->source, out);
	else if (inst->destination)
		migration_destination_stats(inst->destination, out);
	return inst->save || inst->source || inst->destination;
}

int instance_check_whole(struct instance *inst, bool only_lost,
			 struct error *err)
{
	struct migration_stats stats;
	bool lost;

	if (!inst->destination)
		return 0;
	migration_destination_stats(inst->destination, &stats);
	lost = stats.postcopy.link != MIGRATION_LINK_UP;
	if (stats.stage != MIGRATION_STAGE_POSTCOPY || (only_lost && !lost))
		return 0;
	return error_set(err, EBUSY, "%llu MiB of the VM's memory are still to come (post-copy%s)",
			 (unsigned long long)(stats.memory_remaining / MIB + 1),
			 !lost ? "" : ", and the link is lost: migrate --recover on the other side");
}

bool instance_has_lost_link(const struct instance *inst)
{
	struct migration_stats stats;

	if (!inst->source || inst->source_over)
		return false;
	migration_source_stats(inst->source, &stats);
	return stats.postcopy.link == MIGRATION_LINK_LOST;
}

void instance_leave_behind(struct instance *inst, bool really)
{
	if (really)
		migration_source_give_up(inst->source);
	else
		log_warn(&inst->log, "the VM runs on %s and needs memory that is here: migrate --recover; or quit once more to let it die",
			 inst->uri);
}

int instance_recover(struct instance *inst, const char *uri, struct error *err)
{
	int ret;

	if (!inst->source)
		return error_set(err, EINVAL, "nothing to recover: this VM is not being moved");
	ret = migration_source_recover(inst->source, uri, err);
	if (ret == 0)
		inst->source_over = false;
	if (ret == 0 && uri) {
		char *copy = strdup(uri);

		free(inst->uri);
		inst->uri = copy;
	}
	return ret;
}

int instance_check_can_leave(struct instance *inst, struct error *err)
{
	enum vm_state state;

	if (!inst->vm)
		return error_set(err, EAGAIN, "no VM has arrived here yet");
	state = vm_get_state(inst->vm);
	if (instance_is_leaving(inst))
		return error_set(err, EBUSY, "a migration or a save is under way already");
	if (state != VM_RUNNING && state != VM_PAUSED && state != VM_IO_ERROR)
		return error_set(err, EBUSY, "the VM is in state %s; only a running or paused one can be moved",
				 vm_state_name(state));
	return instance_check_whole(inst, false, err);
}

static void forget_last(struct instance *inst)
{
	migration_source_destroy(inst->source);
	snapshot_save_destroy(inst->save);
	tls_credentials_free(inst->tls_out);
	free(inst->tls_name);
	free(inst->uri);
	inst->source = NULL;
	inst->save = NULL;
	inst->source_over = false;
	inst->tls_out = NULL;
	inst->tls_name = inst->uri = NULL;
}

/* From now on the heap holds keys: a core file has no memory (core(5)). Guest
 * memory never is in one. */
static void keep_secrets(void)
{
	static const char headers_alone[] = "0x10";
	int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, headers_alone, strlen(headers_alone));
	fd_close(&fd);
}

/* Read anew each time: certificates expire before VMs do. */
static int load_security(struct instance *inst,
			 const struct instance_security *words,
			 struct channel_security *out, struct error *err)
{
	const char *tls = words->tls;
	int ret;

	if (!tls && !words->plain)
		tls = inst->config->tls;
	out->plain = words->plain || (!tls && inst->config->plain);
	if (words->tls && words->plain)
		return error_set(err, EINVAL, "either TLS or plain TCP, not both");
	if (!tls)
		return 0;
	keep_secrets();
	ret = tls_credentials_load(&inst->tls_out, tls, TLS_CLIENT, err);
	out->tls = inst->tls_out;
	if (ret == 0 && words->tls_name) {
		inst->tls_name = strdup(words->tls_name);
		out->tls_name = inst->tls_name;
	}
	return ret;
}

/* @uri as this process can reach it now; owned by the caller. */
static char *reachable(struct instance *inst, const char *uri,
		       struct error *err)
{
	const char *path = NULL;
	char *out = NULL;

	if (!strncmp(uri, "unix:", 5)) {
		path = instance_path(inst, uri + 5, err);
		if (!path)
			return NULL;
	}
	if (asprintf(&out, "%s%s", path ? "unix:" : "", path ? path : uri) < 0)
		error_set(err, ENOMEM, "no memory");
	return err->code ? NULL : out;
}

int instance_migrate(struct instance *inst, const struct migration_params *p,
		     const struct instance_security *security,
		     struct error *err)
{
	struct migration_source_config cfg = {
		.vm = inst->vm, .params = *p, .notify = on_source, .arg = inst,
		.record_dir = instance_state_dir(inst),
	};
	int ret = instance_check_can_leave(inst, err);

	if (!ret && !inst->confine.user.on)
		ret = runtime_make_state_dir(err);
	if (ret)
		return ret;
	if (inst->uri && !p->dry_run && !strcmp(p->uri, inst->uri) &&
	    inst->forecast.by == MIGRATION_BY_DRY_RUN)
		cfg.forecast = inst->forecast;
	forget_last(inst);
	inst->uri = reachable(inst, p->uri, err);
	if (!inst->uri)
		return -err->code;
	cfg.params.uri = inst->uri;
	ret = load_security(inst, security, &cfg.params.security, err);
	if (ret)
		return ret;
	return migration_source_start(&inst->source, &cfg, err);
}

/* -- arriving */

struct build_call {
	struct instance *inst;
	const void *tree;
	size_t len;
	const struct vm_memory_file *memory;
	struct error *err;
	int ret;
};

static void do_build(void *arg)
{
	struct build_call *b = arg;
	void *tree = NULL;

	/* from now on the source decides, not who started this process */
	prctl(PR_SET_PDEATHSIG, 0);
	b->ret = incoming_localize(b->inst->config, b->tree, b->len, &tree,
				   b->err);
	if (!b->ret)
		b->ret = instance_create_vm(b->inst, tree, true, b->memory,
					    b->err);
	free(tree);
}

static int on_build(void *arg, const void *tree, size_t len,
		    const struct vm_memory_file *memory, struct vm **vm,
		    struct error *err)
{
	struct instance *inst = arg;
	struct build_call b = {
		.inst = inst, .tree = tree, .len = len, .memory = memory,
		.err = err,
	};

	loop_call(&inst->loop, do_build, &b);
	if (!b.ret)
		*vm = inst->vm;
	return b.ret;
}

static void do_destroy(void *arg)
{
	struct instance *inst = arg;

	vm_destroy(inst->vm);
	inst->vm = NULL;
}

static void on_destroy(void *arg, struct vm *vm)
{
	struct instance *inst = arg;

	loop_call(&inst->loop, do_destroy, inst);
}

void instance_take_name(struct instance *inst)
{
	char path[PATH_MAX];
	struct error err = ERROR_INIT;

	if (inst->config->name)
		return;
	snprintf(inst->name, sizeof(inst->name), "%s", inst->vm->name);
	snprintf(inst->log.name, sizeof(inst->log.name), "%s", inst->name);
	if (inst->config->control || strchr(inst->name, '/'))
		return;
	instance_control_path(inst, path, sizeof(path));
	if (control_rename(inst->control, path, &err))
		log_warn(&inst->log, "%s; still reached by %s", err.msg,
			 control_path(inst->control));
}

/* The process that the VM comes from ends, and leaves its name to this one. */
static void take_over(struct instance *inst)
{
	struct error err = ERROR_INIT;

	if (control_take(inst->control, inst->config->take_over, &err))
		log_warn(&inst->log, "%s; still reached by %s", err.msg,
			 control_path(inst->control));
}

static void destination_notice(struct instance *inst,
			       const struct migration_stats *stats)
{
	log_info(&inst->log, "incoming migration: %s",
		 migration_stage_name(stats->stage));
	if ((stats->outcome == MIGRATION_COMPLETED ||
	     stats->stage == MIGRATION_STAGE_POSTCOPY) && !inst->arrived) {
		inst->arrived = true;
		instance_take_name(inst);
		if (inst->config->take_over)
			take_over(inst);
		log_info(&inst->log, "arrived and running");
	}
	instance_tell_stage(inst, stats);
	if (stats->outcome == MIGRATION_FAILED && inst->config->take_over)
		instance_quit(inst, 1);
}

static void on_destination(void *arg, const struct migration_stats *stats)
{
	instance_post(arg, stats, destination_notice);
}

int instance_listen(struct instance *inst, struct error *err)
{
	struct migration_destination_config cfg = {
		.uri = inst->config->incoming,
		.security = {
			.allow = &inst->config->allow,
			.plain = inst->config->plain,
		},
		.log = inst->log,
		.record_dir = inst->state_dir,
		.once = inst->config->take_over,
		.build = on_build,
		.destroy = on_destroy,
		.userfault_fd = inst->userfault_fd,
		.notify = on_destination,
		.arg = inst,
	};
	int ret = inst->confine.user.on ? 0 : runtime_make_state_dir(err);

	if (!ret && inst->config->tls) {
		keep_secrets();
		ret = tls_credentials_load(&inst->tls_in, inst->config->tls,
					   TLS_SERVER, err);
		cfg.security.tls = inst->tls_in;
	}
	if (!ret)
		ret = migration_destination_start(&inst->destination, &cfg,
						  err);
	if (!ret)
		log_info(&inst->log, "waiting for a VM at %s",
			 migration_destination_uri(inst->destination));
	return ret;
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

void instance_migration_exit(struct instance *inst)
{
	migration_source_destroy(inst->source);
	migration_destination_destroy(inst->destination);
	snapshot_save_destroy(inst->save);
	inst->save = NULL;
	inst->source = NULL;
	inst->destination = NULL;
	tls_credentials_free(inst->tls_in);
	inst->tls_in = NULL;
	/* their last words may still wait for the loop, which has ended */
	loop_post(&inst->loop, stop_loop, &inst->loop);
	loop_run(&inst->loop);
	forget_last(inst);
}
