/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * drbd:RESOURCE, a disk that DRBD keeps on two hosts: a raw disk on the
 * resource's device, of which the host that runs the VM is the primary.
 * activate makes it so, deactivate takes it back.
 *
 * In a hand-over the source has stepped down before the destination steps up,
 * so there is one primary at most at any moment, and allow-two-primaries is
 * not needed. The source steps down only while its peer has all that was
 * written, so what the destination finds is the disk as it was left.
 *
 * Everything in the loop's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/block/block.h"
#include "devices/block/drbd.h"
#include "vmm/base/util.h"

#define STEP_DOWN_NS (2 * NSEC_PER_SEC)
#define GIVE_BACK_NS (20 * NSEC_PER_SEC)
#define RETRY_NS (50 * NSEC_PER_MSEC)

struct drbd_disk {
	struct block blk;
	struct loop *loop;
	const struct log *log;
	struct block_options opt;	/* of inner; uri is device */
	struct block *inner;		/* while this side is primary */
	struct drbd_role role;
	bool incoming;			/* was on another host before */
	bool returning;			/* was here, and given away */
	char resource[DRBD_NAME_BYTES];
	char device[DRBD_NAME_BYTES];
};

static struct drbd_disk *to_drbd(struct block *blk)
{
	return container_of(blk, struct drbd_disk, blk);
}

static const char *connection(const struct drbd_status *st)
{
	return st->connection[0] ? st->connection : "StandAlone";
}

/* May this side become primary, as far as its data go? All reasons. */
static int check_data(struct drbd_disk *d, const struct drbd_status *st,
		      struct error *err)
{
	bool target = strstr(st->replication, "SyncTarget");

	if (strcmp(st->disk, "UpToDate"))
		error_add(err, ENODATA,
			  "the data of this side are not up to date: its disk is %s%s (drbdadm status %s)",
			  st->disk, target ? ", being synchronized" : "",
			  d->resource);
	if (d->incoming && !st->connected)
		error_add(err, ENOTCONN,
			  "not connected to the other side: %s (drbdadm connect %s)",
			  connection(st), d->resource);
	return -err->code;
}

/* A VM that arrives has its disk at one of both sides. */
static int check_arrival(struct drbd_disk *d, const struct drbd_status *st,
			 struct error *err)
{
	int ret = check_data(d, st, err);

	if (ret || !d->incoming || st->primary || st->peer_primary)
		return ret;
	return error_set(err, ENODATA,
			 "the other side is not primary, so the VM's disk is not this resource");
}

static int await_peer(struct drbd_disk *d, struct drbd_status *st,
		      struct error *err)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	/* a paused VM has nothing better to do than to wait for its disk */
	uint64_t limit = now_ns() + (d->returning ? GIVE_BACK_NS :
						    STEP_DOWN_NS);
	int ret = drbd_status(d->resource, st, err);

	while (!ret && st->peer_primary && now_ns() < limit) {
		nanosleep(&pause, NULL);
		ret = drbd_status(d->resource, st, err);
	}
	if (!ret && st->peer_primary)
		ret = error_set(err, EBUSY,
				"in use: the other side is primary");
	return ret;
}

static int step_up(struct drbd_disk *d, struct error *err)
{
	struct drbd_status st;
	int ret = await_peer(d, &st, err) ?: check_data(d, &st, err);

	if (ret)
		return ret;
	if (!st.connected)
		log_warn(d->log, "drbd:%s: not connected (%s): what is written here stays here",
			 d->resource, connection(&st));
	return drbd_role_take(&d->role, d->resource, err);
}

static void step_down(struct drbd_disk *d)
{
	struct error err = ERROR_INIT;

	if (drbd_role_release(&d->role, &err))
		log_warn(d->log, "drbd:%s stays primary here: %s",
			 d->resource, err.msg);
}

static int open_device(struct drbd_disk *d, struct error *err)
{
	int ret = block_open(&d->inner, &d->opt, NULL, d->loop, d->log, err);

	if (ret)
		return ret;
	ret = block_activate(d->inner, err);
	if (ret) {
		block_close(d->inner);
		d->inner = NULL;
		return ret;
	}
	d->opt.size = d->blk.size = d->inner->size;
	d->blk.block_size = d->inner->block_size;
	return 0;
}

static int drbd_activate(struct block *blk, struct error *err)
{
	struct drbd_disk *d = to_drbd(blk);
	int ret = step_up(d, err);

	if (!ret) {
		ret = open_device(d, err);
		if (ret)
			step_down(d);
	}
	if (ret)
		error_prefix(err, "drbd:%s", d->resource);
	else
		d->incoming = false;	/* the newest data are here now */
	return ret;
}

