/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of virtio-blk, from the chain to the status byte. */
#include <errno.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "vmm/base/byteorder.h"

#define HEADER_BYTES 16		/* type, reserved, sector */
#define RANGE_BYTES 16		/* sector, sectors, flags */

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
	/* the loop will look for what the guest answers with */
	if (loop_polls(v->dev.env->loop))
		virtq_notify_cancel(&v->queue[0]);
	if (r->result < 0 && blk_keep(r, r->result))
		req_put(r);
	else
		req_finish(r, r->result == 0 ? VIRTIO_BLK_S_OK :
			      r->result == -ENOTSUP ? VIRTIO_BLK_S_UNSUPP :
			      VIRTIO_BLK_S_IOERR);
	virtio_interrupt(v, 0);
	device_unlock(&v->dev);
	loop_expect(v->dev.env->loop);
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
		flush = result == 0 && !io->fua && writethrough(blk);
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
	r->io.fua = op == BLOCK_WRITE && r->blk->backend->can_fua &&
		    writethrough(r->blk);
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
	/* the chain itself needs them no more */
	r->io.niov = (int)iov_merge(r->io.iov, in ? c->nin : c->nout);
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

int blk_serve(struct virtio_device *v, unsigned int index)
{
	struct virtio_blk *blk = virtio_blk_of(v);
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

void blk_retry(struct virtio_blk *blk)
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
