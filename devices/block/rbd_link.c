/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection of an RBD disk. Made by open, while the other host's VM still
 * runs: nothing of it is left for the pause but the lock.
 */
#include <errno.h>
#include <string.h>

#include "devices/block/rbd.h"
#include "vmm/base/fd.h"

/* Ceph's own default is five minutes, which looks like a hang. */
#define CONNECT_S "10"

static int set(struct rbd_disk *d, const char *key, const char *value,
	       struct error *err)
{
	int ret = d->lib.rados.conf_set(d->cluster, key, value);

	if (ret < 0)
		return error_set(err, -ret, "%s: Ceph refuses %s=%s: %s",
				 d->name, key, value, strerror(-ret));
	return 0;
}

/*
 * A lock that is broken without its holder being blocklisted fences nobody:
 * Ceph's default, but a ceph.conf could say otherwise.
 */
static int configure(struct rbd_disk *d, struct error *err)
{
	const struct rbd_uri *u = &d->uri;
	int ret = d->lib.rados.conf_read_file(d->cluster, u->conf);

	/* without a file, the settings may say all */
	if (ret < 0 && u->conf)
		return error_set(err, -ret, "%s: cannot read %s: %s", d->name,
				 u->conf, strerror(-ret));
	ret = set(d, "client_mount_timeout", CONNECT_S, err);
	for (unsigned int i = 0; i < u->nset && !ret; i++)
		ret = set(d, u->set[i].key, u->set[i].value, err);
	return ret ?: set(d, "rbd_blocklist_on_break_lock", "true", err);
}

static int connect_cluster(struct rbd_disk *d, struct error *err)
{
	const char *id = d->uri.id ?: "admin";
	int ret = d->lib.rados.create(&d->cluster, id);

	if (ret < 0)
		return error_set(err, -ret, "%s: cannot use Ceph: %s", d->name,
				 strerror(-ret));
	ret = configure(d, err);
	if (ret)
		return ret;
	ret = d->lib.rados.connect(d->cluster);
	if (ret < 0)
		return error_set(err, -ret,
				 "%s: cannot connect to Ceph as client.%s: %s (do the monitors run? is there a keyring?)",
				 d->name, id, strerror(-ret));
	return 0;
}

static int open_pool(struct rbd_disk *d, struct error *err)
{
	int ret = d->lib.rados.ioctx_create(d->cluster, d->uri.pool, &d->pool);

	if (ret < 0)
		return error_set(err, -ret, "%s: cannot open pool %s: %s",
				 d->name, d->uri.pool, strerror(-ret));
	if (d->uri.nspace)
		d->lib.rados.ioctx_set_namespace(d->pool, d->uri.nspace);
	return 0;
}

static void on_header(void *arg)
{
	struct rbd_disk *d = arg;

	pthread_mutex_lock(&d->lock);
	d->header_changed = true;
	fd_event_signal(d->wake.fd);
	pthread_mutex_unlock(&d->lock);
}

static int open_image(struct rbd_disk *d, struct error *err)
{
	const struct rbd_uri *u = &d->uri;
	int ret;

	if (u->snap && !d->blk.readonly)
		return error_set(err, EROFS,
				 "%s: a snapshot can't be written (readonly=on takes it)",
				 d->name);
	if (d->blk.readonly)
		ret = d->lib.open_read_only(d->pool, u->image, &d->image,
					    u->snap);
	else
		ret = d->lib.open(d->pool, u->image, &d->image, NULL);
	if (ret < 0)
		return error_set(err, -ret, "%s: cannot open the image: %s",
				 d->name, strerror(-ret));
	/* without it a new size is seen by the next activate only */
	if (d->lib.update_watch(d->image, &d->watch, on_header, d) < 0)
		d->watch = 0;
	return 0;
}

int rbd_link_measure(struct rbd_disk *d, struct error *err)
{
	uint64_t size = 0;
	int ret = d->lib.get_size(d->image, &size);

	if (ret < 0)
		return error_set(err, -ret, "%s: cannot measure the image: %s",
				 d->name, strerror(-ret));
	size = align_down(size, 512);
	if (!size)
		return error_set(err, EINVAL, "%s: the image is empty",
				 d->name);
	if (d->want_size && size != d->want_size)
		return error_set(err, EINVAL,
				 "%s: the image has %llu bytes, the machine's disk has %llu",
				 d->name, (unsigned long long)size,
				 (unsigned long long)d->want_size);
	d->want_size = d->blk.size = size;
	return 0;
}

int rbd_link_open(struct rbd_disk *d, struct error *err)
{
	int ret = connect_cluster(d, err) ?: open_pool(d, err) ?:
		  open_image(d, err);

	return ret ?: rbd_link_measure(d, err);
}

void rbd_link_close(struct rbd_disk *d)
{
	if (d->watch)
		d->lib.update_unwatch(d->image, d->watch);
	if (d->image)
		d->lib.close(d->image);
	if (d->pool)
		d->lib.rados.ioctx_destroy(d->pool);
	if (d->cluster)
		d->lib.rados.shutdown(d->cluster);
	d->watch = 0;
	d->image = NULL;
	d->pool = NULL;
	d->cluster = NULL;
}
