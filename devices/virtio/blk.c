/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk, the block device (virtio 1.2, section 5.2), on a backend of
 * devices/block/. One queue; flush, discard, write zeroes, read-only, serial,
 * writeback switch. Left out: secure erase, lifetime, zones, topology.
 *
 * The logical block size is the tree's "block-size" (512), never the host's:
 * it must not change when the disk is opened on another host.
 *
 * Threads: see virtio.h. Requests complete on the loop's thread.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "vmm/base/byteorder.h"
#include "vmm/tree.h"

#define QUEUE_SIZE 256
#define SEG_MAX (VIRTQ_MAX_IOV - 2)
#define RECONNECT_S 10
#define DISCARD_ALIGN 8			/* sectors: what file systems punch */

static int blk_start(struct device *dev, struct error *err)
{
	struct virtio_blk *blk = container_of(dev, struct virtio_blk, v.dev);
	int ret = virtio_device_start(dev, err);

	device_lock(dev);
	if (!ret && virtio_can_serve(&blk->v, 0))
		blk_retry(blk);
	device_unlock(dev);
	return ret;
}

/* -- configuration space */

static uint64_t blk_features(struct virtio_device *v)
{
	struct virtio_blk *blk = virtio_blk_of(v);
	struct block *b = blk->backend;
	uint64_t f = 1ull << VIRTIO_BLK_F_SEG_MAX |
		     1ull << VIRTIO_BLK_F_BLK_SIZE;

	/* until it is active a backend may not know: see blk_activate() */
	if (b->can_flush || !b->active)
		f |= 1ull << VIRTIO_BLK_F_FLUSH |
		     1ull << VIRTIO_BLK_F_CONFIG_WCE;
	if (b->can_discard || !b->active)
		f |= 1ull << VIRTIO_BLK_F_DISCARD;
	if (b->can_write_zeroes || !b->active)
		f |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	if (b->readonly || !b->active)
		f |= 1ull << VIRTIO_BLK_F_RO;
	return f;
}

#define PUT(bits, config, field, value) \
	put_le##bits(config + offsetof(struct virtio_blk_config, field), value)

static void blk_get_config(struct virtio_device *v,
			   uint8_t config[VIRTIO_CONFIG_BYTES])
{
	struct virtio_blk *blk = virtio_blk_of(v);

	PUT(64, config, capacity, blk->capacity);
	PUT(32, config, seg_max, SEG_MAX);
	PUT(32, config, blk_size, blk->block_size);
	config[offsetof(struct virtio_blk_config, wce)] = blk->writeback;
	PUT(32, config, max_discard_sectors, MAX_RANGE_SECTORS);
	PUT(32, config, max_discard_seg, 1);
	PUT(32, config, discard_sector_alignment, DISCARD_ALIGN);
	PUT(32, config, max_write_zeroes_sectors, MAX_RANGE_SECTORS);
	PUT(32, config, max_write_zeroes_seg, 1);
	config[offsetof(struct virtio_blk_config, write_zeroes_may_unmap)] = 1;
}

static void blk_set_config(struct virtio_device *v, uint32_t offset,
			   uint8_t value)
{
	if (offset == offsetof(struct virtio_blk_config, wce) &&
	    virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE) && value <= 1)
		virtio_blk_of(v)->writeback = value;
	else
		virtio_guest_error(v, "it writes read-only configuration");
}

static void blk_reset(struct virtio_device *v)
{
	virtio_blk_of(v)->writeback = 1;
	virtio_blk_of(v)->nkept = 0;
}

static const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.polled = true,
	.features = blk_features,
	.get_config = blk_get_config,
	.set_config = blk_set_config,
	.serve = blk_serve,
	.reset = blk_reset,
};

/* -- ownership */

