/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks by URI: finds the driver, and checks each request before a driver
 * sees it. Everything in the loop's thread.
 */
#include "devices/block/block.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A build may have no driver at all, then the linker makes no section. */
extern const struct block_driver *const __start_block_drivers[]
	__attribute__((weak));
extern const struct block_driver *const __stop_block_drivers[]
	__attribute__((weak));

static const struct block_driver *driver_find(const char *scheme, size_t len)
{
	const struct block_driver *const *d;

	for (d = __start_block_drivers; d < __stop_block_drivers; d++)
		if (strlen((*d)->scheme) == len &&
		    !memcmp((*d)->scheme, scheme, len))
			return *d;
	return NULL;
}

/* "file, nbd": what this binary can open. */
static void list_schemes(char *buf, size_t size)
{
	const struct block_driver *const *d;
	size_t n = 0;

	buf[0] = '\0';
	for (d = __start_block_drivers; d < __stop_block_drivers; d++)
		if (n < size)
			n += (size_t)snprintf(buf + n, size - n, "%s%s:",
					      n ? ", " : "", (*d)->scheme);
}

static const struct block_driver *driver_of(const char *uri)
{
	const char *colon = strchr(uri, ':');

	if (!colon || uri[0] == '/' || uri[0] == '.')
		return driver_find("file", 4);
	return driver_find(uri, (size_t)(colon - uri));
}

int block_uri_check(const char *uri, struct error *err)
{
	char known[256];

	if (driver_of(uri))
		return 0;
	list_schemes(known, sizeof(known));
	return error_set(err, EINVAL,
			 "no such kind of disk; this binary knows a path and %s",
			 known[0] ? known : "nothing");
}

const char *block_fence(const char *uri)
{
	const struct block_driver *drv = driver_of(uri);

	return drv ? drv->fence : NULL;
}

void block_kind(const char *uri, char kind[32])
{
	const struct block_driver *drv = driver_of(uri);

	snprintf(kind, 32, "%s", drv ? drv->scheme : "");
}

int block_open(struct block **out, const struct block_options *opt,
	       const struct block_events *events, struct loop *loop,
	       const struct log *log, struct error *err)
{
	const struct block_driver *drv = driver_of(opt->uri);
	int ret = block_uri_check(opt->uri, err);

	if (!ret)
		ret = drv->open(out, opt, events, loop, log, err);
	if (ret) {
		error_prefix(err, "disk %s", opt->uri);
		return ret;
	}
	(*out)->driver = drv;
	(*out)->loop = loop;
	return 0;
}

void block_close(struct block *blk)
{
	if (blk)
		blk->driver->close(blk);
}

int block_activate(struct block *blk, struct error *err)
{
	int ret;

	if (blk->active)
		return 0;
	ret = blk->driver->activate(blk, err);
	blk->active = !ret;
	return ret;
}

int block_deactivate(struct block *blk, struct error *err)
{
	int ret;

	if (!blk->active)
		return 0;
	ret = blk->driver->deactivate(blk, err);
	if (!ret)
		blk->active = false;
	return ret;
}

int block_resize(struct block *blk, uint64_t size, struct error *err)
{
	if (!blk->active)
		return error_set(err, ENODEV, "it is not in use here");
	if (blk->readonly)
		return error_set(err, EROFS, "it is read-only");
	if (!size || size % 512)
		return error_set(err, EINVAL,
				 "a size of %llu bytes (accepted: a multiple of 512)",
				 (unsigned long long)size);
	if (size < blk->size)
		return error_set(err, EINVAL,
				 "it has %llu bytes, more than %llu: a disk only grows, what the guest has at its end would be lost",
				 (unsigned long long)blk->size,
				 (unsigned long long)size);
	if (size == blk->size)
		return 0;
	if (!blk->driver->resize)
		return error_set(err, ENOTSUP,
				 "%s: disks can't be resized, their size is what the server said when they were opened",
				 blk->driver->scheme);
	return blk->driver->resize(blk, size, err);
}

static uint64_t iov_bytes(const struct block_request *req)
{
	uint64_t sum = 0;

	for (int i = 0; i < req->niov; i++)
		sum += req->iov[i].iov_len;
	return sum;
}

static int check(const struct block *blk, const struct block_request *req)
{
	bool data = req->op == BLOCK_READ || req->op == BLOCK_WRITE;

	if (req->op < BLOCK_READ || req->op > BLOCK_MAP)
		return -EINVAL;
	if (!blk->active)
		return -ENODEV;
	if (req->op == BLOCK_FLUSH)
		return 0;
	if (req->op != BLOCK_READ && req->op != BLOCK_MAP && blk->readonly)
		return -EROFS;
	if (!range_within(req->offset, req->len, blk->size))
		return -EINVAL;
	if (data && iov_bytes(req) != req->len)
		return -EINVAL;
	return 0;
}

static void refuse(void *arg)
{
	struct block_request *req = arg;

	req->done(req, req->result);
}

void block_submit(struct block *blk, struct block_request *req)
{
	bool nothing = req->op != BLOCK_FLUSH && !req->len;

	req->result = check(blk, req);
	if (req->op == BLOCK_MAP && !req->result && !blk->can_map) {
		block_map_ask(blk, req);
		nothing = true;
	}
	if (req->result || nothing)
		loop_post(blk->loop, refuse, req);
	else
		blk->driver->submit(blk, req);
}
