/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio-mmio registers, version 2 (virtio 1.2, section 4.2.2). Left out:
 * the legacy interface, shared memory regions (read as absent) and the reset
 * of single queues.
 *
 * Threads: vCPU threads, dev->lock held by the bus.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio/virtio.h"

#define MAGIC 0x74726976u	/* "virt" */
#define VERSION 2
#define VENDOR 0x54574447u	/* "GDWT" */

static struct virtq *selected(struct virtio_device *v)
{
	return v->queue_sel < v->nqueues ? &v->queue[v->queue_sel] : NULL;
}

static uint32_t features_word(struct virtio_device *v)
{
	uint64_t f = virtio_features(v);

	return v->features_sel == 0 ? (uint32_t)f :
	       v->features_sel == 1 ? (uint32_t)(f >> 32) : 0;
}

static enum bus_result read_register(struct virtio_device *v, uint64_t offset,
				     uint64_t *value)
{
	const struct virtq *q = selected(v);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		*value = MAGIC;
		break;
	case VIRTIO_MMIO_VERSION:
		*value = VERSION;
		break;
	case VIRTIO_MMIO_DEVICE_ID:
		*value = v->ops->id;
		break;
	case VIRTIO_MMIO_VENDOR_ID:
		*value = VENDOR;
		break;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		*value = features_word(v);
		break;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		*value = q ? q->max : 0;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		*value = q ? q->ready : 0;
		break;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		*value = v->interrupt_status;
		break;
	case VIRTIO_MMIO_STATUS:
		*value = v->status;
		break;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		*value = UINT32_MAX;	/* section 4.2.2: no such region */
		break;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		*value = v->generation;
		break;
	default:
		return BUS_UNHANDLED;
	}
	return BUS_OK;
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	unsigned int shift = high ? 32 : 0;

	*address &= ~(0xffffffffull << shift);
	*address |= (uint64_t)value << shift;
}

static void write_ready(struct virtio_device *v, struct virtq *q, bool ready)
{
	if (!ready)
		virtq_disable(q);
	else if (!q->ready && virtq_enable(q) < 0)
		virtio_broken(v, q->why);
}

static void write_queue(struct virtio_device *v, uint64_t offset,
			uint32_t value)
{
	struct virtq *q = selected(v);

	if (!q) {
		virtio_guest_error(v, "it sets up a queue that isn't there");
	} else if (offset == VIRTIO_MMIO_QUEUE_READY) {
		write_ready(v, q, value & 1);
	} else if (q->ready) {
		virtio_guest_error(v, "it changes a queue in use");
	} else if (offset == VIRTIO_MMIO_QUEUE_NUM) {
		/* 0 makes QueueReady fail */
		q->size = value <= q->max && !(value & (value - 1)) ?
			  (uint16_t)value : 0;
	} else {
		/* two halves each: low at 0x80, 0x90, 0xa0, high 4 further */
		uint64_t *part = offset < VIRTIO_MMIO_QUEUE_AVAIL_LOW ?
				 &q->desc :
				 offset < VIRTIO_MMIO_QUEUE_USED_LOW ?
				 &q->driver : &q->device;

		set_half(part, offset & 4, value);
	}
}

static void write_features(struct virtio_device *v, uint32_t value)
{
	if (v->status & VIRTIO_CONFIG_S_FEATURES_OK)
		virtio_guest_error(v, "it changes features after FEATURES_OK");
	else if (v->driver_features_sel <= 1)
		set_half(&v->driver_features, v->driver_features_sel, value);
	else if (value)
		virtio_guest_error(v, "it wants a feature beyond bit 63");
}

static enum bus_result write_register(struct virtio_device *v, uint64_t offset,
				      uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		v->features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		v->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_features(v, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		v->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		if (value < v->nqueues)
			virtio_kick(v, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		v->interrupt_status &= ~value;
		break;
	case VIRTIO_MMIO_STATUS:
		virtio_set_status(v, value);
		break;
	case VIRTIO_MMIO_SHM_SEL:
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
	case VIRTIO_MMIO_QUEUE_READY:
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		write_queue(v, offset, value);
		break;
	default:
		return BUS_UNHANDLED;
	}
	return BUS_OK;
}

static enum bus_result config_access(struct virtio_device *v,
				     struct bus_access *a)
{
	uint64_t offset = a->offset - VIRTIO_MMIO_CONFIG;
	uint8_t config[VIRTIO_CONFIG_BYTES] = { 0 };

	if (!range_within(offset, a->len, sizeof(config)))
		return BUS_UNHANDLED;
	if (a->is_write) {
		for (unsigned int i = 0; i < a->len && v->ops->set_config; i++)
			v->ops->set_config(v, (uint32_t)offset + i,
					   (uint8_t)(a->value >> (8 * i)));
		return BUS_OK;
	}
	if (v->ops->get_config)
		v->ops->get_config(v, config);
	a->value = 0;
	for (unsigned int i = 0; i < a->len; i++)
		a->value |= (uint64_t)config[offset + i] << (8 * i);
	return BUS_OK;
}

enum bus_result virtio_mmio_access(struct device *dev,
				   struct bus_access *access)
{
	struct virtio_device *v = container_of(dev, struct virtio_device, dev);

	if (access->offset >= VIRTIO_MMIO_CONFIG)
		return config_access(v, access);
	/* section 4.2.2.2: 32 bits wide and aligned, only */
	if (access->len != 4 || access->offset % 4)
		return BUS_UNHANDLED;
	if (access->is_write)
		return write_register(v, access->offset,
				      (uint32_t)access->value);
	return read_register(v, access->offset, &access->value);
}
