/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about migration, in QEMU's names and units where it has them. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/instance.h"
#include "cmd/qmp_commands.h"
#include "vmm/base/util.h"

#define MAX_MS 2000000ull

/* Numbers and switches, in QEMU's words where it has them. */
struct param {
	const char *name;
	uint64_t max;		/* of a number */
	size_t offset, size;	/* of the member of migration_params; 1: bool */
};

#define PARAM(member) offsetof(struct migration_params, member), \
	sizeof(((struct migration_params *)0)->member)

static const struct param table[] = {
	{ "downtime-limit", MAX_MS, PARAM(downtime_ms) },
	{ "downtime-ramp", MAX_MS / 1000, PARAM(ramp_s) },
	{ "max-pause", MAX_MS, PARAM(max_pause_ms) },
	{ "max-bandwidth", INT64_MAX, PARAM(bandwidth) },
	{ "multifd-channels", MIGRATION_MAX_CHANNELS, PARAM(channels) },
	{ "channels", MIGRATION_MAX_CHANNELS, PARAM(channels) },
	{ "timeout", UINT32_MAX, PARAM(timeout_s) },
	{ "x-ask-seconds", MAX_MS / 1000, PARAM(resolve_s) },
	{ "auto-converge", 0, PARAM(auto_converge) },
	{ "x-postcopy", 0, PARAM(postcopy) },
};

static uint64_t get_number(const struct param *row, const void *at)
{
	return row->size == sizeof(uint64_t) ? *(const uint64_t *)at :
					       *(const uint32_t *)at;
}

static json_t *tell_param(const struct migration_params *p,
			  const struct param *row)
{
	const char *at = (const char *)p + row->offset;

	return row->size == sizeof(bool) ? json_boolean(*(const bool *)at) :
	       json_integer((json_int_t)get_number(row, at));
}

static int read_param(json_t *args, const struct param *row,
		      struct migration_params *p, struct error *err)
{
	char *at = (char *)p + row->offset;
	uint64_t value;
	int ret;

	if (row->size == sizeof(bool))
		return qmp_arg_bool(args, row->name, (bool *)at, err);
	value = get_number(row, at);
	ret = qmp_arg_u64(args, row->name, row->max, &value, err);
	if (row->size == sizeof(uint64_t))
		*(uint64_t *)at = value;
	else
		*(uint32_t *)at = (uint32_t)value;
	return ret;
}

static int read_on_timeout(json_t *args, enum policy_timeout *out,
			   struct error *err)
{
	const char *word = NULL;
	int ret = qmp_arg_string(args, "on-timeout", &word, err);

	if (ret || !word)
		return ret;
	if (!strcmp(word, "abort"))
		*out = POLICY_ABORT;
	else if (!strcmp(word, "pause"))
		*out = POLICY_PAUSE;
	else if (!strcmp(word, "postcopy"))
		*out = POLICY_POSTCOPY;
	else
		ret = error_set(err, EINVAL, "argument 'on-timeout': accepted: abort, pause, postcopy");
	return ret;
}

/* "zstd" or "none", as QEMU's multifd-compression. */
static int read_compress(json_t *args, struct migration_params *p,
			 struct error *err)
{
	static const char *const names[] = { "compress", "multifd-compression" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *word = NULL;
		int ret = qmp_arg_string(args, names[i], &word, err);

		if (ret)
			return ret;
		if (word && strcmp(word, "zstd") && strcmp(word, "none"))
			return error_set(err, EINVAL, "argument '%s': accepted: zstd, none",
					 names[i]);
		if (word)
			p->compress = !strcmp(word, "zstd");
	}
	return 0;
}

static int read_params(json_t *args, struct migration_params *p,
		       struct error *err)
{
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(table) && !ret; i++)
		ret = read_param(args, &table[i], p, err);
	if (!ret)
		ret = read_on_timeout(args, &p->on_timeout, err);
	return ret ? ret : read_compress(args, p, err);
}

#define PARAMS "downtime-limit", "downtime-ramp", "max-pause", \
	"max-bandwidth", "channels", "multifd-channels", "timeout", \
	"on-timeout", "auto-converge", "x-postcopy", "x-ask-seconds", \
	"compress", "multifd-compression"

