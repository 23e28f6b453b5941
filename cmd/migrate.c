/* SPDX-License-Identifier: GPL-2.0-or-later */
/* godwit migrate: start it, watch it, tell how it went. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cmd/client.h"
#include "cmd/commands.h"
#include "cmd/migrate_report.h"
#include "migration/source.h"
#include "vmm/base/fd.h"

#define WATCH_MS 200

struct migrate_config {
	uint32_t downtime_ms, max_pause_ms, channels, timeout_s;
	uint64_t bandwidth;
	bool json, quiet;
};

#define FIELD(member) .offset = offsetof(struct migrate_config, member)

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
	{ "channels", "N", "Connections for memory, 1 to 16 (default 1)",
	  .parse = option_u32, .min = 1, .max = MIGRATION_MAX_CHANNELS,
	  FIELD(channels) },
	{ "timeout", "SECONDS", "Give up after this time (default 0: never)",
	  .parse = option_u32, FIELD(timeout_s) },
	{ "json", NULL, "The report as JSON on standard output",
	  .parse = option_bool, FIELD(json) },
	{ "quiet", NULL, "No stages and no progress",
	  .parse = option_bool, FIELD(quiet) },
};

struct watch {
	struct client *client;
	const struct migrate_config *config;
	struct migrate_progress progress;
	int signal_fd;
	bool cancelled;
};

static json_t *arguments(const struct migrate_config *c, const char *uri)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "uri", uri,
			 "downtime-limit", (json_int_t)c->downtime_ms,
			 "max-pause", (json_int_t)c->max_pause_ms,
			 "max-bandwidth", (json_int_t)c->bandwidth,
			 "channels", (json_int_t)c->channels,
			 "timeout", (json_int_t)c->timeout_s);
}

static int catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Ctrl-C cancels; the end is still waited for, because it tells where the VM
 * is. */
static void maybe_cancel(struct watch *w)
{
	struct signalfd_siginfo info;
	struct error err = ERROR_INIT;

	if (read(w->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	w->cancelled = true;
	if (client_call(w->client, "migrate_cancel", NULL, NULL, &err))
		fprintf(stderr, "\ngodwit: can't cancel: %s\n", err.msg);
}

static void wait_a_little(struct watch *w)
{
	struct pollfd p[] = {
		{ .fd = client_fd(w->client), .events = POLLIN },
		{ .fd = w->signal_fd, .events = POLLIN },
	};

	poll(p, 2, WATCH_MS);
	if (p[1].revents & POLLIN)
		maybe_cancel(w);
}

/*
 * Stages come by events, for one may be over before the next look. The event
 * of the end carries the report.
 */
static json_t *take_events(struct watch *w)
{
	json_t *event, *data, *report = NULL;

	while (!report && (event = client_event(w->client))) {
		data = json_object_get(event, "data");
		if (!strcmp(client_str(event, "event"), "MIGRATION")) {
			report = json_incref(json_object_get(data, "x-report"));
			if (!w->config->quiet)
				migrate_progress_stage(&w->progress,
					client_str(data, "x-stage"));
		}
		json_decref(event);
	}
	return report;
}

/* Until it has an outcome. */
static int watch(struct watch *w, json_t **report, struct error *err)
{
	json_t *now = NULL;

	while (!client_call(w->client, "query-migrate", NULL, &now, err)) {
		*report = take_events(w);
		if (!*report && !w->config->quiet)
			migrate_progress_show(&w->progress, now);
		json_decref(now);
		now = NULL;
		if (*report)
			return 0;
		wait_a_little(w);
	}
	return -err->code;
}

static int migrate(const struct migrate_config *config, const char *vm,
		   const char *uri, json_t **report, struct error *err)
{
	struct watch w = { .config = config, .signal_fd = catch_signals() };
	int ret = client_open(&w.client, vm, err);

	if (!ret)
		ret = client_call(w.client, "migrate", arguments(config, uri),
				  NULL, err);
	if (!ret)
		ret = watch(&w, report, err);
	if (!config->quiet)
		migrate_progress_end(&w.progress);
	client_close(w.client);
	fd_close(&w.signal_fd);
	return ret;
}

static int migrate_main(const struct command *cmd, int argc, char **argv)
{
	struct migrate_config config = {
		.downtime_ms = 300, .max_pause_ms = 500, .channels = 1,
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
	if (config.json) {
		json_dumpf(report, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
	} else {
		migrate_report_print(stdout, args[0], args[1], report);
	}
	status = strcmp(client_str(report, "status"), "completed") ? 1 : 0;
	if (status)
		fprintf(stderr, "godwit: %s: not moved: %s\n", args[0],
			client_str(report, "error-desc"));
	json_decref(report);
	return status;
}

const struct command cmd_migrate = {
	.name = "migrate",
	.args = "VM URI",
	.summary = "Move a running VM to another host.",
	.about = "URI is where a `godwit run --incoming URI` waits: tcp:HOST:PORT, with IPv6\n"
		 "addresses in [brackets], or unix:PATH. Ctrl-C cancels: the VM runs on here.\n"
		 "The exit status is 0 only when it runs on the other side.",
	COMMAND_OPTIONS(options),
	.min_args = 2, .max_args = 2,
	.run = migrate_main,
};
