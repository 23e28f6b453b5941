/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/migrate_report.h"

#include <string.h>
#include <unistd.h>

#include "cmd/client.h"
#include "vmm/base/util.h"

static double mib(const json_t *job, const char *name)
{
	return (double)client_num(job, name) / MIB;
}

static double ms(const json_t *job, const char *name)
{
	return (double)client_num(job, name) / 1000;
}

void migrate_progress_end(struct migrate_progress *p)
{
	if (p->line_open)
		fputc('\n', stderr);
	p->line_open = false;
}

/* True while disks are copied: memory waits for them. */
static bool show_disks(struct migrate_progress *p, const json_t *job)
{
	const json_t *disks = json_object_get(job, "disks");
	double left = 0, total = 0;
	size_t i;
	json_t *d;

	if (client_num(job, "iteration"))
		return false;
	json_array_foreach(disks, i, d) {
		left += mib(d, "remaining");
		total += mib(d, "total");
	}
	if (total > 0)
		fprintf(stderr, "\r  disks: %.0f of %.0f MiB left \033[K", left,
			total);
	p->line_open |= total > 0;
	return total > 0;
}

static void show_line(struct migrate_progress *p, const json_t *report)
{
	const json_t *job = json_object_get(report, "x-job");

	if (show_disks(p, job))
		return;
	fprintf(stderr, "\r  round %llu: %.0f of %.0f MiB left, %.0f MiB/s, dirty %llu pages/s, pause expected %.0f ms, throttle %llu %% \033[K",
		client_num(job, "iteration"), mib(job, "memory-remaining"),
		mib(job, "memory-total"), mib(job, "memory-bandwidth"),
		client_num(job, "dirty-rate"),
		ms(job, "expected-downtime-us"),
		client_num(report, "cpu-throttle-percentage"));
	p->line_open = true;
}

/* The VM runs there. */
static void show_following(struct migrate_progress *p, const json_t *job)
{
	fprintf(stderr, "\r  memory follows: %.0f MiB left, %llu pages asked for \033[K",
		mib(job, "memory-remaining"),
		client_num(json_object_get(job, "postcopy"), "requests"));
	p->line_open = true;
}

void migrate_progress_stage(struct migrate_progress *p, const char *stage)
{
	if (!strcmp(stage, p->stage))
		return;
	migrate_progress_end(p);
	fprintf(stderr, "%s\n", stage);
	snprintf(p->stage, sizeof(p->stage), "%s", stage);
}

void migrate_progress_show(struct migrate_progress *p, const json_t *report)
{
	const char *status = client_str(report, "status");

	if (!isatty(STDERR_FILENO))
		return;
	if (!strcmp(status, "active"))
		show_line(p, report);
	if (!strcmp(status, "postcopy-active"))
		show_following(p, json_object_get(report, "x-job"));
}

static void print_memory(FILE *out, const json_t *job,
			 const json_t *compression)
{
	fprintf(out, "data       processed %.1f MiB, remaining %.1f MiB, total %.1f MiB\n",
		mib(job, "data-processed"), mib(job, "data-remaining"),
		mib(job, "data-total"));
	fprintf(out, "memory     processed %.1f MiB, remaining %.1f MiB, total %.1f MiB\n",
		mib(job, "memory-processed"), mib(job, "memory-remaining"),
		mib(job, "memory-total"));
	fprintf(out, "pages      constant %llu, normal %llu (%.1f MiB), never touched %llu\n",
		client_num(job, "constant-pages"),
		client_num(job, "normal-pages"), mib(job, "normal-data"),
		client_num(job, "absent-pages"));
	if (compression)
		fprintf(out, "compressed %llu pages to %.1f MiB (by %.1f)\n",
			client_num(compression, "pages"),
			mib(compression, "compressed-size"),
			json_real_value(json_object_get(compression,
							"compression-rate")));
	fprintf(out, "rates      memory bandwidth %.1f MiB/s by %llu of %llu channels, dirty %llu pages/s\n",
		mib(job, "memory-bandwidth"), client_num(job, "senders"),
		client_num(job, "channels"),
		client_num(job, "dirty-rate"));
}

static void print_disks(FILE *out, const json_t *job)
{
	bool copied = false;
	size_t i;
	json_t *d;

	json_array_foreach(json_object_get(job, "disks"), i, d) {
		if (!client_num(d, "total"))
			continue;
		copied = true;
		fprintf(out, "disk       %s: %.1f MiB: copied %.1f, zero %.1f, mirrored %.1f, compared %.1f MiB; rounds %llu, %.1f MiB/s\n",
			client_str(d, "id"), mib(d, "total"), mib(d, "copied"),
			mib(d, "zero"), mib(d, "mirrored"), mib(d, "verified"),
			client_num(d, "rounds"), mib(d, "bandwidth"));
	}
	if (copied && !strcmp(client_str(job, "outcome"), "completed"))
		fprintf(out, "           the copies here are of before, and no longer needed\n");
	else if (copied)
		fprintf(out, "           the copies there are incomplete, and marked by nothing: don't use them\n");
}

static void print_pause(FILE *out, const json_t *steps)
{
	const char *name;
	json_t *us;

	json_object_foreach((json_t *)(uintptr_t)steps, name, us) {
		/* "prepared/load-state": a part of "prepared" */
		const char *part = strchr(name, '/');

		fprintf(out, "  %s%-*s %10lld us\n", part ? "  " : "",
			part ? 18 : 20, part ? part + 1 : name,
			(long long)json_integer_value(us));
	}
}

