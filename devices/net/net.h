/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network backend: Ethernet frames of a guest's NIC.
 *
 * "tap:NAME" (or "tap" for a new one) and "passt" (a user-mode network without
 * root; "passt:SOCKET" for a running one). Drivers register in the linker
 * section "net_drivers".
 *
 * Frames carry a 12-byte virtio_net_hdr in front, as in virtio 1 (a tap adds
 * and takes it by IFF_VNET_HDR; others get zeroes).
 *
 * Threads: everything in the loop's thread.
 */
#ifndef GODWIT_NET_H
#define GODWIT_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/loop.h"
#include "vmm/base/util.h"

#define NET_HDR_BYTES 12

struct net;

struct net_driver {
	const char *scheme;
	const char *doc;
	int (*open)(struct net **out, const char *backend, struct loop *loop,
		    const struct log *log, struct error *err);
	/* Send one frame. Returns 0, -EAGAIN (call again after writable()),
	 * or -errno (frame dropped). */
	int (*send)(struct net *net, const struct iovec *iov, int niov);
	/* Receive one frame: its length, 0 if none waits, or -errno. */
	ssize_t (*receive)(struct net *net, const struct iovec *iov, int niov);
	/* Deliver readable()/writable(), or not (nobody can take frames). */
	void (*poll)(struct net *net, bool read, bool write);
	/* Virtio-net offload features of the guest (0 = none). */
	int (*set_offload)(struct net *net, bool csum, bool tso4, bool tso6);
	void (*close)(struct net *net);
};

/* Drivers embed this first; the NIC sets the callbacks after open. */
struct net {
	const struct net_driver *driver;
	bool has_offload;		/* set_offload means something */
	void (*readable)(void *arg);
	void (*writable)(void *arg);
	void *arg;
};

#define NET_DRIVER(drv)							\
	static const struct net_driver *const CONCAT(drv, _entry)	\
	__attribute__((used, section("net_drivers"))) = &(drv)

/* Is there a driver for it? Opens nothing. */
int net_check(const char *backend, struct error *err) __must_check;
/* Opens by scheme; the error lists the schemes there are. */
int net_open(struct net **out, const char *backend, struct loop *loop,
	     const struct log *log, struct error *err) __must_check;
void net_close(struct net *net);

#endif
