/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net, the network device (virtio 1.2, section 5.1), on a backend of
 * devices/net/. One pair of queues and a control queue; merged receive
 * buffers, checksum and TSO where the backend does them, announcing itself
 * after a move. Left out: several pairs, RSS, filters, VLANs, promiscuity
 * (the guest gets every frame that the backend has).
 *
 * Frames are received into a buffer of our own and copied: how many of the
 * guest's buffers one takes is only known afterwards.
 *
 * Threads: see virtio.h. The backend is used on the loop's thread alone, so
 * what registers change (offloads) waits for the next look at a queue.
 */
#include <errno.h>
#include <libfdt.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "devices/net/net.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/byteorder.h"
#include "vmm/tree.h"

#define QUEUE_SIZE 256
#define FRAME_MAX (NET_HDR_BYTES + 65550)	/* 64 KiB and Ethernet's 14 */
#define NUM_BUFFERS 10		/* offset in the header */
#define MAC_BYTES 6
#define RARP_BYTES 60		/* the shortest Ethernet frame */

enum { RX, TX, CTRL, QUEUES };

struct virtio_net {
	struct virtio_device v;
	/* configuration */
	uint16_t mtu;		/* 0: not told to the guest */
	/* guest-visible state */
	uint8_t mac[MAC_BYTES];
	uint16_t net_status;	/* VIRTIO_NET_S_ */
	/* host resources */
	struct net *backend;
	bool offload_stale;	/* the backend must hear of new features */
	bool tx_blocked;	/* the backend takes no frame now */
	bool poll_read, poll_write;	/* as the backend was last told */
	bool told_error;
	size_t frame_len;	/* of a frame that waits for buffers, or 0 */
	uint8_t frame[FRAME_MAX];
	struct virtq_chain first;	/* of a received frame */
	struct virtq_chain chain;
};

static struct virtio_net *to_net(struct virtio_device *v)
{
	return container_of(v, struct virtio_net, v);
}

/* -- the backend */

static void net_poll(struct virtio_net *n)
{
	bool read = virtio_can_serve(&n->v, RX) && !n->frame_len &&
		    virtq_pending(&n->v.queue[RX]);
	bool write = n->v.running && n->tx_blocked;

	if (read == n->poll_read && write == n->poll_write)
		return;
	n->poll_read = read;
	n->poll_write = write;
	n->backend->driver->poll(n->backend, read, write);
}

static void net_offload(struct virtio_net *n)
{
	bool csum = virtio_has(&n->v, VIRTIO_NET_F_GUEST_CSUM);
	bool tso4 = csum && virtio_has(&n->v, VIRTIO_NET_F_GUEST_TSO4);
	bool tso6 = csum && virtio_has(&n->v, VIRTIO_NET_F_GUEST_TSO6);

	n->offload_stale = false;
	if (n->backend->has_offload &&
	    n->backend->driver->set_offload(n->backend, csum, tso4, tso6) < 0)
		log_warn(n->v.dev.env->log, "%s: the backend refuses offloads",
			 n->v.dev.name);
}

static void net_error(struct virtio_net *n, const char *what, int ret)
{
	if (!n->told_error)
		log_warn(n->v.dev.env->log, "%s: can't %s: %s", n->v.dev.name,
			 what, strerror(-ret));
	n->told_error = true;
}

/* -- receiving */

/* Fetch a frame from the backend if none waits. */
static bool rx_fetch(struct virtio_net *n)
{
	struct iovec iov = { .iov_base = n->frame, .iov_len = FRAME_MAX };
	ssize_t len;

	if (n->frame_len)
		return true;
	/* frames that nobody takes yet are better kept by the host */
	if (!virtq_pending(&n->v.queue[RX]))
		return false;
	if (n->offload_stale)
		net_offload(n);
	len = n->backend->driver->receive(n->backend, &iov, 1);
	if (len < 0 && len != -EAGAIN)
		net_error(n, "receive", (int)len);
	if (len > NET_HDR_BYTES)
		n->frame_len = (size_t)len;
	return n->frame_len;
}

