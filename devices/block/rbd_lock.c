/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who owns an RBD image. By default librbd's clients lend the lock to whoever
 * wants to write: that orders writes, and keeps nobody from writing. Taken in
 * the mode RBD_LOCK_MODE_EXCLUSIVE it stays until it is released.
 *
 * A holder lives while it watches the image's header: Ceph forgets its watch
 * when it was not heard of for 30 s (osd_client_watch_timeout). Only then, or
 * with lock=break, is its lock broken. Ceph blocklists it first, so that
 * whatever it had under way, or tries when it comes back, fails at the OSDs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/block/rbd.h"

#define RELEASE_NS (2 * NSEC_PER_SEC)
#define RETRY_NS (20 * NSEC_PER_MSEC)
#define MAX_WATCHERS 64

struct holder {
	char address[128];	/* empty: nobody has the lock */
	char name[160];		/* for people */
	bool alive;
};

/* The holder watches the header: it is alive, and this is its name. */
static int find_watch(struct rbd_disk *d, struct holder *h)
{
	rbd_image_watcher_t w[MAX_WATCHERS];
	size_t n = ARRAY_SIZE(w);
	int ret = d->lib.watchers_list(d->image, w, &n);

	/* more than these: can't be proven dead */
	h->alive = ret == -ERANGE;
	if (ret < 0)
		return ret == -ERANGE ? 0 : ret;
	for (size_t i = 0; i < n; i++)
		if (!strcmp(w[i].addr, h->address)) {
			h->alive = true;
			snprintf(h->name, sizeof(h->name), "client.%lld at %s",
				 (long long)w[i].id, h->address);
		}
	d->lib.watchers_list_cleanup(w, n);
	return 0;
}

static int find_holder(struct rbd_disk *d, struct holder *h)
{
	rbd_lock_mode_t mode;
	char *owner = NULL;
	size_t n = 1;
	int ret = d->lib.lock_get_owners(d->image, &mode, &owner, &n);

	*h = (struct holder){ 0 };
	if (ret == -ENOENT || (!ret && !n))
		return 0;
	if (ret < 0)
		return ret;
	snprintf(h->address, sizeof(h->address), "%s", owner);
	snprintf(h->name, sizeof(h->name), "%s", owner);
	d->lib.lock_get_owners_cleanup(&owner, n);
	return find_watch(d, h);
}

/* A live holder has until @limit to release it. */
static int await_release(struct rbd_disk *d, struct holder *h)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	uint64_t limit = now_ns() + RELEASE_NS;
	int ret = find_holder(d, h);

	while (!ret && h->alive && !d->uri.break_lock && now_ns() < limit) {
		nanosleep(&pause, NULL);
		ret = find_holder(d, h);
	}
	return ret;
}

static int break_lock(struct rbd_disk *d, const struct holder *h,
		      struct error *err)
{
	int ret;

	log_warn(d->log, "%s: breaking the lock of %s, which %s, and blocklisting it",
		 d->name, h->name, h->alive ? "is alive" : "is dead");
	ret = d->lib.lock_break(d->image, RBD_LOCK_MODE_EXCLUSIVE, h->address);
	/* gone by itself meanwhile */
	if (ret == -ENOENT)
		return 0;
	if (ret < 0)
		return error_set(err, -ret,
				 "%s: cannot break the lock of %s: %s (is 'profile rbd' among this user's caps?)",
				 d->name, h->name, strerror(-ret));
	return 0;
}

static int take(struct rbd_disk *d, struct error *err)
{
	int ret = d->lib.lock_acquire(d->image, RBD_LOCK_MODE_EXCLUSIVE);

	if (ret == -EROFS)
		return error_set(err, EBUSY,
				 "%s: another was quicker to take the exclusive lock",
				 d->name);
	if (ret == -ESHUTDOWN)
		return error_set(err, ESHUTDOWN,
				 "%s: this host was blocklisted when another took the image away (ceph osd blocklist ls)",
				 d->name);
	if (ret < 0)
		return error_set(err, -ret,
				 "%s: cannot take the exclusive lock: %s",
				 d->name, strerror(-ret));
	return 0;
}

/* By this name `rbd lock ls` and the other hosts' messages know us. */
static void tell(struct rbd_disk *d)
{
	char *address = NULL;

	if (d->lib.rados.getaddrs(d->cluster, &address) < 0)
		return;
	log_info(d->log, "%s: took the exclusive lock as %s", d->name,
		 address);
	d->lib.rados.buffer_free(address);
}

int rbd_lock_take(struct rbd_disk *d, struct error *err)
{
	struct holder h;
	int ret = await_release(d, &h);

	if (ret == -EINVAL)
		return error_set(err, EINVAL,
				 "%s: the image has no lock to own (rbd feature enable %s/%s exclusive-lock)",
				 d->name, d->uri.pool, d->uri.image);
	if (ret < 0)
		return error_set(err, -ret,
				 "%s: cannot see who has the lock: %s",
				 d->name, strerror(-ret));
	if (h.alive && !d->uri.break_lock)
		return error_set(err, EBUSY,
				 "%s is in use by %s (if that one is dead, Ceph knows after 30 s; lock=break in the URI shuts it out at once)",
				 d->name, h.name);
	ret = h.address[0] ? break_lock(d, &h, err) : 0;
	ret = ret ?: take(d, err);
	if (!ret)
		tell(d);
	return ret;
}
