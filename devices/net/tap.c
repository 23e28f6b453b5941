/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tap device of the host: "tap:NAME", or "tap" for a new one that lives as
 * long as the VM. Frames carry the virtio-net header through the kernel
 * (IFF_VNET_HDR), so that checksums and segmentation can be left to it.
 *
 * Everything in the loop's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/net/net.h"
#include "vmm/base/fd.h"

struct tap {
	struct net net;
	struct loop *loop;
	struct loop_fd fd;
	char name[IFNAMSIZ];
};

static struct tap *to_tap(struct net *net)
{
	return container_of(net, struct tap, net);
}

static int tap_send(struct net *net, const struct iovec *iov, int niov)
{
	ssize_t n;

	do
		n = writev(to_tap(net)->fd.fd, iov, niov);
	while (n < 0 && errno == EINTR);
	/* The interface is down: a cable that is not plugged in. */
	if (n < 0 && errno == EIO)
		return 0;
	return n < 0 ? -errno : 0;
}

static ssize_t tap_receive(struct net *net, const struct iovec *iov, int niov)
{
	ssize_t n;

	do
		n = readv(to_tap(net)->fd.fd, iov, niov);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	return n;
}

static void tap_event(void *arg, uint32_t events)
{
	struct tap *tap = arg;

	if ((events & EPOLLOUT) && tap->net.writable)
		tap->net.writable(tap->net.arg);
	if ((events & EPOLLIN) && tap->net.readable)
		tap->net.readable(tap->net.arg);
}

static void tap_poll(struct net *net, bool read, bool write)
{
	struct tap *tap = to_tap(net);

	loop_mod(tap->loop, &tap->fd,
		 (read ? EPOLLIN : 0) | (write ? EPOLLOUT : 0));
}

static int tap_set_offload(struct net *net, bool csum, bool tso4, bool tso6)
{
	unsigned long features = 0;

	if (csum)
		features |= TUN_F_CSUM;
	if (csum && tso4)
		features |= TUN_F_TSO4;
	if (csum && tso6)
		features |= TUN_F_TSO6;
	if (ioctl(to_tap(net)->fd.fd, TUNSETOFFLOAD, features) < 0)
		return -errno;
	return 0;
}

static int refused(const struct tap *tap, int code, struct error *err)
{
	const char *name = tap->name[0] ? tap->name : "(new)";

	if (code == EPERM)
		return error_set(err, code,
				 "no right to tap %s: run `ip tuntap add dev NAME mode tap user USER` as root, or use passt",
				 name);
	if (code == EBUSY)
		return error_set(err, code,
				 "tap %s is in use (by another VM? `ip -d link show %s`)",
				 name, name);
	if (code == EINVAL)
		return error_set(err, code,
				 "%s is an interface, but no tap with one queue",
				 name);
	return error_set(err, code, "tap %s: %s", name, strerror(code));
}

static int attach(struct tap *tap, struct error *err)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int header = NET_HDR_BYTES;

	memcpy(req.ifr_name, tap->name, sizeof(tap->name));
	if (ioctl(tap->fd.fd, TUNSETIFF, &req) < 0)
		return refused(tap, errno, err);
	memcpy(tap->name, req.ifr_name, sizeof(tap->name));
	if (ioctl(tap->fd.fd, TUNSETVNETHDRSZ, &header) < 0 ||
	    ioctl(tap->fd.fd, TUNSETOFFLOAD, 0ul) < 0)
		return refused(tap, errno, err);
	return 0;
}

/* Up it must be to carry frames; who set it up may have forgotten. */
static void bring_up(const struct tap *tap, const struct log *log)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = { 0 };

	memcpy(req.ifr_name, tap->name, sizeof(tap->name));
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &req) < 0 ||
	    (req.ifr_flags & IFF_UP)) {
		fd_close(&fd);
		return;
	}
	req.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &req) < 0)
		log_warn(log, "tap %s is down and can't be set up: %s",
			 tap->name, strerror(errno));
	fd_close(&fd);
}

static void tap_close(struct net *net)
{
	struct tap *tap = to_tap(net);

	loop_del(tap->loop, &tap->fd);
	fd_close(&tap->fd.fd);
	free(tap);
}

static int tap_build(struct tap *tap, const char *name, struct error *err)
{
	int ret;

	if (strlen(name) >= sizeof(tap->name))
		return error_set(err, EINVAL,
				 "names of interfaces have at most %zu characters",
				 sizeof(tap->name) - 1);
	strcpy(tap->name, name);
	tap->fd.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap->fd.fd < 0)
		return error_set(err, errno,
				 "cannot open /dev/net/tun: %s (modprobe tun? or use passt)",
				 strerror(errno));
	ret = attach(tap, err);
	return ret ?: loop_add(tap->loop, &tap->fd, err);
}

static int tap_open(struct net **out, const char *backend, struct loop *loop,
		    const struct log *log, struct error *err)
{
	const char *colon = strchr(backend, ':');
	struct tap *tap = calloc(1, sizeof(*tap));
	int ret;

	if (!tap)
		return error_set(err, ENOMEM, "no memory");
	tap->net.has_offload = true;
	tap->loop = loop;
	tap->fd = (struct loop_fd){ .fd = -1, .fn = tap_event, .arg = tap };
	ret = tap_build(tap, colon ? colon + 1 : "", err);
	if (ret) {
		tap_close(&tap->net);
		return ret;
	}
	bring_up(tap, log);
	if (!colon)
		log_info(log, "network: new tap %s", tap->name);
	*out = &tap->net;
	return 0;
}

static const struct net_driver tap_driver = {
	.scheme = "tap",
	.doc = "tap device of the host: tap:NAME, or tap for a new one",
	.open = tap_open,
	.send = tap_send,
	.receive = tap_receive,
	.poll = tap_poll,
	.set_offload = tap_set_offload,
	.close = tap_close,
};

NET_DRIVER(tap_driver);
