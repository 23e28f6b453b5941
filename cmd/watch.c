/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/watch.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cmd/client.h"
#include "cmd/migrate_report.h"
#include "vmm/base/fd.h"

#define WATCH_MS 200

struct watch {
	struct client *client;
	bool quiet;
	struct migrate_progress progress;
	int signal_fd;
	bool cancelled;
};

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
			if (!w->quiet)
				migrate_progress_stage(&w->progress,
					client_str(data, "x-stage"));
		}
		json_decref(event);
	}
	return report;
}

/* In post-copy the link was lost: that may last, and is for a person to mend. */
static bool waits_for_link(const json_t *now)
{
	return !strcmp(client_str(now, "status"), "postcopy-paused");
}

/* Until it has an outcome, or waits for somebody. */
static int watch(struct watch *w, json_t **report, struct error *err)
{
	json_t *now = NULL;

	while (!client_call(w->client, "query-migrate", NULL, &now, err)) {
		*report = take_events(w);
		if (!*report && waits_for_link(now))
			*report = json_incref(now);
		if (!*report && !w->quiet)
			migrate_progress_show(&w->progress, now);
		json_decref(now);
		now = NULL;
		if (*report)
			return 0;
		wait_a_little(w);
	}
	return -err->code;
}

int watch_job(const char *vm, const char *command, json_t *args, bool quiet,
	      json_t **report, struct error *err)
{
	struct watch w = { .quiet = quiet, .signal_fd = catch_signals() };
	int ret = client_open(&w.client, vm, err);

	if (ret)
		json_decref(args);
	else
		ret = client_call(w.client, command, args, NULL, err);
	if (!ret)
		ret = watch(&w, report, err);
	if (!quiet)
		migrate_progress_end(&w.progress);
	client_close(w.client);
	fd_close(&w.signal_fd);
	return ret;
}
