/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A migration's figures as JSON: QEMU's members first, then the job report. */
#include <string.h>

#include "cmd/qmp_commands.h"
#include "vmm/base/util.h"
#include "vmm/memory.h"

/* QEMU's MigrationStatus. */
const char *qmp_migration_status(const struct migration_stats *s)
{
	switch (s->outcome) {
	case MIGRATION_COMPLETED:
		return "completed";
	case MIGRATION_FAILED:
	case MIGRATION_UNKNOWN:
		return "failed";
	case MIGRATION_CANCELLED:
		return "cancelled";
	case MIGRATION_GOING_ON:
		break;
	}
	switch (s->stage) {
	case MIGRATION_STAGE_NONE:
		return "none";
	case MIGRATION_STAGE_PRE_MIGRATION:
	case MIGRATION_STAGE_RESERVATION:
		return "setup";
	case MIGRATION_STAGE_PRECOPY:
		return "active";
	case MIGRATION_STAGE_POSTCOPY:
		return s->postcopy.link == MIGRATION_LINK_LOST ?
			       "postcopy-paused" :
		       s->postcopy.link == MIGRATION_LINK_RECOVERING ?
			       "postcopy-recover" : "postcopy-active";
	default:
		return "device";
	}
}

struct member {
	const char *name;
	uint64_t value;
};

static void set_all(json_t *object, const struct member *m, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		json_object_set_new(object, m[i].name,
				    json_integer((json_int_t)m[i].value));
}

static json_t *ram(const struct migration_stats *s)
{
	const struct member m[] = {
		{ "transferred", s->wire_bytes },
		{ "remaining", s->memory_remaining },
		{ "total", s->memory_total },
		{ "duplicate", s->constant_pages },
		{ "skipped", s->absent_pages },
		{ "normal", s->normal_pages },
		{ "normal-bytes", s->normal_bytes },
		{ "dirty-pages-rate", s->dirty_rate },
		{ "dirty-sync-count", s->iteration },
		{ "postcopy-requests", s->postcopy.requests },
		{ "page-size", PAGE_BYTES },
	};
	json_t *j = json_object();

	set_all(j, m, ARRAY_SIZE(m));
	json_object_set_new(j, "mbps", json_real((double)s->memory_bandwidth *
						 8 / 1e6));
	return j;
}

/* QEMU's CompressionStats; what was not worth it is not counted. */
static json_t *compression(const struct migration_stats *s)
{
	const struct member m[] = {
		{ "pages", s->compressed_pages },
		{ "compressed-size", s->compressed_bytes },
	};
	double raw = (double)(s->compressed_pages << PAGE_SHIFT);
	json_t *j = json_object();

	set_all(j, m, ARRAY_SIZE(m));
	json_object_set_new(j, "compression-rate", json_real(
			s->compressed_bytes ? raw / (double)s->compressed_bytes : 0));
	return j;
}

static json_t *pause(const struct migration_pause *p)
{
	const struct member m[] = {
		{ "stop-vcpus", p->stop_vcpus },
		{ "drain-disks", p->drain_disks },
		{ "last-pages", p->last_pages },
		{ "last-blocks", p->last_blocks },
		{ "save-state", p->save_state },
		{ "deactivate", p->deactivate },
		{ "send-state", p->send_state },
		{ "prepared", p->prepared },
		{ "prepared/last-fence", p->last_fence },
		{ "prepared/load-state", p->load_state },
		{ "prepared/activate", p->activate },
		{ "go", p->go },
		{ "go/run", p->run },
	};
	json_t *j = json_object();

	set_all(j, m, ARRAY_SIZE(m));
	return j;
}

static json_t *disks(const struct migration_stats *s)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < s->ndisks; i++) {
		const struct migration_disk_stats *d = &s->disk[i];
		const struct member m[] = {
			{ "total", d->total },
			{ "remaining", d->remaining },
			{ "copied", d->copied },
			{ "zero", d->zero },
			{ "mirrored", d->mirrored },
			{ "verified", d->verified },
			{ "bandwidth", d->bandwidth },
			{ "rounds", d->rounds },
		};
		json_t *j = json_object();

		json_object_set_new(j, "id", json_string(d->id));
		set_all(j, m, ARRAY_SIZE(m));
		json_array_append_new(list, j);
	}
	return list;
}

/* Waits by powers of two of a microsecond, as QEMU's postcopy-latency-dist. */
static json_t *postcopy(const struct migration_postcopy *p)
{
	const struct wire_fetched *w = &p->waits;
	const struct member m[] = {
		{ "pages", p->pages },
		{ "requests", p->requests },
		{ "recoveries", p->recoveries },
		{ "waits", w->faults },
		{ "blocked-us", w->blocked_us },
		{ "longest-us", w->longest_us },
	};
	json_t *j = json_object(), *dist = json_array();

	set_all(j, m, ARRAY_SIZE(m));
	for (unsigned int i = 0; i < WIRE_FETCH_BUCKETS; i++)
		json_array_append_new(dist, json_integer(w->wait[i]));
	json_object_set_new(j, "waits-by-us", dist);
	if (p->lost.code)
		json_object_set_new(j, "link-lost", json_string(p->lost.msg));
	return j;
}

