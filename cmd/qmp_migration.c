/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about migration, in QEMU's names and units where it has them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/instance.h"
#include "cmd/qmp_commands.h"

#define MAX_MS 2000000ull

/* Its own words of the same meaning: QEMU's, then ours. */
static int read_params(json_t *args, struct migration_params *p,
		       struct error *err)
{
	uint64_t downtime = p->downtime_ms, pause = p->max_pause_ms;
	uint64_t channels = p->channels, timeout = p->timeout_s;
	uint64_t ask = p->resolve_s;
	int ret = qmp_arg_u64(args, "downtime-limit", MAX_MS, &downtime, err);

	if (!ret)
		ret = qmp_arg_u64(args, "max-pause", MAX_MS, &pause, err);
	if (!ret)
		ret = qmp_arg_u64(args, "max-bandwidth", INT64_MAX,
				  &p->bandwidth, err);
	if (!ret)
		ret = qmp_arg_u64(args, "multifd-channels",
				  MIGRATION_MAX_CHANNELS, &channels, err);
	if (!ret)
		ret = qmp_arg_u64(args, "channels", MIGRATION_MAX_CHANNELS,
				  &channels, err);
	if (!ret)
		ret = qmp_arg_u64(args, "timeout", UINT32_MAX, &timeout, err);
	if (!ret)
		ret = qmp_arg_u64(args, "x-ask-seconds", MAX_MS / 1000, &ask,
				  err);
	if (!ret && !channels)
		ret = error_set(err, EINVAL, "argument 'channels': accepted: 1 to %d",
				MIGRATION_MAX_CHANNELS);
	p->downtime_ms = (uint32_t)downtime;
	p->max_pause_ms = (uint32_t)pause;
	p->channels = (unsigned int)channels;
	p->timeout_s = (uint32_t)timeout;
	p->resolve_s = (uint32_t)ask;
	return ret;
}

static int migrate(void *arg, json_t *args, json_t **result,
		   struct error *err)
{
	static const char *const known[] = {
		"uri", "downtime-limit", "max-pause", "max-bandwidth",
		"channels", "multifd-channels", "timeout", "x-ask-seconds",
		"tls-hostname", "x-tls", "x-plain",
		/* QEMU's, which ask for nothing here */
		"blk", "inc", "detach", "resume", NULL
	};
	struct instance *inst = arg;
	struct migration_params p = inst->params;
	struct instance_security security = { .tls = NULL };
	int ret = qmp_arg_known(args, known, err);

	p.uri = NULL;
	if (!ret)
		ret = qmp_arg_string(args, "x-tls", &security.tls, err);
	if (!ret)
		ret = qmp_arg_string(args, "tls-hostname", &security.tls_name,
				     err);
	if (!ret)
		ret = qmp_arg_bool(args, "x-plain", &security.plain, err);
	if (!ret)
		ret = qmp_arg_string(args, "uri", &p.uri, err);
	if (!ret && !p.uri)
		ret = error_set(err, EINVAL, "argument 'uri': missing; accepted: tcp:HOST:PORT, unix:PATH");
	if (!ret)
		ret = read_params(args, &p, err);
	return ret ? ret : instance_migrate(inst, &p, &security, err);
}

static int set_parameters(void *arg, json_t *args, json_t **result,
			  struct error *err)
{
	static const char *const known[] = {
		"downtime-limit", "max-pause", "max-bandwidth", "channels",
		"multifd-channels", "timeout", "x-ask-seconds", NULL
	};
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

	*result = json_pack("{s:I, s:I, s:I, s:i, s:I, s:I}",
			    "downtime-limit", (json_int_t)p->downtime_ms,
			    "max-pause", (json_int_t)p->max_pause_ms,
			    "max-bandwidth", (json_int_t)p->bandwidth,
			    "multifd-channels", (int)p->channels,
			    "timeout", (json_int_t)p->timeout_s,
			    "x-ask-seconds", (json_int_t)p->resolve_s);
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

static int query_migrate(void *arg, json_t *args, json_t **result,
			 struct error *err)
{
	struct migration_stats stats;

	if (instance_migration_stats(arg, &stats))
		*result = instance_migration_report(arg, &stats);
	return 0;
}

const struct qmp_command qmp_migration_commands[QMP_MIGRATION_COMMANDS] = {
	{ "migrate", "uri, downtime-limit (ms), max-pause (ms), max-bandwidth (bytes/s, 0 = unlimited), channels, timeout (s), x-tls (as --tls), tls-hostname, x-plain (plain TCP): move the VM there",
	  migrate },
	{ "migrate_cancel", "Give up the migration or save; the VM runs on here",
	  cancel },
	{ "migrate-set-parameters", "downtime-limit, max-pause, max-bandwidth, multifd-channels, timeout: defaults for migrate",
	  set_parameters },
	{ "query-migrate-parameters", "Those defaults", query_parameters },
	{ "x-save", "file, keep: save the VM there, and end it unless keep", save },
	{ "query-migrate", "Figures of the migration under way, or of the last one",
	  query_migrate },
};
