/* SPDX-License-Identifier: GPL-2.0-or-later */
/* godwit migrate: start it, watch it, tell how it went. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/client.h"
#include "cmd/commands.h"
#include "cmd/migrate_report.h"
#include "cmd/watch.h"
#include "migration/source.h"

struct migrate_config {
	uint32_t downtime_ms, max_pause_ms, channels, timeout_s, ramp_s;
	uint64_t bandwidth;
	const char *tls, *tls_name, *on_timeout;
	bool plain, auto_converge, dry_run, postcopy, recover, local;
	const char *copy_disks;
	const char *compress;
	bool json, quiet, verify;
};

#define FIELD(member) .offset = offsetof(struct migrate_config, member)

static int option_on_timeout(const struct option_spec *spec, void *field,
			     const char *value, struct error *err)
{
	if (strcmp(value, "abort") && strcmp(value, "pause") &&
	    strcmp(value, "postcopy"))
		return error_set(err, EINVAL, "not known");
	*(const char **)field = value;
	return 0;
}

static int option_compress(const struct option_spec *spec, void *field,
			   const char *value, struct error *err)
{
	/* left out, it arrives as "on" */
	if (strcmp(value, "zstd") && strcmp(value, "on") && strcmp(value, "off"))
		return error_set(err, EINVAL, "not known");
	*(const char **)field = strcmp(value, "off") ? "zstd" : "none";
	return 0;
}

/* 0 for auto */
static int option_channels(const struct option_spec *spec, void *field,
			   const char *value, struct error *err)
{
	if (strcmp(value, "auto"))
		return option_u32(spec, field, value, err);
	*(uint32_t *)field = 0;
	return 0;
}

static const struct option_spec options[] = {
	{ "downtime", "MS", "Stop the guest when the pause is expected to be\n"
	  "shorter than this (default 300)",
	  .parse = option_u32, .min = 1, .max = 2000000, FIELD(downtime_ms) },
	{ "max-pause", "MS", "Hard cap: a longer pause fails the migration, and\n"
	  "the guest runs on here (default 500)",
	  .parse = option_u32, .min = 1, .max = 2000000,
	  FIELD(max_pause_ms) },
	{ "bandwidth", "RATE", "Bytes a second, or with suffix K, M, G\n"
	  "(default 0: no limit)",
	  .parse = option_size, .unit = 1, FIELD(bandwidth) },
	{ "channels", "N|auto", "Connections for memory, 1 to 16 (default auto: as\n"
	  "many as suit the CPUs of both sides, up to 4)",
	  .parse = option_channels, .min = 1, .max = MIGRATION_MAX_CHANNELS,
	  FIELD(channels) },
	{ "timeout", "SECONDS", "Time for all before the pause (default 0: until 30\n"
	  "rounds in a row don't shrink)",
	  .parse = option_u32, FIELD(timeout_s) },
	{ "on-timeout", "abort|pause|postcopy", "Then: let the guest go on here (default), stop\n"
	  "it until it is there, however long that is, or let it run\n"
	  "there while its memory follows",
	  .parse = option_on_timeout, FIELD(on_timeout) },
	{ "compress", "zstd|off", "Compress memory, as hard as it pays: each connection\n"
	  "looks whether CPU or link is what it waits for\n"
	  "(default off)", .may_omit = true, .parse = option_compress,
	  FIELD(compress) },
	{ "tls", "DIR|psk=FILE[,id=NAME]",
	  "By TLS: certificates in DIR, or a key of FILE\n"
	  "(default: as `godwit run` was told)",
	  .parse = option_string, FIELD(tls) },
	{ "tls-name", "NAME", "Whose certificate is expected there (default: the\n"
	  "host of the URI)", .parse = option_string, FIELD(tls_name) },
	{ "plain", NULL, "By plain TCP: on a network that you trust",
	  .parse = option_bool, FIELD(plain) },
	{ "auto-converge", NULL, "Slow down a guest that writes faster than the\n"
	  "network carries: 20 %, then 10 % more, up to 99 %",
	  .parse = option_bool, FIELD(auto_converge) },
	{ "postcopy", NULL, "When rounds no longer halve what is left, let the guest\n"
	  "run there while the rest of its memory follows: if\n"
	  "either side dies meanwhile, the VM is lost. Without URI:\n"
	  "let the migration that is under way do that now",
	  .parse = option_bool, FIELD(postcopy) },
	{ "recover", NULL, "The link was lost while memory followed: connect again\n"
	  "(to URI, or where it was) and go on",
	  .parse = option_bool, FIELD(recover) },
	{ "downtime-ramp", "SECONDS", "Ask for a tenth of --downtime first, and for all\n"
	  "of it after this time (default 0: at once)",
	  .parse = option_u32, .max = 2000000, FIELD(ramp_s) },
	{ "copy-disk", "ID[,ID...]|all", "Copy these disks along, to what stands behind their\n"
	  "ids over there; else both sides reach the same disk",
	  .parse = option_string, FIELD(copy_disks) },
	{ "verify", NULL, "Read copied disks back and compare, before the pause",
	  .parse = option_bool, FIELD(verify) },
	{ "dry-run", NULL, "Move nothing: say whether it would go, how long it\n"
	  "would take and what it would need, or all reasons\n"
	  "against it", .parse = option_bool, FIELD(dry_run) },
	{ "local", NULL, "To a process on this host, by unix:PATH: memory that is\n"
	  "shared (run --memory SIZE,shared=on) is handed over,\n"
	  "other memory copied",
	  .parse = option_bool, FIELD(local) },
	{ "json", NULL, "The report as JSON on standard output",
	  .parse = option_bool, FIELD(json) },
	{ "quiet", NULL, "No stages and no progress",
	  .parse = option_bool, FIELD(quiet) },
};

