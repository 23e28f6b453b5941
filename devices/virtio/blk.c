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
#define SECTOR 512
#define HEADER_BYTES 16		/* type, reserved, sector */
#define RANGE_BYTES 16		/* sector, sectors, flags */
#define SEG_MAX (VIRTQ_MAX_IOV - 2)
#define MAX_RANGE_SECTORS (1u << 21)	/* 1 GiB */
#define RECONNECT_S 10
#define DISCARD_ALIGN 8			/* sectors: what file systems punch */

static struct virtio_blk *to_blk(struct virtio_device *v)
{
	return container_of(v, struct virtio_blk, v);
}

/* -- requests */

static struct blk_req *req_get(struct virtio_blk *blk)
{
	struct blk_req *r = blk->free;

	if (r)
		blk->free = r->next_free;
	else if (blk->nfresh)
		r = &blk->req[--blk->nfresh];
	if (r)
		r->blk = blk;
	return r;
}

static void req_put(struct blk_req *r)
{
	struct virtio_blk *blk = r->blk;

	r->next_free = blk->free;
	blk->free = r;
	if (blk->starved) {
		blk->starved = false;
		virtio_kick(&blk->v, 0);
	}
}

static void req_finish(struct blk_req *r, uint8_t status)
{
	struct virtq *q = &r->blk->v.queue[0];

	/* a void chain's memory may belong to others by now */
	if (r->chain.epoch == q->epoch)
		*r->status = status;
	/* all that could have been written counts, even after an error */
	virtq_push(q, &r->chain, r->chain.in_len);
	req_put(r);
}

static bool writethrough(struct virtio_blk *blk)
{
	/* section 5.2.6.2: who can't flush must not need to */
	return blk->backend->can_flush &&
	       (!blk->writeback || !virtio_has(&blk->v, VIRTIO_BLK_F_FLUSH));
}

static bool is_write(const struct blk_req *r)
{
	return r->write.len;
}

static void req_tell(struct blk_req *r)
{
	struct virtio_device *v = &r->blk->v;

	device_lock(&v->dev);
	if (r->result < 0 && blk_keep(r, r->result))
		req_put(r);
	else
		req_finish(r, r->result == 0 ? VIRTIO_BLK_S_OK :
			      r->result == -ENOTSUP ? VIRTIO_BLK_S_UNSUPP :
			      VIRTIO_BLK_S_IOERR);
	virtio_interrupt(v, 0);
	device_unlock(&v->dev);
	device_put(&v->dev);
}

static void req_held_done(struct vm_disk_write *w)
{
	req_tell(container_of(w, struct blk_req, write));
}

static void req_done(struct block_request *io, int result)
{
	struct blk_req *r = container_of(io, struct blk_req, io);
	struct virtio_blk *blk = r->blk;
	bool landed = io->op != BLOCK_READ && io->op != BLOCK_FLUSH;
	bool flush = false;

	if (landed) {
		vm_disk_write_end(&blk->disk, &r->write);
		device_lock(&blk->v.dev);
		flush = result == 0 && writethrough(blk);
		device_unlock(&blk->v.dev);
	}
	if (flush) {
		*io = (struct block_request){
			.op = BLOCK_FLUSH, .done = req_done
		};
		block_submit(blk->backend, io);
		return;
	}
	r->result = result;
	if (result < 0 || !is_write(r) ||
	    !vm_disk_write_held(&blk->disk, &r->write))
		req_tell(r);
}

static void req_submit(struct blk_req *r, enum block_op op, uint64_t offset,
		       uint64_t len)
{
	r->io.op = op;
	r->io.offset = offset;
	r->io.len = len;
	r->io.done = req_done;
	r->write = (struct vm_disk_write){ .done = req_held_done };
	device_get(&r->blk->v.dev);
	if (op != BLOCK_READ && op != BLOCK_FLUSH) {
		r->write.offset = offset;
		r->write.len = len;
		vm_disk_write_begin(&r->blk->disk, &r->write);
	}
	block_submit(r->blk->backend, &r->io);
}

static bool range_ok(struct virtio_blk *blk, uint64_t sector, uint64_t sectors)
{
	return range_within(sector, sectors, blk->capacity);
}

