/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source slows vCPUs down: all alike, or by what each dirties. */
#include <string.h>

#include "migration/channels.h"
#include "migration/source_private.h"
#include "vmm/base/util.h"

static void publish(struct migration_source *s)
{
	struct migration_stats *now = &s->progress.now;

	pthread_mutex_lock(&s->progress.lock);
	now->throttle = s->throttle;
	now->most_throttle = MAX(now->most_throttle, s->throttle);
	now->nvcpus = s->loads.n;
	for (unsigned int i = 0; i < s->loads.n; i++) {
		now->vcpu[i].dirty_rate = s->loads.rate[i];
		now->vcpu[i].throttle = s->loads.rest[i];
	}
	pthread_mutex_unlock(&s->progress.lock);
}

void source_measure_vcpus(struct migration_source *s)
{
	uint64_t pages[VM_MAX_VCPUS];

	if (s->ops->dirty_by_vcpu(s->cfg.vm, pages) &&
	    vcpu_loads_measure(&s->loads, s->cfg.vm->nvcpus, pages, now_ns()))
		publish(s);
}

void source_note_vcpus(struct migration_source *s)
{
	s->vcpu_time = s->ops->vcpu_time(s->cfg.vm);
	s->vcpu_time_at = now_ns();
}

/* CPUs that they kept since that was noted, to the nearest. */
static unsigned int busy_vcpus(struct migration_source *s)
{
	uint64_t time = s->vcpu_time, at = s->vcpu_time_at;

	source_note_vcpus(s);
	return (unsigned int)((double)(s->vcpu_time - time) /
			      (double)MAX(1, s->vcpu_time_at - at) + 0.5);
}

/*
 * The guest first: the copy has the CPUs that the vCPUs leave. If they leave none
 * it takes its turns with them, or a guest that never rests would never move.
 */
void source_share_cpus(struct migration_source *s)
{
	unsigned int room = channels_room(busy_vcpus(s));
	bool all = !room || s->cfg.params.channels;

	if (room)
		channels_step_back();
	s->ram.nsenders = all ? s->nbulk : MIN(room, s->nbulk);
	pthread_mutex_lock(&s->progress.lock);
	s->progress.now.senders = s->ram.nsenders;
	pthread_mutex_unlock(&s->progress.lock);
}

void source_throttle(struct migration_source *s, unsigned int percent)
{
	unsigned int before[VM_MAX_VCPUS];

	memcpy(before, s->loads.rest, sizeof(before));
	vcpu_loads_share(&s->loads, percent);
	if (percent == s->throttle &&
	    !memcmp(before, s->loads.rest, sizeof(before)))
		return;
	if (s->loads.n)
		s->ops->throttle_each(s->cfg.vm, s->loads.rest);
	else
		s->ops->throttle(s->cfg.vm, percent);
	s->throttle = percent;
	publish(s);
}