/* Copy the next part of the frame into @c: its length. */
static size_t rx_copy(struct virtio_net *n, struct virtq_chain *c,
		      size_t done, uint16_t count)
{
	size_t len = iov_write(c->in, c->nin, 0, n->frame + done,
			       n->frame_len - done);

	virtq_put(&n->v.queue[RX], c, count, (uint32_t)len);
	return len;
}

/*
 * Give the waiting frame to the guest, in one buffer or, with MRG_RXBUF, in
 * several that appear at once. 1: gone (dropped if no buffers could ever hold
 * it); 0: waits for more buffers.
 */
static int rx_deliver(struct virtio_net *n)
{
	bool merge = virtio_has(&n->v, VIRTIO_NET_F_MRG_RXBUF);
	struct virtq *q = &n->v.queue[RX];
	struct virtq_chain *c = &n->first;
	uint16_t count = 0;
	uint8_t raw[2];
	size_t done = 0;
	int ret;

	while (done < n->frame_len && (merge || count == 0)) {
		ret = virtio_pop(&n->v, RX, c);
		if (ret < 0)
			return ret;
		if (ret == 0)
			break;
		done += rx_copy(n, c, done, count++);
		c = &n->chain;
	}
	if (done < n->frame_len) {
		/* what was put was not published: as if never seen */
		q->last_avail -= count;
		if (count && (!merge || count == q->size)) {
			virtio_guest_error(&n->v, "no buffer for a frame");
			n->frame_len = 0;
			return 1;
		}
		return 0;
	}
	put_le16(raw, count);
	iov_write(n->first.in, n->first.nin, NUM_BUFFERS, raw, sizeof(raw));
	virtq_publish(q, count);
	n->frame_len = 0;
	return 1;
}

static int rx_serve(struct virtio_net *n)
{
	int ret = rx_fetch(n) ? rx_deliver(n) : 0;

	if (ret <= 0)
		net_poll(n);
	return ret;
}

static void net_readable(void *arg)
{
	struct virtio_net *n = arg;

	device_lock(&n->v.dev);
	virtio_serve(&n->v, RX);
	net_poll(n);
	device_unlock(&n->v.dev);
}

/* -- sending */

static int tx_serve(struct virtio_net *n)
{
	struct virtq *q = &n->v.queue[TX];
	struct virtq_chain *c = &n->chain;
	int ret = n->tx_blocked ? 0 : virtio_pop(&n->v, TX, c);

	if (n->tx_blocked)
		net_poll(n);
	if (ret <= 0)
		return ret;
	if (c->out_len <= NET_HDR_BYTES || c->out_len > FRAME_MAX) {
		virtio_guest_error(&n->v, "a frame's length makes no sense");
		virtq_push(q, c, 0);
		return 1;
	}
	ret = n->backend->driver->send(n->backend, c->out, (int)c->nout);
	if (ret == -EAGAIN) {
		virtq_unpop(q, c);
		n->tx_blocked = true;
		net_poll(n);
		return 0;
	}
	if (ret < 0)
		net_error(n, "send", ret);
	virtq_push(q, c, 0);
	return 1;
}

static void net_writable(void *arg)
{
	struct virtio_net *n = arg;

	device_lock(&n->v.dev);
	n->tx_blocked = false;
	virtio_serve(&n->v, TX);
	net_poll(n);
	device_unlock(&n->v.dev);
}

/* -- control queue (section 5.1.6.5) */

static int ctrl_serve(struct virtio_net *n)
{
	struct virtq_chain *c = &n->chain;
	uint8_t cmd[2], ack = VIRTIO_NET_ERR;
	int ret = virtio_pop(&n->v, CTRL, c);

	if (ret <= 0)
		return ret;
	if (iov_read(c->out, c->nout, 0, cmd, sizeof(cmd)) == sizeof(cmd) &&
	    cmd[0] == VIRTIO_NET_CTRL_ANNOUNCE &&
	    cmd[1] == VIRTIO_NET_CTRL_ANNOUNCE_ACK) {
		n->net_status &= ~VIRTIO_NET_S_ANNOUNCE;
		ack = VIRTIO_NET_OK;
	}
	virtq_push(&n->v.queue[CTRL], c,
		   (uint32_t)iov_write(c->in, c->nin, 0, &ack, 1));
	return 1;
}