/* The VM's process opens the files, and has a directory of its own. */
static const char *absolute(const char *tls, char buf[2 * PATH_MAX])
{
	size_t prefix = strncmp(tls, "psk=", 4) ? 0 : 4;
	char dir[PATH_MAX];

	if (tls[prefix] == '/' || !getcwd(dir, sizeof(dir)))
		return tls;
	snprintf(buf, 2 * PATH_MAX, "%.*s%s/%s", (int)prefix, tls, dir,
		 tls + prefix);
	return buf;
}

static json_t *arguments(const struct migrate_config *c, const char *uri)
{
	char tls[2 * PATH_MAX];

	return json_pack("{s:s, s:s*, s:s*, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:b, s:b, s:s*, s:s*, s:b, s:b, s:b}",
			 "uri", uri, "copy-disk", c->copy_disks,
			 "compress", c->compress, "verify", c->verify,
			 "downtime-limit", (json_int_t)c->downtime_ms,
			 "max-pause", (json_int_t)c->max_pause_ms,
			 "max-bandwidth", (json_int_t)c->bandwidth,
			 "channels", (json_int_t)c->channels,
			 "timeout", (json_int_t)c->timeout_s,
			 "downtime-ramp", (json_int_t)c->ramp_s,
			 "on-timeout", c->on_timeout,
			 "auto-converge", (int)c->auto_converge,
			 "x-postcopy", (int)c->postcopy,
			 "x-tls", c->tls ? absolute(c->tls, tls) : NULL,
			 "tls-hostname", c->tls_name, "x-plain", c->plain,
			 "x-dry-run", (int)c->dry_run,
			 "x-local", (int)c->local);
}

static int migrate(const struct migrate_config *config, const char *vm,
		   const char *uri, json_t **report, struct error *err)
{
	json_t *args;

	if (config->recover)
		args = json_pack("{s:b, s:s*}", "resume", 1, "uri", uri);
	else if (!uri && config->postcopy)
		return watch_job(vm, "migrate-start-postcopy", NULL,
				 config->quiet, report, err);
	else if (!uri)
		return error_set(err, EINVAL, "missing: URI, the other side's tcp:HOST:PORT or unix:PATH");
	else
		args = arguments(config, uri);
	return watch_job(vm, "migrate", args, config->quiet, report, err);
}

/* Returns the exit status. */
static int tell(const struct migrate_config *config, const char *vm,
		const char *uri, const json_t *report)
{
	if (config->json)
		client_print(report);
	else if (config->dry_run)
		migrate_forecast_print(stdout, vm, uri, report);
	else
		migrate_report_print(stdout, vm, uri, report);
	if (config->dry_run)
		return migrate_would_go(report) ? 0 : 1;
	if (!strcmp(client_str(report, "status"), "completed"))
		return 0;
	if (!strcmp(client_str(report, "status"), "postcopy-paused")) {
		fprintf(stderr, "godwit: %s: it runs on the other side and waits for memory that is here: the link was lost; `godwit migrate --recover %s` goes on\n",
			vm, vm);
		return 1;
	}
	fprintf(stderr, "godwit: %s: not moved: %s\n", vm,
		client_str(report, "error-desc"));
	return 1;
}

static int migrate_main(const struct command *cmd, int argc, char **argv)
{
	struct migrate_config config = {
		.downtime_ms = 300, .max_pause_ms = 500,
		.on_timeout = "abort",
	};
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct error err = ERROR_INIT;
	json_t *report = NULL;
	int status;

	if (!command_parse(cmd, argc, argv, &config, args, &status))
		return status;
	if (migrate(&config, args[0], args[1], &report, &err)) {
		json_decref(report);
		return command_fail(&err);
	}
	status = tell(&config, args[0], args[1] ? args[1] : "the other side",
		      report);
	json_decref(report);
	return status;
}

const struct command cmd_migrate = {
	.name = "migrate",
	.args = "VM [URI]",
	.summary = "Move a running VM to another host.",
	.about = "URI is where a `godwit run --incoming URI` waits: tcp:HOST:PORT, with IPv6\n"
		 "addresses in [brackets], or unix:PATH. Ctrl-C cancels: the VM runs on here.\n"
		 "The exit status is 0 only when it runs on the other side, or with --dry-run\n"
		 "when it would.",
	COMMAND_OPTIONS(options),
	.min_args = 1, .max_args = 2,
	.run = migrate_main,
};
