/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The common part of virtio devices (virtio 1.2, chapters 2 and 3). */
#include "devices/virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vmm/base/fd.h"
#include "vmm/tree.h"

#define RING_FEATURES (1ull << VIRTIO_F_VERSION_1 |			\
		       1ull << VIRTIO_RING_F_EVENT_IDX |		\
		       1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define STATUS_KNOWN (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | \
		      VIRTIO_CONFIG_S_DRIVER_OK |			\
		      VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

/* -- what went wrong */

void virtio_guest_error(struct virtio_device *v, const char *what)
{
	/* once: a guest must not be able to fill the host's log */
	if (v->guest_errors++ == 0)
		log_warn(v->dev.env->log, "%s: the driver misbehaves: %s",
			 v->dev.name, what);
}

void virtio_broken(struct virtio_device *v, const char *why)
{
	virtio_guest_error(v, why);
	if (v->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	v->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (v->status & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_config_changed(v);
}

bool virtio_ready(const struct virtio_device *v)
{
	return (v->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       !(v->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

bool virtio_can_serve(const struct virtio_device *v, unsigned int index)
{
	return v->running && virtio_ready(v) && v->queue[index].ready;
}

/* -- interrupts */

void virtio_config_changed(struct virtio_device *v)
{
	v->generation++;
	v->interrupt_status |= VIRTIO_MMIO_INT_CONFIG;
	irq_pulse(v->irq);
}

void virtio_interrupt(struct virtio_device *v, unsigned int index)
{
	if (!virtq_should_interrupt(&v->queue[index]))
		return;
	v->interrupt_status |= VIRTIO_MMIO_INT_VRING;
	irq_pulse(v->irq);
}

/* -- queues */

int virtio_pop(struct virtio_device *v, unsigned int index,
	       struct virtq_chain *c)
{
	struct virtq *q = &v->queue[index];
	int ret;

	if (!virtio_can_serve(v, index))
		return 0;
	ret = virtq_pop(q, c);
	if (ret < 0)
		virtio_broken(v, q->why ? q->why : "a queue can't be used");
	return ret;
}

void virtio_kick(struct virtio_device *v, unsigned int index)
{
	fd_event_signal(v->kick[index].fd);
}

/*
 * Serve until nothing is left. Before the last look the driver is asked to
 * notify again, so that a chain it adds meanwhile is seen or announced; not
 * while the loop looks by itself, for it asks before it sleeps.
 */
bool virtio_serve(struct virtio_device *v, unsigned int index)
{
	bool polls = v->ops->polled && loop_polls(v->dev.env->loop);
	unsigned int budget = VIRTIO_BUDGET;
	struct virtq *q = &v->queue[index];
	bool asked = false, served = false;

	if (!virtio_can_serve(v, index))
		return false;
	virtq_notify_off(q);
	for (; budget; budget--) {
		int ret = v->ops->serve(v, index);

		if (ret < 0 || (ret == 0 && asked))
			break;
		if (ret > 0 && asked)
			virtq_notify_off(q);
		else if (ret == 0 && (polls || !virtq_notify_on(q)))
			break;
		asked = ret == 0;
		served |= ret > 0;
	}
	/* others get their turn; it comes back by itself */
	if (!budget)
		virtio_kick(v, index);
	virtio_interrupt(v, index);
	return served;
}

static void kicked(void *arg, uint32_t events)
{
	struct virtio_kick *kick = arg;
	struct virtio_device *v = kick->v;

	/* each kick is an edge, so that none has to be taken from the counter */
	device_lock(&v->dev);
	virtio_serve(v, kick->index);
	device_unlock(&v->dev);
}

static bool look(void *arg)
{
	struct virtio_kick *kick = arg;
	struct virtio_device *v = kick->v;
	bool served = false;

	device_lock(&v->dev);
	if (virtq_pending(&v->queue[kick->index]))
		served = virtio_serve(v, kick->index);
	device_unlock(&v->dev);
	return served;
}

static bool arm(void *arg)
{
	struct virtio_kick *kick = arg;
	struct virtio_device *v = kick->v;
	bool served = false;

	device_lock(&v->dev);
	if (virtio_can_serve(v, kick->index) &&
	    virtq_notify_on(&v->queue[kick->index]))
		served = virtio_serve(v, kick->index);
	device_unlock(&v->dev);
	return served;
}

/* -- status and features */

uint64_t virtio_features(struct virtio_device *v)
{
	return RING_FEATURES | v->ops->features(v);
}

static void apply_features(struct virtio_device *v)
{
	for (unsigned int i = 0; i < v->nqueues; i++) {
		v->queue[i].event_idx = virtio_has(v, VIRTIO_RING_F_EVENT_IDX);
		v->queue[i].indirect =
			virtio_has(v, VIRTIO_RING_F_INDIRECT_DESC);
	}
	if (v->ops->set_features)
		v->ops->set_features(v);
}

void virtio_reset(struct virtio_device *v)
{
	if (v->ops->reset)
		v->ops->reset(v);
	for (unsigned int i = 0; i < v->nqueues; i++)
		virtq_reset(&v->queue[i]);
	v->driver_features = 0;
	v->features_sel = 0;
	v->driver_features_sel = 0;
	v->queue_sel = 0;
	v->interrupt_status = 0;
	v->generation = 0;
	v->status = 0;
	apply_features(v);
}

static void features_ok(struct virtio_device *v)
{
	/* refused by leaving the bit clear (section 3.1.1, step 5) */
	if (v->driver_features & ~virtio_features(v)) {
		virtio_guest_error(v, "it wants a feature not offered");
		return;
	}
	if (!virtio_has(v, VIRTIO_F_VERSION_1)) {
		virtio_guest_error(v, "it has no VIRTIO_F_VERSION_1");
		return;
	}
	v->status |= VIRTIO_CONFIG_S_FEATURES_OK;
	apply_features(v);
}

static void driver_ok(struct virtio_device *v)
{
	if (!(v->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_guest_error(v, "DRIVER_OK without FEATURES_OK");
		return;
	}
	v->status |= VIRTIO_CONFIG_S_DRIVER_OK;
	/* a queue that could not be set up is told now */
	if (v->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		virtio_config_changed(v);
	for (unsigned int i = 0; i < v->nqueues; i++)
		virtio_kick(v, i);
}

void virtio_set_status(struct virtio_device *v, uint32_t value)
{
	uint8_t added = value & STATUS_KNOWN & ~v->status;

	if (value == 0) {
		virtio_reset(v);
		return;
	}
	/* bits are only ever added: clearing one is the driver's mistake */
	v->status |= added & ~(VIRTIO_CONFIG_S_FEATURES_OK |
			       VIRTIO_CONFIG_S_DRIVER_OK);
	if (added & VIRTIO_CONFIG_S_FEATURES_OK)
		features_ok(v);
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		driver_ok(v);
}

/* -- life */

static int kick_init(struct virtio_device *v, unsigned int index,
		     struct error *err)
{
	struct virtio_kick *k = &v->kick[index];
	struct device_env *env = v->dev.env;
	int ret;

	k->v = v;
	k->index = index;
	k->fd = fd_event();
	if (k->fd < 0)
		return error_set(err, -k->fd, "eventfd: %s", strerror(-k->fd));
	k->watch = (struct loop_fd){
		.fd = k->fd, .events = EPOLLIN | EPOLLET, .fn = kicked,
		.arg = k
	};
	ret = loop_add(env->loop, &k->watch, err);
	if (ret < 0)
		return ret;
	k->poller = (struct loop_poller){
		.look = look, .arm = arm, .arg = k
	};
	if (v->ops->polled)
		loop_poller_add(env->loop, &k->poller);
	ret = env->ioeventfd(env, v->base + VIRTIO_MMIO_QUEUE_NOTIFY, index,
			     k->fd, true);
	k->ioeventfd = ret == 0;
	if (ret < 0 && ret != -ENOTSUP)
		return error_set(err, -ret, "ioeventfd: %s", strerror(-ret));
	return 0;
}

static void kick_exit(struct virtio_device *v, unsigned int index)
{
	struct virtio_kick *k = &v->kick[index];
	struct device_env *env = v->dev.env;

	if (k->ioeventfd)
		env->ioeventfd(env, v->base + VIRTIO_MMIO_QUEUE_NOTIFY, index,
			       k->fd, false);
	if (k->poller.link.next)
		loop_poller_del(&k->poller);
	if (k->watch.added)
		loop_del(env->loop, &k->watch);
	fd_close(&k->fd);
}

static int find_place(struct virtio_device *v, int node, struct error *err)
{
	struct device_env *env = v->dev.env;
	unsigned int gsi = 0;
	uint64_t size = 0;

	if (tree_reg(env->tree, node, 0, &v->base, &size, err) < 0 ||
	    tree_irq(env->tree, node, &gsi, err) < 0)
		return -err->code;
	if (size < VIRTIO_MMIO_CONFIG + VIRTIO_CONFIG_BYTES)
		return error_set(err, EINVAL, "register space of %llu bytes is too small",
				 (unsigned long long)size);
	v->irq = env->irq(env, gsi, err);
	if (!v->irq)
		return -err->code;
	return bus_add(env->mmio, v->base, size, &v->dev, virtio_mmio_access,
		       err);
}

int virtio_init(struct virtio_device *v, const struct device_class *class,
		const struct virtio_ops *ops, unsigned int nqueues,
		uint16_t queue_max, struct device_env *env, int node,
		struct error *err)
{
	int ret;

	device_init(&v->dev, class, env, node);
	v->ops = ops;
	v->nqueues = nqueues;
	for (unsigned int i = 0; i < nqueues; i++) {
		virtq_init(&v->queue[i], env->mem, queue_max);
		v->kick[i].fd = -1;
	}
	ret = find_place(v, node, err);
	for (unsigned int i = 0; i < nqueues && !ret; i++)
		ret = kick_init(v, i, err);
	if (ret < 0)
		virtio_exit(v);
	return ret;
}

void virtio_exit(struct virtio_device *v)
{
	for (unsigned int i = 0; i < v->nqueues; i++)
		kick_exit(v, i);
	device_exit(&v->dev);
}

int virtio_queue_size(struct device_env *env, int node, uint16_t fallback,
		      uint16_t *size, struct error *err)
{
	uint32_t n = tree_u32(env->tree, node, "queue-size", fallback);

	if (n < 2 || n > VIRTQ_MAX_SIZE || (n & (n - 1)))
		return error_set(err, EINVAL, "queue-size %u (accepted: a power of two from 2 to %d)",
				 n, VIRTQ_MAX_SIZE);
	*size = (uint16_t)n;
	return 0;
}

void virtio_device_reset(struct device *dev)
{
	struct virtio_device *v = container_of(dev, struct virtio_device, dev);

	device_lock(dev);
	virtio_reset(v);
	device_unlock(dev);
}

int virtio_device_start(struct device *dev, struct error *err)
{
	struct virtio_device *v = container_of(dev, struct virtio_device, dev);

	device_lock(dev);
	v->running = true;
	for (unsigned int i = 0; i < v->nqueues; i++)
		virtio_kick(v, i);
	/* a spurious interrupt is harmless, a lost one hangs the guest */
	if (v->interrupt_status)
		irq_pulse(v->irq);
	device_unlock(dev);
	return 0;
}

void virtio_device_stop(struct device *dev)
{
	struct virtio_device *v = container_of(dev, struct virtio_device, dev);

	device_lock(dev);
	v->running = false;
	device_unlock(dev);
}

/* -- state */

const struct state_table virtio_state = {
	.name = "virtio",
	.doc = "common part of a virtio device on virtio-mmio",
	.size = sizeof(struct virtio_device),
	/* the queues, which follow, are rows of each device: VIRTIO_STATE */
	STATE_VISIBLE(struct virtio_device, driver_features, status),
	STATE_FIELDS(
		STATE_U64(struct virtio_device, driver_features,
			  .doc = "features the driver accepted"),
		STATE_U32(struct virtio_device, features_sel,
			  .doc = "DeviceFeaturesSel"),
		STATE_U32(struct virtio_device, driver_features_sel,
			  .doc = "DriverFeaturesSel"),
		STATE_U32(struct virtio_device, queue_sel, .doc = "QueueSel"),
		STATE_U32(struct virtio_device, interrupt_status,
			  .max = VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG,
			  .doc = "InterruptStatus"),
		STATE_U32(struct virtio_device, generation,
			  .doc = "ConfigGeneration"),
		STATE_U8(struct virtio_device, status, .doc = "Status"),
	),
};

static int check_loaded(struct virtio_device *v, struct error *err)
{
	uint64_t missing = v->driver_features & ~virtio_features(v);

	if ((v->status & VIRTIO_CONFIG_S_FEATURES_OK) && missing)
		return error_set(err, ENOTSUP, "the guest uses features %#llx that this host's device lacks",
				 (unsigned long long)missing);
	if (v->status & ~(STATUS_KNOWN | VIRTIO_CONFIG_S_NEEDS_RESET))
		return error_set(err, EINVAL, "status is %#x", v->status);
	for (unsigned int i = 0; i < v->nqueues; i++)
		if (v->queue[i].size > v->queue[i].max)
			return error_set(err, EINVAL, "queue %u has %u entries, limit %u",
					 i, v->queue[i].size, v->queue[i].max);
	return 0;
}

int virtio_post_load(struct virtio_device *v, struct error *err)
{
	int ret = check_loaded(v, err);

	if (ret < 0)
		return ret;
	if (v->status & VIRTIO_CONFIG_S_FEATURES_OK)
		apply_features(v);
	/* rings that can't be found break the queue when it is served */
	for (unsigned int i = 0; i < v->nqueues; i++)
		if (v->queue[i].ready)
			(void)!virtq_map(&v->queue[i]);
	return 0;
}
