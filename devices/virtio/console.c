/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-console, one port (virtio 1.2, section 5.3) on a character device of
 * the host. Left out: several ports, the window size, emergency writes.
 *
 * Threads: see virtio.h. The character device calls console_receive() on the
 * loop's thread, without the lock.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>

#include "devices/virtio/virtio.h"
#include "vmm/tree.h"

#define QUEUE_SIZE 64
/* More than a terminal shows at once; the rest of such a chain is dropped. */
#define MAX_BYTES (1u << 20)

enum { RX, TX, QUEUES };

struct virtio_console {
	struct virtio_device v;
	/* host resources */
	struct chardev *chr;
	bool throttled;		/* input was refused and waits in chr */
	struct virtq_chain chain;
};

static struct virtio_console *to_console(struct virtio_device *v)
{
	return container_of(v, struct virtio_console, v);
}

static size_t console_receive(void *arg, const void *buf, size_t len)
{
	struct virtio_console *con = arg;
	struct virtio_device *v = &con->v;
	size_t done = 0;

	device_lock(&v->dev);
	while (done < len && virtio_pop(v, RX, &con->chain) > 0) {
		size_t n = iov_write(con->chain.in, con->chain.nin, 0,
				     (const char *)buf + done, len - done);

		virtq_push(&v->queue[RX], &con->chain, (uint32_t)n);
		done += n;
		if (!n) {
			/* the guest could add such buffers for ever */
			virtio_guest_error(v, "a buffer can't be written");
			break;
		}
	}
	con->throttled = done < len;
	/* new buffers may have come since the last look */
	if (con->throttled && virtio_can_serve(v, RX) &&
	    virtq_notify_on(&v->queue[RX]))
		virtio_kick(v, RX);
	virtio_interrupt(v, RX);
	device_unlock(&v->dev);
	return done;
}

/* The guest has added buffers: take the input that waits. */
static int rx_serve(struct virtio_console *con)
{
	struct device *dev = &con->v.dev;

	if (!con->throttled || !virtq_pending(&con->v.queue[RX]))
		return 0;
	con->throttled = false;
	/* it may call console_receive() at once */
	device_unlock(dev);
	con->chr->ops->accept_input(con->chr);
	device_lock(dev);
	return 0;
}

static int tx_serve(struct virtio_console *con)
{
	struct virtq_chain *c = &con->chain;
	size_t room = MAX_BYTES;
	int ret = virtio_pop(&con->v, TX, c);

	if (ret <= 0)
		return ret;
	if (c->out_len > MAX_BYTES)
		virtio_guest_error(&con->v, "it prints over 1 MiB at once");
	for (unsigned int i = 0; i < c->nout && room; i++) {
		size_t n = MIN(room, c->out[i].iov_len);

		con->chr->ops->write(con->chr, c->out[i].iov_base, n);
		room -= n;
	}
	virtq_push(&con->v.queue[TX], c, 0);
	return 1;
}

static uint64_t console_features(struct virtio_device *v)
{
	return 0;
}

static int console_serve(struct virtio_device *v, unsigned int index)
{
	struct virtio_console *con = to_console(v);

	return index == RX ? rx_serve(con) : tx_serve(con);
}

static const struct virtio_ops console_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.features = console_features,
	.serve = console_serve,
};

static int console_post_load(void *obj, struct error *err)
{
	struct virtio_console *con = obj;

	return virtio_post_load(&con->v, err);
}

static const struct state_table console_state = {
	.name = "virtio_console",
	.doc = "virtio console device; input that waits stays on its host",
	.size = sizeof(struct virtio_console),
	STATE_FIELDS(VIRTIO_STATE(struct virtio_console, QUEUES)),
	.post_load = console_post_load,
};

static const struct device_class console_class;

static void console_destroy(struct device *dev)
{
	struct virtio_console *con = container_of(dev, struct virtio_console,
						  v.dev);

	if (con->chr)
		con->chr->ops->destroy(con->chr);
	virtio_exit(&con->v);
	free(con);
}

static int console_create(struct device_env *env, int node,
			  struct device **out, struct error *err)
{
	struct virtio_console *con = calloc(1, sizeof(*con));
	int ret;

	if (!con)
		return error_set(err, ENOMEM, "virtio-console: no memory");
	ret = virtio_init(&con->v, &console_class, &console_ops, QUEUES,
			  QUEUE_SIZE, env, node, err);
	if (ret < 0) {
		free(con);
		return ret;
	}
	con->chr = env->chardev(env, tree_str(env->tree, node, "backend",
					      "null"), err);
	if (!con->chr) {
		console_destroy(&con->v.dev);
		return -err->code;
	}
	con->chr->receive = console_receive;
	con->chr->receive_arg = con;
	*out = &con->v.dev;
	return 0;
}

static const struct device_class console_class = {
	.compatible = "godwit,virtio-console",
	.doc = "virtio console device (virtio 1.2, section 5.3)",
	.state = &console_state,
	.create = console_create,
	.destroy = console_destroy,
	.reset = virtio_device_reset,
	.start = virtio_device_start,
	.stop = virtio_device_stop,
};

DEVICE_CLASS(console_class);