/* Has the peer all that was written? Nothing is under way any more. */
static int check_peer(struct drbd_disk *d, struct error *err)
{
	struct drbd_status st;
	int ret = drbd_status(d->resource, &st, err);

	if (ret || (st.connected && !strcmp(st.peer_disk, "UpToDate")))
		return ret;
	return error_set(err, ENODATA,
			 "the other side has not all that was written here: it is %s, its disk is %s",
			 connection(&st),
			 st.peer_disk[0] ? st.peer_disk : "unknown");
}

/* The device must be closed, or DRBD stays primary. */
static int give_up(struct drbd_disk *d, struct error *err)
{
	int ret = check_peer(d, err) ?: block_deactivate(d->inner, err);

	if (ret)
		return ret;
	block_close(d->inner);
	d->inner = NULL;
	d->blk.active = false;
	d->returning = true;
	return drbd_role_release(&d->role, err);
}

static int drbd_deactivate(struct block *blk, struct error *err)
{
	struct drbd_disk *d = to_drbd(blk);
	int ret = give_up(d, err);

	if (ret)
		error_prefix(err, "drbd:%s", d->resource);
	return ret;
}

static void drbd_submit(struct block *blk, struct block_request *req)
{
	block_submit(to_drbd(blk)->inner, req);
}

/* After `drbdadm resize`. */
static int drbd_resize(struct block *blk, uint64_t size, struct error *err)
{
	struct drbd_disk *d = to_drbd(blk);
	int ret = block_resize(d->inner, size, err);

	if (!ret)
		d->opt.size = blk->size = size;
	return ret;
}

static void drbd_close(struct block *blk)
{
	struct drbd_disk *d = to_drbd(blk);

	block_close(d->inner);
	step_down(d);
	free(d);
}

/* It becomes a word on a command line: no option, no path. */
static int set_name(struct drbd_disk *d, const char *uri, struct error *err)
{
	const char *name = uri + strlen("drbd:");
	static const char good[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	if (!*name || *name == '-' || name[strspn(name, good)] ||
	    strlen(name) >= sizeof(d->resource))
		return error_set(err, EINVAL,
				 "a DRBD disk is written drbd:RESOURCE");
	strcpy(d->resource, name);
	return 0;
}

/* The device of its only volume; a warning may stand before it. */
static int find_device(struct drbd_disk *d, struct error *err)
{
	const char *argv[] = { "drbdadm", "sh-dev", d->resource, NULL };
	char out[DRBD_TEXT_BYTES], *line, *rest = NULL;
	int ret = drbd_tool(argv, out, sizeof(out), err), volumes = 0;

	if (ret)
		return ret;
	for (line = strtok_r(out, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest))
		if (line[0] == '/' && !volumes++)
			snprintf(d->device, sizeof(d->device), "%s", line);
	if (volumes != 1)
		return error_set(err, ENOTSUP,
				 "it has %d volumes, a disk is one", volumes);
	d->opt.uri = d->device;
	return 0;
}

/* What would hinder activate is said before the guest is paused for it. */
static int probe(struct drbd_disk *d, const char *uri, struct error *err)
{
	struct drbd_status st;
	int ret = set_name(d, uri, err) ?: find_device(d, err);

	ret = ret ?: drbd_status(d->resource, &st, err);
	return ret ?: check_arrival(d, &st, err);
}

static int drbd_open(struct block **out, const struct block_options *opt,
		     const struct block_events *events, struct loop *loop,
		     const struct log *log, struct error *err)
{
	struct drbd_disk *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return error_set(err, ENOMEM, "no memory");
	d->blk = (struct block){
		.size = opt->size, .block_size = 512,
		.readonly = opt->readonly, .can_flush = true,
		.can_fua = true,	/* the raw disk on its device can */
		.can_discard = true, .can_write_zeroes = true,
	};
	d->loop = loop;
	d->log = log;
	d->opt = *opt;
	d->incoming = opt->incoming;
	ret = probe(d, opt->uri, err);
	if (ret)
		free(d);
	else
		*out = &d->blk;
	return ret;
}

static const struct block_driver drbd_driver = {
	.scheme = "drbd",
	.doc = "a DRBD resource, primary where the VM runs",
	.fence = "the primary's role, as long as both sides are connected",
	.open = drbd_open,
	.activate = drbd_activate,
	.deactivate = drbd_deactivate,
	.submit = drbd_submit,
	.resize = drbd_resize,
	.close = drbd_close,
};

BLOCK_DRIVER(drbd_driver);
