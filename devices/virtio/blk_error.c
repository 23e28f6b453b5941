/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk's requests that the disk could not carry out. The guest is told,
 * or the VM stops and the request is kept: of it only the head of its chain,
 * which still belongs to the device, so that it is begun anew from guest
 * memory, here or where the VM has moved to meanwhile.
 *
 * QEMU's words: "report", to the guest, whose file system then goes read-only
 * or worse; "stop"; and "auto", which stops if the disk is full (QEMU's default
 * for writes) or its server lost, where the guest can do nothing about it.
 */
#include <errno.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "vmm/tree.h"

#define TELL_NS NSEC_PER_SEC

static int read_policy(enum blk_policy *out, const void *tree, int node,
		       const char *prop, struct error *err)
{
	static const char *const words[] = {
		[BLK_AUTO] = "auto", [BLK_REPORT] = "report",
		[BLK_STOP] = "stop",
	};
	const char *word = tree_str(tree, node, prop, words[BLK_AUTO]);
	unsigned int i;

	for (i = BLK_AUTO; i <= BLK_STOP; i++)
		if (!strcmp(word, words[i])) {
			*out = (enum blk_policy)i;
			return 0;
		}
	return error_set(err, EINVAL, "%s is %s (accepted: auto, report, stop)",
			 prop, word);
}

int blk_configure_errors(struct virtio_blk *blk, const void *tree, int node,
			 struct error *err)
{
	int ret = read_policy(&blk->on_write, tree, node, "werror", err);

	blk->id = tree_str(tree, node, "id", blk->v.dev.name);
	return ret ? ret :
	       read_policy(&blk->on_read, tree, node, "rerror", err);
}

static bool is_nospace(int result)
{
	return result == -ENOSPC || result == -EDQUOT;
}

static bool should_stop(const struct blk_req *r, int result)
{
	bool is_read = r->type == VIRTIO_BLK_T_IN;
	enum blk_policy policy = is_read ? r->blk->on_read : r->blk->on_write;

	/* ENOTSUP is no failure. What a failed flush has dropped no second
	 * one brings back: it would lie. */
	if (result == -ENOTSUP ||
	    (r->type == VIRTIO_BLK_T_FLUSH && result != BLOCK_LOST))
		return false;
	if (policy == BLK_AUTO)
		return is_nospace(result) || result == BLOCK_LOST;
	return policy == BLK_STOP;
}

/* Once if the VM stops; else once a second: a guest may try for ever. */
static void tell(struct blk_req *r, int result, bool stop)
{
	struct virtio_blk *blk = r->blk;
	struct device_env *env = blk->v.dev.env;
	struct io_error e = {
		.device = blk->id,
		.reason = result == BLOCK_LOST ? "the server does not answer" :
						 strerror(-result),
		.is_write = r->type != VIRTIO_BLK_T_IN,
		.nospace = is_nospace(result),
		.stop = stop,
	};
	uint64_t now = now_ns();

	if (stop ? blk->nkept > 1 :
		   blk->told_at && now - blk->told_at < TELL_NS)
		return;
	blk->told_at = stop ? 0 : now;
	log_warn(env->log, "%s: %s fails: %s%s", blk->opt.uri,
		 e.is_write ? "a write" : "a read", e.reason,
		 stop ? "; the VM stops, and tries again when it is resumed" :
			"");
	env->io_error(env, &e);
}

bool blk_keep(struct blk_req *r, int result)
{
	struct virtio_blk *blk = r->blk;
	const struct virtq *q = &blk->v.queue[0];
	bool stop = r->chain.epoch == q->epoch && should_stop(r, result) &&
		    blk->nkept < ARRAY_SIZE(blk->kept);

	if (stop) {
		/* those of before a reset are void */
		if (blk->kept_epoch != q->epoch)
			blk->nkept = 0;
		blk->kept_epoch = q->epoch;
		blk->kept[blk->nkept++] = r->chain.head;
	}
	tell(r, result, stop);
	return stop;
}

uint32_t blk_take_kept(struct virtio_blk *blk)
{
	uint32_t n = blk->nkept;

	blk->nkept = 0;
	return blk->kept_epoch == blk->v.queue[0].epoch ? n : 0;
}

int blk_kept_loaded(struct virtio_blk *blk, struct error *err)
{
	struct virtq *q = &blk->v.queue[0];

	if (blk->nkept > (q->ready ? q->size : 0))
		return error_set(err, EINVAL, "%u requests kept, of a queue of %u",
				 blk->nkept, q->ready ? q->size : 0);
	q->inflight = (uint16_t)blk->nkept;
	blk->kept_epoch = q->epoch;
	return 0;
}
