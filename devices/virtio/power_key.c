/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A keyboard with one key, Power (virtio 1.2, section 5.8): the power button
 * of boards whose kernels have no driver for GPIO keys.
 *
 * A press is four events, each in a buffer of its own: down, report, up,
 * report. What the driver has no buffer for yet waits, and travels.
 */
#include <errno.h>
#include <linux/input-event-codes.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_input.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/byteorder.h"

#define QUEUE_SIZE 16
#define EVENT_BYTES 8
#define PAYLOAD 8		/* offset of the configuration's union */
enum { EVENTS, STATUS, QUEUES };

static const struct {
	uint16_t type, code;
	uint32_t value;
} press[] = {
	{ EV_KEY, KEY_POWER, 1 }, { EV_SYN, SYN_REPORT, 0 },
	{ EV_KEY, KEY_POWER, 0 }, { EV_SYN, SYN_REPORT, 0 },
};

struct power_key {
	struct virtio_device v;

	/* guest-visible state */
	uint8_t select, subsel;	/* what the configuration space shows */
	uint8_t pending;	/* events of a press still to be told */

	/* host resources */
	struct virtq_chain chain;
};

static struct power_key *to_power_key(struct virtio_device *v)
{
	return container_of(v, struct power_key, v);
}

static uint64_t power_key_features(struct virtio_device *v)
{
	return 0;
}

static void power_key_get_config(struct virtio_device *v,
				 uint8_t config[VIRTIO_CONFIG_BYTES])
{
	static const char name[] = "Godwit power button";
	const struct power_key *k = to_power_key(v);

	config[0] = k->select;
	config[1] = k->subsel;
	if (k->select == VIRTIO_INPUT_CFG_ID_NAME) {
		config[2] = sizeof(name) - 1;
		memcpy(config + PAYLOAD, name, sizeof(name) - 1);
	} else if (k->select == VIRTIO_INPUT_CFG_EV_BITS &&
		   k->subsel == EV_KEY) {
		config[2] = KEY_POWER / 8 + 1;
		config[PAYLOAD + KEY_POWER / 8] = 1 << KEY_POWER % 8;
	}
}

static void power_key_set_config(struct virtio_device *v, uint32_t offset,
				 uint8_t value)
{
	if (offset == 0)
		to_power_key(v)->select = value;
	else if (offset == 1)
		to_power_key(v)->subsel = value;
}

static int serve_event(struct power_key *k)
{
	unsigned int next = ARRAY_SIZE(press) - k->pending;
	struct virtq_chain *c = &k->chain;
	uint8_t event[EVENT_BYTES];
	int ret = k->pending ? virtio_pop(&k->v, EVENTS, c) : 0;

	if (ret <= 0)
		return ret;
	if (c->in_len < EVENT_BYTES)
		virtio_guest_error(&k->v, "a buffer is shorter than an event");
	put_le16(event, press[next].type);
	put_le16(event + 2, press[next].code);
	put_le32(event + 4, press[next].value);
	iov_write(c->in, c->nin, 0, event, MIN(c->in_len, EVENT_BYTES));
	k->pending--;
	virtq_push(&k->v.queue[EVENTS], c, MIN(c->in_len, EVENT_BYTES));
	return 1;
}

/* There is no light to switch. */
static int serve_status(struct power_key *k)
{
	int ret = virtio_pop(&k->v, STATUS, &k->chain);

	if (ret > 0)
		virtq_push(&k->v.queue[STATUS], &k->chain, 0);
	return ret;
}

static int power_key_serve(struct virtio_device *v, unsigned int index)
{
	struct power_key *k = to_power_key(v);

	return index == EVENTS ? serve_event(k) : serve_status(k);
}

static void power_key_forget(struct virtio_device *v)
{
	struct power_key *k = to_power_key(v);

	k->select = k->subsel = k->pending = 0;
}

static const struct virtio_ops power_key_ops = {
	.id = VIRTIO_ID_INPUT,
	.features = power_key_features,
	.get_config = power_key_get_config,
	.set_config = power_key_set_config,
	.serve = power_key_serve,
	.reset = power_key_forget,
};

/* Before a driver is there nobody would see it. */
static void power_key_press(struct device *dev)
{
	struct power_key *k = container_of(dev, struct power_key, v.dev);

	device_lock(dev);
	if (virtio_ready(&k->v) && !k->pending)
		k->pending = ARRAY_SIZE(press);
	virtio_kick(&k->v, EVENTS);
	device_unlock(dev);
}

static int power_key_post_load(void *obj, struct error *err)
{
	struct power_key *k = obj;

	return virtio_post_load(&k->v, err);
}

static const struct state_table power_key_state = {
	.name = "virtio_power_key",
	.doc = "virtio input device with the power key",
	.size = sizeof(struct power_key),
	STATE_VISIBLE(struct power_key, select, pending),
	STATE_FIELDS(
		VIRTIO_STATE(struct power_key, QUEUES),
		STATE_U8(struct power_key, select,
			 .doc = "what the configuration space shows"),
		STATE_U8(struct power_key, subsel, .doc = "and of what"),
		STATE_U8(struct power_key, pending, .max = ARRAY_SIZE(press),
			 .doc = "events of a press still to be told")),
	.post_load = power_key_post_load,
};

static const struct device_class power_key_class;

static void power_key_destroy(struct device *dev)
{
	struct power_key *k = container_of(dev, struct power_key, v.dev);

	virtio_exit(&k->v);
	free(k);
}

static int power_key_create(struct device_env *env, int node,
			    struct device **out, struct error *err)
{
	struct power_key *k = calloc(1, sizeof(*k));
	int ret;

	if (!k)
		return error_set(err, ENOMEM, "virtio-power-key: no memory");
	ret = virtio_init(&k->v, &power_key_class, &power_key_ops, QUEUES,
			  QUEUE_SIZE, env, node, err);
	if (ret < 0) {
		free(k);
		return ret;
	}
	*out = &k->v.dev;
	return 0;
}

static const struct device_class power_key_class = {
	.compatible = "godwit,virtio-power-key",
	.doc = "virtio input device with the power key (virtio 1.2, section 5.8)",
	.state = &power_key_state,
	.create = power_key_create,
	.destroy = power_key_destroy,
	.reset = virtio_device_reset,
	.start = virtio_device_start,
	.stop = virtio_device_stop,
	.power_button = power_key_press,
};

DEVICE_CLASS(power_key_class);