/* -- announcing */

/* A reverse ARP request from the NIC: every bridge that sees it learns where
 * the MAC address lives now (RFC 903; it asks for nothing). */
static void send_rarp(struct virtio_net *n)
{
	static const uint8_t arp[] = {
		0x80, 0x35,		/* EtherType: RARP */
		0, 1, 8, 0, MAC_BYTES, 4, 0, 3,	/* Ethernet, IPv4, request */
	};
	uint8_t buf[NET_HDR_BYTES + RARP_BYTES] = { 0 };
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	uint8_t *p = buf + NET_HDR_BYTES;
	int ret;

	memset(p, 0xff, MAC_BYTES);
	memcpy(p + 6, n->mac, MAC_BYTES);
	memcpy(p + 12, arp, sizeof(arp));
	memcpy(p + 22, n->mac, MAC_BYTES);	/* sender */
	memcpy(p + 32, n->mac, MAC_BYTES);	/* target */
	ret = n->backend->driver->send(n->backend, &iov, 1);
	if (ret < 0 && ret != -EAGAIN)
		net_error(n, "announce", ret);
}

static void net_announce(struct device *dev, unsigned int round)
{
	struct virtio_net *n = container_of(dev, struct virtio_net, v.dev);

	device_lock(dev);
	send_rarp(n);
	if (virtio_ready(&n->v) &&
	    virtio_has(&n->v, VIRTIO_NET_F_GUEST_ANNOUNCE)) {
		n->net_status |= VIRTIO_NET_S_ANNOUNCE;
		virtio_config_changed(&n->v);
	}
	device_unlock(dev);
}

/* -- virtio */

static uint64_t net_features(struct virtio_device *v)
{
	struct virtio_net *n = to_net(v);
	uint64_t f = 1ull << VIRTIO_NET_F_MAC |
		     1ull << VIRTIO_NET_F_STATUS |
		     1ull << VIRTIO_NET_F_CTRL_VQ |
		     1ull << VIRTIO_NET_F_GUEST_ANNOUNCE |
		     1ull << VIRTIO_NET_F_MRG_RXBUF;

	if (n->mtu)
		f |= 1ull << VIRTIO_NET_F_MTU;
	if (n->backend->has_offload)
		f |= 1ull << VIRTIO_NET_F_CSUM |
		     1ull << VIRTIO_NET_F_GUEST_CSUM |
		     1ull << VIRTIO_NET_F_HOST_TSO4 |
		     1ull << VIRTIO_NET_F_HOST_TSO6 |
		     1ull << VIRTIO_NET_F_GUEST_TSO4 |
		     1ull << VIRTIO_NET_F_GUEST_TSO6;
	return f;
}

static void net_set_features(struct virtio_device *v)
{
	to_net(v)->offload_stale = true;
}

static void net_get_config(struct virtio_device *v,
			   uint8_t config[VIRTIO_CONFIG_BYTES])
{
	struct virtio_net *n = to_net(v);

	memcpy(config, n->mac, MAC_BYTES);
	put_le16(config + offsetof(struct virtio_net_config, status),
		 n->net_status);
	put_le16(config + offsetof(struct virtio_net_config, mtu), n->mtu);
}

static int net_serve(struct virtio_device *v, unsigned int index)
{
	struct virtio_net *n = to_net(v);

	return index == RX ? rx_serve(n) :
	       index == TX ? tx_serve(n) : ctrl_serve(n);
}

static void net_reset(struct virtio_device *v)
{
	struct virtio_net *n = to_net(v);

	n->net_status = VIRTIO_NET_S_LINK_UP;
	n->frame_len = 0;
	/* tx_blocked stays: it is the backend's, not the guest's */
}

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.features = net_features,
	.set_features = net_set_features,
	.get_config = net_get_config,
	.serve = net_serve,
	.reset = net_reset,
};