/* QEMU's "blk" is all disks. */
static int read_disks(json_t *args, struct migration_params *p,
		      struct error *err)
{
	bool all = false;
	int ret = qmp_arg_bool(args, "blk", &all, err);

	if (all)
		p->copy_disks = "all";
	if (!ret)
		ret = qmp_arg_string(args, "copy-disk", &p->copy_disks, err);
	return ret ? ret : qmp_arg_bool(args, "verify", &p->verify, err);
}

static int read_security(json_t *args, struct instance_security *s,
			 struct error *err)
{
	int ret = qmp_arg_string(args, "x-tls", &s->tls, err);

	if (!ret)
		ret = qmp_arg_string(args, "tls-hostname", &s->tls_name, err);
	return ret ? ret : qmp_arg_bool(args, "x-plain", &s->plain, err);
}

static int migrate(void *arg, json_t *args, json_t **result,
		   struct error *err)
{
	static const char *const known[] = {
		"uri", PARAMS, "tls-hostname", "x-tls", "x-plain", "x-dry-run",
		"blk", "copy-disk", "verify", "x-local", "resume",
		/* QEMU's, which ask for nothing here */
		"inc", "detach", NULL
	};
	bool resume = false;
	struct instance *inst = arg;
	struct migration_params p = inst->params;
	struct instance_security security = { .tls = NULL };
	int ret = qmp_arg_known(args, known, err);

	p.uri = NULL;
	if (!ret)
		ret = read_disks(args, &p, err);
	if (!ret)
		ret = read_security(args, &security, err);
	if (!ret)
		ret = qmp_arg_string(args, "uri", &p.uri, err);
	if (!ret)
		ret = qmp_arg_bool(args, "resume", &resume, err);
	if (!ret && resume)
		return instance_recover(inst, p.uri, err);
	if (!ret && !p.uri)
		ret = error_set(err, EINVAL, "argument 'uri': missing; accepted: tcp:HOST:PORT, unix:PATH");
	if (!ret)
		ret = read_params(args, &p, err);
	if (!ret)
		ret = qmp_arg_bool(args, "x-dry-run", &p.dry_run, err);
	if (!ret)
		ret = qmp_arg_bool(args, "x-local", &p.local, err);
	return ret ? ret : instance_migrate(inst, &p, &security, err);
}

static int start_postcopy(void *arg, json_t *args, json_t **result,
			  struct error *err)
{
	struct instance *inst = arg;

	if (!inst->source || inst->source_over)
		return error_set(err, EINVAL, "no migration is under way");
	return migration_source_switch(inst->source, err);
}

static int set_parameters(void *arg, json_t *args, json_t **result,
			  struct error *err)
{
	static const char *const known[] = { PARAMS, NULL };
	struct instance *inst = arg;
	struct migration_params p = inst->params;
	int ret = qmp_arg_known(args, known, err);

	if (!ret)
		ret = read_params(args, &p, err);
	if (!ret)
		inst->params = p;
	return ret;
}

static int query_parameters(void *arg, json_t *args, json_t **result,
			    struct error *err)
{
	struct instance *inst = arg;
	const struct migration_params *p = &inst->params;

	*result = json_pack("{s:s, s:s}", "multifd-compression",
			    p->compress ? "zstd" : "none", "on-timeout",
			    p->on_timeout == POLICY_PAUSE ? "pause" :
			    p->on_timeout == POLICY_POSTCOPY ? "postcopy" :
			    "abort");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		json_object_set_new(*result, table[i].name,
				    tell_param(p, &table[i]));
	return 0;
}

/* QEMU's way to ask for auto-converge; post-copy needs no leave beforehand, the
 * other capabilities are not ours. */
static int set_capability(json_t *want, struct migration_params *p,
			  struct error *err)
{
	const char *name = "";
	bool on = false;
	int ret = qmp_arg_string(want, "capability", &name, err);

