/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's disks that are copied along. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "migration/message.h"
#include "migration/source_private.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define LOOK_NS (200 * NSEC_PER_MSEC)	/* between looks at time and peer */

static int add_disk(struct migration_source *s, struct vm_disk *d)
{
	struct disk_send *ds = &s->disks;
	unsigned int n = ds->disks.n;
	struct migration_disk_stats *stats = &s->progress.now.disk[n];

	if (n == DISK_MAX)
		return error_set(&s->err, E2BIG, "more than %d disks to copy",
				 DISK_MAX);
	if (strlen(d->id) >= DISK_ID)
		return error_set(&s->err, EINVAL, "disk %s: its id is longer than %d bytes, it can't be copied",
				 d->id, DISK_ID - 1);
	ds->disk[n] = d;
	ds->disks.disk[n].size = d->size;
	strcpy(ds->disks.disk[n].id, d->id);
	ds->disks.n++;
	pthread_mutex_lock(&s->progress.lock);
	strcpy(stats->id, d->id);
	stats->total = stats->remaining = d->size;
	s->progress.now.ndisks = ds->disks.n;
	pthread_mutex_unlock(&s->progress.lock);
	return 0;
}

static bool same_word(const char *word, size_t len, const char *id)
{
	return strlen(id) == len && !memcmp(word, id, len);
}

/* The disk called @word, or with @all every one. */
static int choose(struct migration_source *s, const char *word, size_t len,
		  bool all)
{
	bool found = all;
	struct vm_disk *d;
	int ret = 0;

	for (unsigned int i = 0; ret == 0; i++) {
		d = s->ops->disk(s->cfg.vm, i);
		if (!d)
			break;
		if (!all && !same_word(word, len, d->id))
			continue;
		found = true;
		ret = add_disk(s, d);
	}
	if (!found)
		ret = error_set(&s->err, ENODEV, "no disk %.*s to copy here",
				(int)len, word);
	return ret;
}

int source_disks_choose(struct migration_source *s)
{
	const char *at = s->copy_disks;
	int ret = 0;

	s->disks.limiter = &s->limiter;
	s->disks.progress = &s->progress;
	s->disks.verify = s->cfg.params.verify;
	if (!at)
		return 0;
	if (!strcmp(at, "all"))
		return choose(s, at, 3, true);
	while (*at && ret == 0) {
		size_t len = strcspn(at, ",");

		ret = choose(s, at, len, false);
		at += len + (at[len] == ',');
	}
	return ret;
}

/* Before OFFER, so that who does not know it refuses. */
int source_disks_offer(struct migration_source *s)
{
	uint8_t buf[WIRE_DISKS_MAX];

	if (!s->disks.disks.n)
		return 0;
	return message_send(&s->control, WIRE_DISKS, buf,
			    wire_disks_encode(buf, &s->disks.disks), NULL, 0,
			    0, &s->err);
}

static int wait_look(struct migration_source *s)
{
	int ret = channel_wait_fd(s->disks.event_fd, POLLIN, s->cancel_fd,
				  now_ns() + LOOK_NS);

	fd_event_take(s->disks.event_fd);
	if (ret == -ECANCELED)
		return error_set(&s->err, ECANCELED, "cancelled");
	return source_check(s, &s->err);
}

/*
 * Memory waits until the disks are mirrored: pages that were sent while a disk
 * is copied would mostly be sent again.
 */
int source_disks_copy(struct migration_source *s)
{
	int ret;

	if (!s->disks.disks.n)
		return 0;
	ret = disk_send_start(&s->disks, &s->err);
	while (ret == 0 &&
	       atomic_load(&s->disks.state) == DISK_SEND_COPYING)
		ret = wait_look(s);
	return ret < 0 ? ret : disk_send_check(&s->disks, &s->err);
}