/* Times in microseconds, sizes in bytes, rates per second. */
static json_t *job(const struct migration_stats *s)
{
	const struct member m[] = {
		{ "time-elapsed-us", s->time_elapsed_us },
		{ "setup-time-us", s->setup_time_us },
		{ "data-processed", s->data_processed },
		{ "data-remaining", s->data_remaining },
		{ "data-total", s->data_total },
		{ "memory-processed", s->memory_processed },
		{ "memory-remaining", s->memory_remaining },
		{ "memory-total", s->memory_total },
		{ "memory-bandwidth", s->memory_bandwidth },
		{ "dirty-rate", s->dirty_rate },
		{ "constant-pages", s->constant_pages },
		{ "absent-pages", s->absent_pages },
		{ "normal-pages", s->normal_pages },
		{ "normal-data", s->normal_bytes },
		{ "wire-bytes", s->wire_bytes },
		{ "channels", s->channels },
		{ "senders", s->senders },
		{ "iteration", s->iteration },
		{ "most-throttle", s->most_throttle },
		{ "expected-downtime-us", s->expected_downtime_us },
		{ "downtime-us", s->downtime_us },
	};
	json_t *j = json_object();

	json_object_set_new(j, "type", json_string(s->type ? s->type : ""));
	json_object_set_new(j, "stage",
			    json_string(migration_stage_name(s->stage)));
	json_object_set_new(j, "outcome",
			    json_string(migration_outcome_name(s->outcome)));
	set_all(j, m, ARRAY_SIZE(m));
	if (s->ndisks)
		json_object_set_new(j, "disks", disks(s));
	if (s->postcopy.link)
		json_object_set_new(j, "postcopy", postcopy(&s->postcopy));
	json_object_set_new(j, "pause-us", pause(&s->pause));
	return j;
}

static const char *foreseen_end(const struct forecast *f)
{
	switch (f->end) {
	case POLICY_STOP:
		return "converges";
	case POLICY_FORCE:
		return "paused";
	case POLICY_SWITCH:
		return "post-copy";
	default:
		return "does not converge";
	}
}

static json_t *needs(const struct forecast_needs *n)
{
	const struct member m[] = {
		{ "throttle", n->throttle },
		{ "downtime-limit", (n->downtime_ns + NSEC_PER_MSEC - 1) /
				    NSEC_PER_MSEC },
		{ "bandwidth", n->bandwidth },
	};
	json_t *j = json_object();

	set_all(j, m, ARRAY_SIZE(m));
	return j;
}

/* Times in ms, sizes in bytes, rates per second. */
static json_t *forecast(const struct migration_forecast *f)
{
	const struct member m[] = {
		{ "rounds", f->run.rounds },
		{ "total-time", f->run.total_ns / NSEC_PER_MSEC },
		{ "downtime", f->run.pause_ns / NSEC_PER_MSEC },
		{ "throttle", f->run.throttle },
		{ "bytes", f->run.bytes },
		{ "bandwidth", f->run.bandwidth },
		{ "dirty-rate", f->run.dirty_rate >> PAGE_SHIFT },
	};
	bool dry = f->by == MIGRATION_BY_DRY_RUN;
	json_t *j = json_pack("{s:s, s:s}", "by",
			      dry ? "dry run" : "first round", "end",
			      foreseen_end(&f->run));

	set_all(j, m, ARRAY_SIZE(m));
	if (dry && f->run.end != POLICY_STOP)
		json_object_set_new(j, "needs", needs(&f->needs));
	return j;
}

/* As QEMU's calc-dirty-rate has it, MiB/s; and what became of it. */
static json_t *vcpus(const struct migration_stats *s)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < s->nvcpus; i++) {
		const struct migration_vcpu_stats *v = &s->vcpu[i];
		const struct member m[] = {
			{ "id", i },
			{ "dirty-rate", v->dirty_rate >> (20 - PAGE_SHIFT) },
			{ "dirty-pages-rate", v->dirty_rate },
			{ "throttle-percentage", v->throttle },
		};
		json_t *j = json_object();

		set_all(j, m, ARRAY_SIZE(m));
		json_array_append_new(list, j);
	}
	return list;
}

json_t *qmp_migration_report(const struct migration_stats *s)
{
	const struct member m[] = {
		{ "total-time", s->time_elapsed_us / 1000 },
		{ "setup-time", s->setup_time_us / 1000 },
		{ "downtime", s->downtime_us / 1000 },
		{ "expected-downtime", s->expected_downtime_us / 1000 },
		{ "cpu-throttle-percentage", s->throttle },
	};
	json_t *j = json_object();

	json_object_set_new(j, "status", json_string(qmp_migration_status(s)));
	set_all(j, m, ARRAY_SIZE(m));
	json_object_set_new(j, "ram", ram(s));
	if (s->compress)
		json_object_set_new(j, "compression", compression(s));
	json_object_set_new(j, "x-job", job(s));
	if (s->nvcpus)
		json_object_set_new(j, "x-vcpu-dirty-rate", vcpus(s));
	if (s->forecast.by)
		json_object_set_new(j, "x-forecast", forecast(&s->forecast));
	if (s->error.code)
		json_object_set_new(j, "error-desc",
				    json_string(s->error.msg));
	return j;
}
