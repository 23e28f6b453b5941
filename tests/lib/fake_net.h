/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network for tests, "fake" or "fake:offload": keeps the last frame sent,
 * and delivers frames that the test queues. */
#ifndef GODWIT_TESTS_FAKE_NET_H
#define GODWIT_TESTS_FAKE_NET_H

#include "devices/net/net.h"

#define FAKE_NET_FRAMES 8
#define FAKE_NET_BYTES 70000

struct fake_net {
	struct net net;
	uint8_t sent[FAKE_NET_BYTES];	/* last frame, with its header */
	size_t sent_len;
	unsigned int nsent;
	bool busy;			/* send() answers -EAGAIN */
	struct { size_t len; uint8_t *data; } rx[FAKE_NET_FRAMES];
	unsigned int nrx;
	bool read, write;		/* as polled */
	bool csum, tso4, tso6;		/* as set by set_offload */
	unsigned int offloads;		/* set_offload() calls */
};

struct fake_net *fake_net_last(void);
/* Queue a frame (header included) and tell the NIC if it listens. */
void fake_net_deliver(struct fake_net *n, const void *frame, size_t len);
/* Take frames again. */
void fake_net_unblock(struct fake_net *n);

#endif
