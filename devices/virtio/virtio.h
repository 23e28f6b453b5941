/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all virtio devices share (virtio 1.2, chapter 2): status, features,
 * queues, interrupts, and the rules of a reset. The registers are in mmio.c,
 * a device's own part (its queues' work, its configuration space) behind
 * struct virtio_ops.
 *
 * Threads: registers are accessed on vCPU threads. Queues are served on the
 * loop's thread alone, woken by an eventfd a queue, which KVM signals (or, with
 * no KVM, the QueueNotify register). Both hold dev->lock.
 *
 * Reset by the driver: chains that are still in flight become void: they are
 * never pushed, but a disk read that was already submitted may still write
 * its buffer. A driver that can't have this waits for its requests first.
 */
#ifndef GODWIT_VIRTIO_H
#define GODWIT_VIRTIO_H

#include <stdint.h>

#include "devices/virtio/queue.h"
#include "vmm/device.h"

#define VIRTIO_MAX_QUEUES 4
#define VIRTIO_CONFIG_BYTES 64
/* Chains served before the loop gets a turn for others. */
#define VIRTIO_BUDGET 256

struct virtio_device;

struct virtio_ops {
	uint32_t id;		/* section 5: 1 net, 2 block, 3 console, 4 rng */
	/* What is in its queues can be served at any time: the loop may look
	 * for it instead of being notified. */
	bool polled;
	/* Features offered, beside those of the queues and VERSION_1. */
	uint64_t (*features)(struct virtio_device *v);
	/* The driver's choice is known (or forgotten: 0). May be NULL. */
	void (*set_features)(struct virtio_device *v);
	/* Fill the configuration space, which is zeroed. May be NULL. */
	void (*get_config)(struct virtio_device *v,
			   uint8_t config[VIRTIO_CONFIG_BYTES]);
	/* A byte was written there; may be NULL. */
	void (*set_config)(struct virtio_device *v, uint32_t offset,
			   uint8_t value);
	/*
	 * Serve one chain of queue @index. 1: did; 0: nothing to do, or it
	 * can't be done now; -errno: the queue is broken.
	 */
	int (*serve)(struct virtio_device *v, unsigned int index);
	/* Back to power-on, before the common part. May be NULL. */
	void (*reset)(struct virtio_device *v);
};

struct virtio_kick {
	struct virtio_device *v;
	unsigned int index;
	int fd;
	bool ioeventfd;		/* KVM signals fd */
	struct loop_fd watch;
	struct loop_poller poller;
};

struct virtio_device {
	struct device dev;
	/* configuration */
	const struct virtio_ops *ops;
	gpa_t base;		/* of the registers */
	unsigned int nqueues;
	struct irq_line *irq;
	/* guest-visible state */
	uint64_t driver_features;
	uint32_t features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	uint32_t interrupt_status;
	uint32_t generation;	/* of the configuration space */
	uint8_t status;
	struct virtq queue[VIRTIO_MAX_QUEUES];
	/* host resources */
	struct virtio_kick kick[VIRTIO_MAX_QUEUES];
	bool running;		/* between start and stop */
	unsigned long guest_errors;	/* what the driver did wrong, counted */
};

/*
 * Build the common part from @node (reg, interrupts): @nqueues queues of up
 * to @queue_max entries each. Undone by virtio_exit().
 */
int virtio_init(struct virtio_device *v, const struct device_class *class,
		const struct virtio_ops *ops, unsigned int nqueues,
		uint16_t queue_max, struct device_env *env, int node,
		struct error *err) __must_check;
void virtio_exit(struct virtio_device *v);
/* The node's "queue-size", checked. */
int virtio_queue_size(struct device_env *env, int node, uint16_t fallback,
		      uint16_t *size, struct error *err) __must_check;

/* Parts of struct device_class for every virtio device (loop's thread). */
void virtio_device_reset(struct device *dev);
int virtio_device_start(struct device *dev, struct error *err);
void virtio_device_stop(struct device *dev);

/* All below with dev->lock held. */

void virtio_reset(struct virtio_device *v);
/* The driver has set the device up, and nothing is wrong with it. */
bool virtio_ready(const struct virtio_device *v);
/* May queue @index be served now? */
bool virtio_can_serve(const struct virtio_device *v, unsigned int index);
static inline bool virtio_has(const struct virtio_device *v, unsigned int bit)
{
	return v->driver_features & (1ull << bit);
}

/* virtq_pop(); a broken queue ends in DEVICE_NEEDS_RESET. */
int virtio_pop(struct virtio_device *v, unsigned int index,
	       struct virtq_chain *c);
/* Serve the queue as far as it can be; was anything served? Loop's thread. */
bool virtio_serve(struct virtio_device *v, unsigned int index);
/* Let the loop serve the queue soon. Any thread. */
void virtio_kick(struct virtio_device *v, unsigned int index);
/* Interrupt for used buffers, if the driver wants one. */
void virtio_interrupt(struct virtio_device *v, unsigned int index);
/* The configuration changed: generation and interrupt. */
void virtio_config_changed(struct virtio_device *v);
/* The driver did what it must not: counted, the first one is logged. */
void virtio_guest_error(struct virtio_device *v, const char *what);
/* The same, and the device needs a reset (section 2.1.2). */
void virtio_broken(struct virtio_device *v, const char *why);

/* For registers: the features as offered, and writes of mmio.c. */
uint64_t virtio_features(struct virtio_device *v);
void virtio_set_status(struct virtio_device *v, uint32_t value);
enum bus_result virtio_mmio_access(struct device *dev,
				   struct bus_access *access);

/* Rows of a device's table for its member v; @n queues. */
#define VIRTIO_STATE(s, n)						\
	STATE_SUB(s, v, &virtio_state, .doc = "common part"),		\
	{ .name = "queue", .doc = "queues", .kind = STATE_STRUCT,	\
	  .offset = offsetof(s, v.queue), .size = sizeof(struct virtq),	\
	  .count = (n), .table = &virtq_state }

extern const struct state_table virtio_state;
/* To be called by each device's post_load(). */
int virtio_post_load(struct virtio_device *v, struct error *err);

#endif
