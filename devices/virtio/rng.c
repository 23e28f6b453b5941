/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-rng, the entropy device (virtio 1.2, section 5.4): random bytes of
 * the host's getrandom(). Nothing is left out.
 *
 * Threads: see virtio.h. getrandom() does not wait once the host has booted.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "devices/virtio/virtio.h"

#define QUEUE_SIZE 64
/* A buffer may be filled in part (section 5.4.6.1): the loop is not held up. */
#define MAX_BYTES 4096

struct virtio_rng {
	struct virtio_device v;
	/* host resources */
	struct virtq_chain chain;
};

static uint64_t rng_features(struct virtio_device *v)
{
	return 0;
}

static int rng_serve(struct virtio_device *v, unsigned int index)
{
	struct virtio_rng *rng = container_of(v, struct virtio_rng, v);
	struct virtq_chain *c = &rng->chain;
	uint8_t bytes[MAX_BYTES];
	ssize_t n = 0;
	int ret = virtio_pop(v, index, c);

	if (ret <= 0)
		return ret;
	if (c->in_len)
		n = getrandom(bytes, MIN(c->in_len, sizeof(bytes)), 0);
	else
		virtio_guest_error(v, "a buffer can't be written");
	if (n < 0)
		n = 0;
	iov_write(c->in, c->nin, 0, bytes, (size_t)n);
	virtq_push(&v->queue[index], c, (uint32_t)n);
	return 1;
}

static const struct virtio_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.features = rng_features,
	.serve = rng_serve,
};

static int rng_post_load(void *obj, struct error *err)
{
	struct virtio_rng *rng = obj;

	return virtio_post_load(&rng->v, err);
}

static const struct state_table rng_state = {
	.name = "virtio_rng",
	.doc = "virtio entropy device",
	.size = sizeof(struct virtio_rng),
	STATE_FIELDS(VIRTIO_STATE(struct virtio_rng, 1)),
	.post_load = rng_post_load,
};

static const struct device_class rng_class;

static int rng_create(struct device_env *env, int node, struct device **out,
		      struct error *err)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int ret;

	if (!rng)
		return error_set(err, ENOMEM, "virtio-rng: no memory");
	ret = virtio_init(&rng->v, &rng_class, &rng_ops, 1, QUEUE_SIZE, env,
			  node, err);
	if (ret < 0) {
		free(rng);
		return ret;
	}
	*out = &rng->v.dev;
	return 0;
}

static void rng_destroy(struct device *dev)
{
	struct virtio_rng *rng = container_of(dev, struct virtio_rng, v.dev);

	virtio_exit(&rng->v);
	free(rng);
}

static const struct device_class rng_class = {
	.compatible = "godwit,virtio-rng",
	.doc = "virtio entropy device (virtio 1.2, section 5.4)",
	.state = &rng_state,
	.create = rng_create,
	.destroy = rng_destroy,
	.reset = virtio_device_reset,
	.start = virtio_device_start,
	.stop = virtio_device_stop,
};

DEVICE_CLASS(rng_class);