static void net_stop(struct device *dev)
{
	struct virtio_net *n = container_of(dev, struct virtio_net, v.dev);

	virtio_device_stop(dev);
	device_lock(dev);
	net_poll(n);
	device_unlock(dev);
}

/* -- state */

static int net_post_load(void *obj, struct error *err)
{
	struct virtio_net *n = obj;

	return virtio_post_load(&n->v, err);
}

static const struct state_table net_state = {
	.name = "virtio_net",
	.doc = "virtio network device; a frame not yet delivered is lost",
	.size = sizeof(struct virtio_net),
	STATE_VISIBLE(struct virtio_net, mac, net_status),
	STATE_FIELDS(
		VIRTIO_STATE(struct virtio_net, QUEUES),
		STATE_RAW(struct virtio_net, mac, .doc = "MAC address"),
		STATE_U16(struct virtio_net, net_status,
			  .max = VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE,
			  .doc = "link up, announcement wanted"),
	),
	.post_load = net_post_load,
};

/* -- creation */

static const struct device_class net_class;

static int net_configure(struct virtio_net *n, struct device_env *env,
			 int node, struct error *err)
{
	uint32_t mtu = tree_u32(env->tree, node, "mtu", 0);
	int len;
	const void *mac = fdt_getprop(env->tree, node, "mac", &len);

	if (!mac || len != MAC_BYTES || (*(const uint8_t *)mac & 1))
		return error_set(err, EINVAL, "mac is missing, or no address of one NIC");
	/* section 5.1.4.1: from 68 on */
	if (mtu && (mtu < 68 || mtu > 65535))
		return error_set(err, EINVAL, "mtu %u (accepted: 68 to 65535)",
				 mtu);
	memcpy(n->mac, mac, MAC_BYTES);
	n->mtu = (uint16_t)mtu;
	n->net_status = VIRTIO_NET_S_LINK_UP;
	n->offload_stale = true;
	return 0;
}

static void net_destroy(struct device *dev)
{
	struct virtio_net *n = container_of(dev, struct virtio_net, v.dev);

	if (n->backend)
		net_close(n->backend);
	virtio_exit(&n->v);
	free(n);
}

static int net_connect(struct virtio_net *n, struct device_env *env, int node,
		       struct error *err)
{
	const char *backend = tree_str(env->tree, node, "backend", NULL);
	int ret;

	if (!backend)
		return error_set(err, EINVAL, "NIC has no backend");
	ret = net_open(&n->backend, backend, env->loop, env->log, err);
	if (ret < 0)
		return ret;
	n->backend->readable = net_readable;
	n->backend->writable = net_writable;
	n->backend->arg = n;
	/* whatever it does by itself: nothing until the guest is ready */
	n->backend->driver->poll(n->backend, false, false);
	return 0;
}

static int net_create(struct device_env *env, int node, struct device **out,
		      struct error *err)
{
	struct virtio_net *n = calloc(1, sizeof(*n));
	uint16_t size;
	int ret;

	if (!n)
		return error_set(err, ENOMEM, "virtio-net: no memory");
	ret = virtio_queue_size(env, node, QUEUE_SIZE, &size, err);
	if (ret == 0)
		ret = net_configure(n, env, node, err);
	if (ret == 0)
		ret = virtio_init(&n->v, &net_class, &net_ops, QUEUES, size,
				  env, node, err);
	if (ret < 0) {
		free(n);
		return ret;
	}
	ret = net_connect(n, env, node, err);
	if (ret < 0) {
		net_destroy(&n->v.dev);
		return ret;
	}
	*out = &n->v.dev;
	return 0;
}

static const struct device_class net_class = {
	.compatible = "godwit,virtio-net",
	.doc = "virtio network device (virtio 1.2, section 5.1)",
	.state = &net_state,
	.create = net_create,
	.destroy = net_destroy,
	.reset = virtio_device_reset,
	/* the backend is watched when the queues are served: to look at them
	 * here might take as long as post-copy takes for a page */
	.start = virtio_device_start,
	.stop = net_stop,
	.announce = net_announce,
};

DEVICE_CLASS(net_class);