	if (!ret)
		ret = qmp_arg_bool(want, "state", &on, err);
	if (!ret && strcmp(name, "auto-converge") &&
	    strcmp(name, "postcopy-ram") && on)
		ret = error_set(err, EINVAL, "capability '%.64s': accepted: auto-converge, postcopy-ram",
				name);
	if (!ret && !strcmp(name, "auto-converge"))
		p->auto_converge = on;
	return ret;
}

static int set_capabilities(void *arg, json_t *args, json_t **result,
			    struct error *err)
{
	struct instance *inst = arg;
	struct migration_params p = inst->params;
	json_t *list = json_object_get(args, "capabilities"), *want;
	int ret = 0;
	size_t i;

	if (!json_is_array(list))
		ret = error_set(err, EINVAL, "argument 'capabilities': accepted: a list");
	json_array_foreach(list, i, want)
		if (!ret)
			ret = set_capability(want, &p, err);
	if (!ret)
		inst->params = p;
	return ret;
}

static int query_capabilities(void *arg, json_t *args, json_t **result,
			      struct error *err)
{
	struct instance *inst = arg;

	*result = json_pack("[{s:s, s:b}]", "capability", "auto-converge",
			    "state", (int)inst->params.auto_converge);
	return 0;
}

static int cancel(void *arg, json_t *args, json_t **result,
		  struct error *err)
{
	struct instance *inst = arg;

	if (!instance_is_leaving(inst))	/* no error in QEMU either */
		return 0;
	return instance_cancel(inst, err);
}

static int save(void *arg, json_t *args, json_t **result, struct error *err)
{
	static const char *const known[] = { "file", "keep", NULL };
	const char *file = NULL;
	int ret = qmp_arg_known(args, known, err);

	if (!ret)
		ret = qmp_arg_string(args, "file", &file, err);
	if (!ret && !file)
		ret = error_set(err, EINVAL, "argument 'file': missing; accepted: a path");
	return ret ? ret : instance_save(arg, file, json_is_true(
					json_object_get(args, "keep")), err);
}

static int hand_files(void *arg, json_t *args, json_t **result,
		      struct error *err)
{
	static const char *const known[] = { "uri", NULL };
	const char *uri = NULL;
	int ret = qmp_arg_known(args, known, err);

	if (!ret)
		ret = qmp_arg_string(args, "uri", &uri, err);
	if (!ret && !uri)
		ret = error_set(err, EINVAL, "argument 'uri': missing; accepted: unix:PATH");
	return ret ? ret : instance_hand_files(arg, uri, result, err);
}

static int query_migrate(void *arg, json_t *args, json_t **result,
			 struct error *err)
{
	struct migration_stats stats;

	if (instance_migration_stats(arg, &stats))
		*result = instance_migration_report(arg, &stats);
	return 0;
}

const struct qmp_command qmp_migration_commands[QMP_MIGRATION_COMMANDS] = {
	{ "migrate", "uri, downtime-limit (ms), max-pause (ms), max-bandwidth (bytes/s, 0 = unlimited), channels (0: by CPUs), timeout (s), on-timeout (abort, pause, postcopy), auto-converge, x-postcopy (when rounds do not help), downtime-ramp (s), copy-disk (ids or \"all\"), verify, compress (zstd, none), x-tls (as --tls), tls-hostname, x-plain (plain TCP), x-dry-run (measure alone), x-local (to a process on this host): move the VM there; resume: post-copy lost its link, connect again",
	  migrate },
	{ "migrate_cancel", "Give up the migration or save; the VM runs on here",
	  cancel },
	{ "migrate-start-postcopy", "Start the VM there as soon as may be, its memory follows",
	  start_postcopy },
	{ "migrate-set-parameters", "The same but uri: defaults for migrate",
	  set_parameters },
	{ "query-migrate-parameters", "Those defaults", query_parameters },
	{ "migrate-set-capabilities", "capabilities: a list of {capability: auto-converge, state}",
	  set_capabilities },
	{ "query-migrate-capabilities", "As they were set", query_capabilities },
	{ "x-save", "file, keep: save the VM there, and end it unless keep", save },
	{ "x-hand-files", "uri (unix:PATH): send standard input, output and error there, and tell what `godwit upgrade` needs", hand_files },
	{ "query-migrate", "Figures of the migration under way, or of the last one",
	  query_migrate },
};