static void req_transfer(struct blk_req *r, uint64_t sector)
{
	struct virtq_chain *c = &r->chain;
	bool in = r->type == VIRTIO_BLK_T_IN;
	uint64_t len = in ? c->in_len - 1 : c->out_len - HEADER_BYTES;

	if (!len || len % SECTOR || !range_ok(r->blk, sector, len / SECTOR) ||
	    (!in && r->blk->backend->readonly)) {
		req_finish(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->io.iov = in ? c->in : c->out;
	r->io.niov = (int)(in ? c->nin : c->nout);
	req_submit(r, in ? BLOCK_READ : BLOCK_WRITE, sector * SECTOR, len);
}

static void req_flush(struct blk_req *r)
{
	if (r->blk->backend->can_flush)
		req_submit(r, BLOCK_FLUSH, 0, 0);
	else
		req_finish(r, VIRTIO_BLK_S_OK);
}

/* Discard and write zeroes: one range, as config announces. */
static void req_range(struct blk_req *r)
{
	struct virtio_blk *blk = r->blk;
	bool zeroes = r->type == VIRTIO_BLK_T_WRITE_ZEROES;
	uint8_t raw[RANGE_BYTES];
	uint64_t sector;
	uint32_t sectors, flags;

	if (!virtio_has(&blk->v, zeroes ? VIRTIO_BLK_F_WRITE_ZEROES :
					  VIRTIO_BLK_F_DISCARD)) {
		req_finish(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (iov_read(r->chain.out, r->chain.nout, 0, raw, sizeof(raw)) !=
	    sizeof(raw) || r->chain.out_len != HEADER_BYTES + RANGE_BYTES) {
		req_finish(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	sector = get_le64(raw);
	sectors = get_le32(raw + 8);
	flags = get_le32(raw + 12);
	/* section 5.2.6.2: unmap means nothing to a discard */
	if (flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u)) {
		req_finish(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (!sectors || sectors > MAX_RANGE_SECTORS ||
	    !range_ok(blk, sector, sectors) || blk->backend->readonly) {
		req_finish(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->io.unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	req_submit(r, zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD,
		   sector * SECTOR, (uint64_t)sectors * SECTOR);
}

static void req_serial(struct blk_req *r)
{
	const char *id = r->blk->serial;

	iov_write(r->chain.in, r->chain.nin, 0, id, VIRTIO_BLK_ID_BYTES);
	req_finish(r, VIRTIO_BLK_S_OK);
}

static void req_start(struct blk_req *r, uint64_t sector)
{
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		req_transfer(r, sector);
		break;
	case VIRTIO_BLK_T_FLUSH:
		req_flush(r);
		break;
	case VIRTIO_BLK_T_GET_ID:
		req_serial(r);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		req_range(r);
		break;
	default:
		req_finish(r, VIRTIO_BLK_S_UNSUPP);
	}
}

/* Take header and status off the chain: the data remains. */
static bool req_parse(struct blk_req *r, uint64_t *sector)
{
	struct virtq_chain *c = &r->chain;
	uint8_t header[HEADER_BYTES];
	struct iovec *last;

	if (c->out_len < HEADER_BYTES || !c->in_len)
		return false;
	iov_read(c->out, c->nout, 0, header, sizeof(header));
	r->type = get_le32(header);
	*sector = get_le64(header + 8);
	memset(&r->io, 0, sizeof(r->io));
	last = &c->in[c->nin - 1];
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	iov_trim_front(&c->out, &c->nout, HEADER_BYTES);
	iov_trim_back(c->in, &c->nin, 1);
	return true;
}

static int req_begin(struct blk_req *r)
{
	uint64_t sector;

	if (!req_parse(r, &sector)) {
		/* there is no byte to say so in */
		virtio_broken(&r->blk->v,
			      "a request has no header or no status");
		return -EBADMSG;
	}
	req_start(r, sector);
	return 1;
}

static int blk_serve(struct virtio_device *v, unsigned int index)
{
	struct virtio_blk *blk = to_blk(v);
	struct blk_req *r = req_get(blk);
	int ret;

	if (!r) {
		blk->starved = true;
		return 0;
	}
	ret = virtio_pop(v, index, &r->chain);
	if (ret > 0)
		ret = req_begin(r);
	if (ret <= 0)
		req_put(r);
	return ret;
}

/* Begin the kept requests again, as if the driver had just made them. */
static void retry(struct virtio_blk *blk)
{
	struct virtq *q = &blk->v.queue[0];
	uint32_t i, n = blk_take_kept(blk);

	for (i = 0; i < n; i++) {
		struct blk_req *r = req_get(blk);
		int ret;

		/* each holds an entry of the queue, and there are as many */
		if (!r)
			break;
		ret = virtq_retake(q, blk->kept[i], &r->chain);
		if (ret < 0)
			virtio_broken(&blk->v, q->why);
		else
			ret = req_begin(r);
		if (ret < 0) {
			req_put(r);
			break;
		}
	}
	virtio_interrupt(&blk->v, 0);
}

static int blk_start(struct device *dev, struct error *err)
{
	struct virtio_blk *blk = container_of(dev, struct virtio_blk, v.dev);
	int ret = virtio_device_start(dev, err);

	device_lock(dev);
	if (!ret && virtio_can_serve(&blk->v, 0))
		retry(blk);
	device_unlock(dev);
	return ret;
}

/* -- configuration space */

static uint64_t blk_features(struct virtio_device *v)
{
	struct virtio_blk *blk = to_blk(v);
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
	struct virtio_blk *blk = to_blk(v);

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
		to_blk(v)->writeback = value;
	else
		virtio_guest_error(v, "it writes read-only configuration");
}

static void blk_reset(struct virtio_device *v)
{
	to_blk(v)->writeback = 1;
	to_blk(v)->nkept = 0;
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
static void blk_resized(void *arg)
{
	struct virtio_blk *blk = arg;
	struct virtio_device *v = &blk->v;

	device_lock(&v->dev);
	blk->capacity = blk->backend->size / SECTOR;
	vm_disk_resized(&blk->disk, blk->backend->size);
	if (virtio_ready(v))
		virtio_config_changed(v);
	device_unlock(&v->dev);
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
		.resized = blk_resized, .arg = blk
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
