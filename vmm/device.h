/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contract between the machine and a device.
 *
 * A device class describes itself in a struct device_class whose pointer lies
 * in the linker section "device_classes" (DEVICE_CLASS(x)); the machine finds
 * it by the first "compatible" string of a node of the machine tree, and
 * creates the device from that node. Addresses, interrupts and backends are in
 * the node or in the environment; a device knows no other device, no KVM and
 * no migration. Restore is create() followed by loading the state table.
 *
 * Life: create -> [activate -> start] -> stop -> [deactivate] -> ... -> destroy.
 *
 *   activate    take what must belong to one host alone (disk locks,
 *               connections that a server grants once)
 *   start       begin to serve the guest: look at all queues again
 *   stop        take no more work; what is in flight completes, after which
 *               the device is idle (device_put) and touches guest memory no
 *               more. stop returns at once.
 *   deactivate  flush and give up what activate took; only when idle
 *
 * Threads: bus accesses come on vCPU threads with dev->lock held. All other
 * calls come on the loop's thread, without the lock: a device takes
 * dev->lock where its loop callbacks share state with accesses.
 */
#ifndef GODWIT_DEVICE_H
#define GODWIT_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/bus.h"
#include "vmm/chardev.h"
#include "vmm/irq.h"
#include "vmm/loop.h"
#include "vmm/memory.h"
#include "vmm/state/state.h"

/* What a device may ask of the machine; carried out later, by the loop. */
enum vm_request {
	VM_REQUEST_RESET = 1,	/* guest asked for a reboot */
	VM_REQUEST_POWEROFF,	/* guest powered itself off */
	VM_REQUEST_EXIT,	/* guest left with an exit code (debug-exit) */
	VM_REQUEST_DISK_LOST,	/* a disk waits for its server; text in log */
	VM_REQUEST_DISK_FOUND,	/* the disk is back */
};

/* A request that a disk could not carry out. Strings are the caller's. */
struct io_error {
	const char *device;	/* its id */
	const char *reason;	/* one line for people */
	bool is_write;
	bool nospace;
	bool stop;		/* the request is kept: the VM must stop */
};

/* What a device is given. The functions are the machine's, or a test's. */
struct device_env {
	const struct log *log;
	struct memory *mem;
	struct loop *loop;
	struct bus *pio;
	struct bus *mmio;
	const void *tree;	/* the machine tree, read-only */
	bool incoming;		/* the VM arrives from another process */
	void *owner;		/* of the functions below */

	/* The line of @gsi; owned by the machine. NULL and @err if none. */
	struct irq_line *(*irq)(struct device_env *env, unsigned int gsi,
				struct error *err);
	/*
	 * Let KVM signal @fd when the guest writes the 32-bit @value at the
	 * MMIO address (or remove that). -ENOTSUP where there is no KVM:
	 * the write then arrives through the bus.
	 */
	int (*ioeventfd)(struct device_env *env, gpa_t addr, uint32_t value,
			 int fd, bool add);
	void (*request)(struct device_env *env, enum vm_request what,
			int value);
	/* Tell people and, if it must stop, pause the VM soon. Loop's thread,
	 * dev->lock may be held. */
	void (*io_error)(struct device_env *env, const struct io_error *e);
	/* Host character device by name ("stdio", "null", "file:..."). */
	struct chardev *(*chardev)(struct device_env *env, const char *name,
				   struct error *err);
	/* The device became idle: wakes who waits for the machine to drain. */
	void (*idle)(struct device_env *env);
};

struct device;
struct vm_disk;

struct device_class {
	const char *compatible;	/* "godwit,virtio-blk", "ns16550a", ... */
	const char *doc;	/* one line: what it models, which spec */
	const struct state_table *state;	/* of the whole object */

	/* Build from @node; the object embeds struct device first. */
	int (*create)(struct device_env *env, int node, struct device **out,
		      struct error *err);
	void (*destroy)(struct device *dev);

	/* All below may be NULL. */
	void (*reset)(struct device *dev);
	int (*activate)(struct device *dev, struct error *err);
	int (*deactivate)(struct device *dev, struct error *err);
	int (*start)(struct device *dev, struct error *err);
	void (*stop)(struct device *dev);
	/* The VM just arrived on this host; @round counts from 0 to 4. */
	void (*announce)(struct device *dev, unsigned int round);
	/* The power button was pressed. */
	void (*power_button)(struct device *dev);
	/* Its disk, as whoever copies it sees it. */
	struct vm_disk *(*disk)(struct device *dev);
};

struct device {
	const struct device_class *class;
	struct device_env *env;
	char name[48];		/* node name, id of its state: "serial@3f8" */
	pthread_mutex_t lock;	/* guest-visible state */
	atomic_uint inflight;	/* requests that may touch guest memory */
	struct list link;	/* machine's list, sorted by name */
};

#define DEVICE_CLASS(cls)						\
	static const struct device_class *const CONCAT(cls, _entry)	\
	__attribute__((used, section("device_classes"))) = &(cls)

/* First entry whose compatible equals; NULL if none. */
const struct device_class *device_class_find(const char *compatible);
/* Walk all classes: for (p = device_class_first(); p < device_class_end(); p++) */
const struct device_class *const *device_class_first(void);
const struct device_class *const *device_class_end(void);

/* Fill in the base; the name is @node's in env->tree. */
void device_init(struct device *dev, const struct device_class *class,
		 struct device_env *env, int node);
void device_exit(struct device *dev);

/* Where @node's "reg" lies: a child of /isa is on the port bus. */
struct bus *device_bus(struct device_env *env, int node);
/* Answer accesses there. */
int device_map(struct device *dev, int node, bus_access_fn access,
	       struct error *err) __must_check;
/* The line of @node's "interrupts"; owned by the machine. NULL and @err if none. */
struct irq_line *device_irq(struct device_env *env, int node,
			    struct error *err);
/*
 * create() and destroy() of a device that owns nothing besides itself: of
 * class->state->size bytes, all else zero, on the bus by its first "reg".
 */
int device_new(struct device **out, const struct device_class *class,
	       struct device_env *env, int node, bus_access_fn access,
	       struct error *err) __must_check;
void device_free(struct device *dev);

/* A request begins / ends that may touch guest memory. */
static inline void device_get(struct device *dev)
{
	atomic_fetch_add(&dev->inflight, 1);
}

static inline void device_put(struct device *dev)
{
	if (atomic_fetch_sub(&dev->inflight, 1) == 1)
		dev->env->idle(dev->env);
}

static inline void device_lock(struct device *dev)
{
	pthread_mutex_lock(&dev->lock);
}

static inline void device_unlock(struct device *dev)
{
	pthread_mutex_unlock(&dev->lock);
}

#endif