/* The disk that was found here must be the one that the guest knows. */
static int check_backend(struct virtio_blk *blk, struct error *err)
{
	bool agreed = blk->v.status & VIRTIO_CONFIG_S_FEATURES_OK;
	uint64_t lacking = blk->v.driver_features & ~virtio_features(&blk->v);
	uint64_t found = blk->backend->size / SECTOR;

	if (blk->capacity && found != blk->capacity)
		return error_set(err, EINVAL, "%s: the disk has %llu bytes, the guest knows %llu",
				 blk->opt.uri,
				 (unsigned long long)found * SECTOR,
				 (unsigned long long)blk->capacity * SECTOR);
	if (agreed && lacking)
		return error_set(err, ENOTSUP, "%s: the guest uses features %#llx that this disk lacks",
				 blk->opt.uri, (unsigned long long)lacking);
	if (agreed && blk->backend->readonly &&
	    !virtio_has(&blk->v, VIRTIO_BLK_F_RO))
		return error_set(err, EROFS, "%s: read-only here, but the guest writes to it",
				 blk->opt.uri);
	return 0;
}

static int blk_activate(struct device *dev, struct error *err)
{
	struct virtio_blk *blk = container_of(dev, struct virtio_blk, v.dev);
	struct error ignored = ERROR_INIT;
	int ret;

	ret = block_activate(blk->backend, err);
	if (ret == 0) {
		device_lock(dev);
		ret = check_backend(blk, err);
		if (ret == 0) {
			blk->capacity = blk->backend->size / SECTOR;
			blk->disk.size = blk->backend->size;
			blk->disk.readonly = blk->backend->readonly;
		}
		device_unlock(dev);
		if (ret < 0)
			(void)!block_deactivate(blk->backend, &ignored);
	}
	return ret;
}

static int blk_deactivate(struct device *dev, struct error *err)
{
	struct virtio_blk *blk = container_of(dev, struct virtio_blk, v.dev);

	return block_deactivate(blk->backend, err);
}

static void blk_lost(void *arg, const char *why)
{
	struct virtio_blk *blk = arg;
	struct device_env *env = blk->v.dev.env;

	log_warn(env->log, "%s: %s: waiting for the disk: %s",
		 blk->v.dev.name, blk->opt.uri, why);
	env->request(env, VM_REQUEST_DISK_LOST, 0);
}

/* The driver reads the capacity again (section 5.2.5). */
void blk_resized(struct virtio_blk *blk)
{
	struct virtio_device *v = &blk->v;
	bool same;

	device_lock(&v->dev);
	same = blk->capacity == blk->backend->size / SECTOR;
	blk->capacity = blk->backend->size / SECTOR;
	vm_disk_resized(&blk->disk, blk->backend->size);
	if (!same && virtio_ready(v))
		virtio_config_changed(v);
	device_unlock(&v->dev);
}

static void on_resized(void *arg)
{
	blk_resized(arg);
}

static void blk_found(void *arg)
{
	struct virtio_blk *blk = arg;
	struct device_env *env = blk->v.dev.env;

	log_info(env->log, "%s: %s: the disk is back", blk->v.dev.name,
		 blk->opt.uri);
	env->request(env, VM_REQUEST_DISK_FOUND, 0);
}

/* -- state */

static int blk_post_load(void *obj, struct error *err)
{
	struct virtio_blk *blk = obj;
	int ret = virtio_post_load(&blk->v, err);

	return ret ? ret : blk_kept_loaded(blk, err);
}

static const struct state_table blk_state = {
	.name = "virtio_blk",
	.doc = "virtio block device; no request is in flight when saved",
	.size = sizeof(struct virtio_blk),
	STATE_VISIBLE(struct virtio_blk, capacity, kept),
	STATE_FIELDS(
		VIRTIO_STATE(struct virtio_blk, 1),
		STATE_U64(struct virtio_blk, capacity,
			  .max = UINT64_MAX / SECTOR,
			  .doc = "sectors of 512 bytes"),
		STATE_U8(struct virtio_blk, writeback, .max = 1,
			 .doc = "cache mode, 1 = writeback"),
		STATE_UINT_ARRAY_LEN(struct virtio_blk, kept, nkept,
			.doc = "heads of chains that the disk failed, to be tried again"),
	),
	.post_load = blk_post_load,
};

/* -- creation */