static void print_fences(FILE *out, const json_t *job)
{
	size_t i;
	json_t *d;

	json_array_foreach(json_object_get(job, "disks"), i, d)
		if (json_is_false(json_object_get(d, "fenced")) &&
		    !client_num(d, "total"))
			fprintf(out, "warning    disk %s (%s) has no fence: nothing but the two sides' own agreement\n"
				"           keeps both from writing to it\n",
				client_str(d, "id"), client_str(d, "kind"));
}

/* Of the waits, those that there were, by powers of two of a microsecond. */
static void print_postcopy(FILE *out, const json_t *p)
{
	size_t i;
	json_t *n;

	if (!p)
		return;
	fprintf(out, "post-copy  %.1f MiB followed, %llu pages were asked for; lost links %llu\n",
		(double)client_num(p, "pages") * 4096 / MIB,
		client_num(p, "requests"), client_num(p, "recoveries"));
	fprintf(out, "waits      %llu, %.1f ms in sum, the longest %.1f ms\n",
		client_num(p, "waits"), ms(p, "blocked-us"),
		ms(p, "longest-us"));
	json_array_foreach(json_object_get(p, "waits-by-us"), i, n)
		if (json_integer_value(n))
			fprintf(out, "  below %8llu us %8lld\n", 2ull << i,
				(long long)json_integer_value(n));
}

/* Beside what it was in truth. */
static void print_foreseen(FILE *out, const json_t *f)
{
	if (f)
		fprintf(out, "foreseen   time %llu ms, downtime %llu ms, rounds %llu (by the %s)\n",
			client_num(f, "total-time"), client_num(f, "downtime"),
			client_num(f, "rounds"), client_str(f, "by"));
}

void migrate_report_print(FILE *out, const char *vm, const char *uri,
			  const json_t *report)
{
	const json_t *job = json_object_get(report, "x-job");

	fprintf(out, "%s to %s: %s\n", vm, uri, client_str(report, "status"));
	if (!job)
		return;
	fprintf(out, "type       %s\n", client_str(job, "type"));
	fprintf(out, "time       elapsed %.1f ms, set-up %.1f ms\n",
		ms(job, "time-elapsed-us"), ms(job, "setup-time-us"));
	print_memory(out, job, json_object_get(report, "compression"));
	print_fences(out, job);
	print_disks(out, job);
	fprintf(out, "iteration  %llu\n", client_num(job, "iteration"));
	if (client_num(job, "most-throttle"))
		fprintf(out, "throttle   vCPUs by up to %llu %%\n",
			client_num(job, "most-throttle"));
	if (!client_num(job, "downtime-us"))
		return;
	fprintf(out, "downtime   %.1f ms (expected %.1f ms)\n",
		ms(job, "downtime-us"), ms(job, "expected-downtime-us"));
	print_pause(out, json_object_get(job, "pause-us"));
	print_postcopy(out, json_object_get(job, "postcopy"));
	print_foreseen(out, json_object_get(report, "x-forecast"));
}

/* Reasons stand on lines of their own. */
static void print_reasons(FILE *out, const char *text)
{
	for (const char *nl; (nl = strchr(text, '\n')); text = nl + 1)
		fprintf(out, "  %.*s\n", (int)(nl - text), text);
	fprintf(out, "  %s\n", text);
}

static void print_needs(FILE *out, const json_t *needs)
{
	unsigned long long ms = client_num(needs, "downtime-limit");

	if (needs)
		fprintf(out, "it takes one of\n");
	if (client_num(needs, "throttle"))
		fprintf(out, "  --auto-converge: vCPUs slowed down by %llu %%\n",
			client_num(needs, "throttle"));
	if (ms)
		fprintf(out, "  --downtime %llu --max-pause %llu, at least\n",
			ms, ms * 3 / 2);
	if (client_num(needs, "bandwidth"))
		fprintf(out, "  a network that carries %.1f MiB/s\n",
			mib(needs, "bandwidth"));
}

bool migrate_would_go(const json_t *report)
{
	const json_t *f = json_object_get(report, "x-forecast");

	return f && strcmp(client_str(f, "end"), "does not converge");
}

void migrate_forecast_print(FILE *out, const char *vm, const char *uri,
			    const json_t *report)
{
	const json_t *f = json_object_get(report, "x-forecast");

	if (!f) {
		fprintf(out, "%s to %s: would not move:\n", vm, uri);
		print_reasons(out, client_str(report, "error-desc"));
		return;
	}
	fprintf(out, "%s to %s: %s\n", vm, uri, client_str(f, "end"));
	fprintf(out, "network    %.1f MiB/s\n", mib(f, "bandwidth"));
	fprintf(out, "guest      dirties %llu pages/s at the end\n",
		client_num(f, "dirty-rate"));
	fprintf(out, "rounds     %llu, %.1f MiB in all\n",
		client_num(f, "rounds"), mib(f, "bytes"));
	if (client_num(f, "throttle"))
		fprintf(out, "throttle   vCPUs by up to %llu %%\n",
			client_num(f, "throttle"));
	fprintf(out, "time       %llu ms\n", client_num(f, "total-time"));
	fprintf(out, "downtime   %llu ms\n", client_num(f, "downtime"));
	print_needs(out, json_object_get(f, "needs"));
}
