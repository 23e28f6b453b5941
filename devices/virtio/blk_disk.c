/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk, for whoever copies it: vmm/disk.h. Loop's thread. */
#include "devices/block/disk.h"
#include "devices/virtio/blk.h"

static struct virtio_blk *to_blk(struct vm_disk *d)
{
	return container_of(d, struct virtio_blk, disk);
}

static void submit(struct vm_disk *d, struct vm_disk_io *io)
{
	block_disk_submit(to_blk(d)->backend, io);
}

static int activate(struct vm_disk *d, struct error *err)
{
	struct device *dev = &to_blk(d)->v.dev;

	return dev->class->activate(dev, err);
}

static int resize(struct vm_disk *d, uint64_t size, struct error *err)
{
	struct virtio_blk *blk = to_blk(d);
	int ret = block_resize(blk->backend, size, err);

	if (ret < 0) {
		error_prefix(err, "disk %s", blk->opt.uri);
		return ret;
	}
	blk_resized(blk);
	return 0;
}

const struct vm_disk_ops blk_disk_ops = {
	.submit = submit,
	.activate = activate,
	.resize = resize,
};