static struct vm_disk *blk_disk(struct device *dev)
{
	return &container_of(dev, struct virtio_blk, v.dev)->disk;
}

static const struct device_class blk_class;

static int blk_configure(struct virtio_blk *blk, struct device_env *env,
			 int node, struct error *err)
{
	const char *serial = tree_str(env->tree, node, "serial",
				      tree_str(env->tree, node, "id", ""));

	blk->opt = (struct block_options){
		.uri = tree_str(env->tree, node, "backend", NULL),
		.readonly = tree_has(env->tree, node, "readonly"),
		.direct = tree_has(env->tree, node, "direct"),
		.reconnect_s = tree_u32(env->tree, node, "reconnect-delay",
					RECONNECT_S),
		.incoming = env->incoming,
		.size = tree_u64(env->tree, node, "size", 0),
	};
	if (!blk->opt.uri)
		return error_set(err, EINVAL, "disk has no backend");
	/* section 5.2.6: padded with zeroes, no terminator if it is full */
	memcpy(blk->serial, serial, strnlen(serial, sizeof(blk->serial)));
	blk->block_size = tree_u32(env->tree, node, "block-size", SECTOR);
	if (blk->block_size < SECTOR || blk->block_size > 65536 ||
	    (blk->block_size & (blk->block_size - 1)))
		return error_set(err, EINVAL, "block-size %u (accepted: a power of two from 512 to 65536)",
				 blk->block_size);
	blk->writeback = 1;
	return blk_configure_errors(blk, env->tree, node, err);
}

static int blk_open(struct virtio_blk *blk, struct device_env *env,
		    struct error *err)
{
	struct block_events events = {
		.lost = blk_lost, .found = blk_found,
		.resized = on_resized, .arg = blk
	};
	int ret = block_open(&blk->backend, &blk->opt, &events, env->loop,
			     env->log, err);

	if (ret < 0)
		return ret;
	blk->capacity = (blk->backend->size ? blk->backend->size :
					      blk->opt.size) / SECTOR;
	blk->nreq = blk->nfresh = blk->v.queue[0].max;
	blk->req = calloc(blk->nreq, sizeof(*blk->req));
	if (!blk->req)
		return error_set(err, ENOMEM, "no memory for requests");
	return 0;
}

static void blk_destroy(struct device *dev)
{
	struct virtio_blk *blk = container_of(dev, struct virtio_blk, v.dev);

	if (blk->backend)
		block_close(blk->backend);
	virtio_exit(&blk->v);
	vm_disk_exit(&blk->disk);
	free(blk->req);
	free(blk);
}

static int blk_create(struct device_env *env, int node, struct device **out,
		      struct error *err)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	uint16_t size;
	int ret;

	if (!blk)
		return error_set(err, ENOMEM, "virtio-blk: no memory");
	ret = virtio_queue_size(env, node, QUEUE_SIZE, &size, err);
	if (ret == 0)
		ret = blk_configure(blk, env, node, err);
	if (ret == 0)
		ret = virtio_init(&blk->v, &blk_class, &blk_ops, 1, size, env,
				  node, err);
	if (ret < 0) {
		free(blk);
		return ret;
	}
	vm_disk_init(&blk->disk, &blk_disk_ops, env->loop,
		     tree_str(env->tree, node, "id", blk->v.dev.name));
	blk->disk.overwrite = tree_has(env->tree, node, "overwrite");
	ret = blk_open(blk, env, err);
	if (ret < 0) {
		blk_destroy(&blk->v.dev);
		return ret;
	}
	*out = &blk->v.dev;
	return 0;
}

static const struct device_class blk_class = {
	.compatible = "godwit,virtio-blk",
	.doc = "virtio block device (virtio 1.2, section 5.2)",
	.state = &blk_state,
	.create = blk_create,
	.destroy = blk_destroy,
	.reset = virtio_device_reset,
	.activate = blk_activate,
	.deactivate = blk_deactivate,
	.start = blk_start,
	.stop = virtio_device_stop,
	.disk = blk_disk,
};

DEVICE_CLASS(blk_class);
