/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an image has holes: what differs from nothing at all. With the feature
 * fast-diff whole objects are told from the image's object map, without reading
 * anything; else librbd asks for each object, ten at a time.
 *
 * The call flushes what librbd has cached, and blocks: so it has a thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/rbd.h"
#include "vmm/base/fd.h"
#include "vmm/base/thread.h"

#define MAP_BYTES (16 * GIB)	/* in one call: a multiple of any object's size */

struct rbd_map {
	struct rbd_disk *disk;
	struct block_request *req;
	pthread_t thread;
	struct list link;	/* rbd_disk.maps */
	bool over;		/* under the disk's lock */
};

static int on_extent(uint64_t offset, size_t len, int exists, void *arg)
{
	struct rbd_map *m = arg;
	struct block_request *req = m->req;
	uint64_t first = MAX(offset, req->offset);
	uint64_t end = MIN(offset + len, req->offset + req->len);

	if (first < end)
		block_map_mark(req, first, end - first);
	return atomic_load(&m->disk->stop_maps) ? -ECANCELED : 0;
}

/* Pacific's librbd puts whole objects in the wrong place where a request does
 * not begin with one, or they are striped. */
static bool by_objects(const struct rbd_map *m)
{
	const struct rbd_disk *d = m->disk;
	rbd_image_info_t info;
	uint64_t stripes;

	return !d->lib.stat(d->image, &info, sizeof(info)) &&
	       !d->lib.get_stripe_count(d->image, &stripes) && stripes == 1 &&
	       !(m->req->offset % info.obj_size);
}

static void *map_thread(void *arg)
{
	struct rbd_map *m = arg;
	struct block_request *req = m->req;
	struct rbd_disk *d = m->disk;
	int ret = d->lib.diff_iterate2(d->image, NULL, req->offset, req->len,
				       1, by_objects(m), on_extent, m);

	if (ret < 0) {
		log_info(d->log, "%s: the image does not tell its holes: %s",
			 d->name, strerror(-ret));
		block_map_mark(req, req->offset, req->len);
	}
	pthread_mutex_lock(&d->lock);
	m->over = true;
	fd_event_signal(d->wake.fd);
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

static void no_map(void *arg)
{
	struct block_request *req = arg;

	req->done(req, 0);
}

void rbd_map_submit(struct rbd_disk *d, struct block_request *req)
{
	struct rbd_map *m = calloc(1, sizeof(*m));

	block_map_end(req, MAP_BYTES);
	if (m) {
		m->disk = d;
		m->req = req;
	}
	if (m && !thread_start(&m->thread, "rbd map", map_thread, m)) {
		list_add_tail(&d->maps, &m->link);
		return;
	}
	free(m);
	block_map_mark(req, req->offset, req->len);
	loop_post(d->loop, no_map, req);
}

static struct block_request *end(struct rbd_map *m)
{
	struct block_request *req = m->req;

	pthread_join(m->thread, NULL);
	list_del(&m->link);
	free(m);
	return req;
}

void rbd_map_settle(struct rbd_disk *d)
{
	struct rbd_map *m, *tmp;

	list_for_each_safe(m, tmp, &d->maps, link) {
		struct block_request *req;
		bool over;

		pthread_mutex_lock(&d->lock);
		over = m->over;
		pthread_mutex_unlock(&d->lock);
		if (!over)
			continue;
		req = end(m);
		req->done(req, 0);
	}
}

void rbd_map_exit(struct rbd_disk *d)
{
	struct rbd_map *m, *tmp;

	atomic_store(&d->stop_maps, true);
	list_for_each_safe(m, tmp, &d->maps, link)
		end(m);
}
