/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/fake_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct fake_net *last;

struct fake_net *fake_net_last(void)
{
	return last;
}

static struct fake_net *to_fake(struct net *net)
{
	return container_of(net, struct fake_net, net);
}

void fake_net_deliver(struct fake_net *n, const void *frame, size_t len)
{
	if (n->nrx == FAKE_NET_FRAMES)
		abort();
	n->rx[n->nrx].data = malloc(len);
	memcpy(n->rx[n->nrx].data, frame, len);
	n->rx[n->nrx++].len = len;
	if (n->read)
		n->net.readable(n->net.arg);
}

void fake_net_unblock(struct fake_net *n)
{
	n->busy = false;
	if (n->write)
		n->net.writable(n->net.arg);
}

static int fake_open(struct net **out, const char *backend, struct loop *loop,
		     const struct log *log, struct error *err)
{
	struct fake_net *n = calloc(1, sizeof(*n));

	if (!n)
		return error_set(err, ENOMEM, "no memory");
	n->net.has_offload = strstr(backend, "offload");
	*out = &n->net;
	last = n;
	return 0;
}

static int fake_send(struct net *net, const struct iovec *iov, int niov)
{
	struct fake_net *n = to_fake(net);

	if (n->busy)
		return -EAGAIN;
	n->sent_len = 0;
	for (int i = 0; i < niov; i++) {
		if (iov[i].iov_len > sizeof(n->sent) - n->sent_len)
			return -EMSGSIZE;
		memcpy(n->sent + n->sent_len, iov[i].iov_base, iov[i].iov_len);
		n->sent_len += iov[i].iov_len;
	}
	n->nsent++;
	return 0;
}

static ssize_t fake_receive(struct net *net, const struct iovec *iov, int niov)
{
	struct fake_net *n = to_fake(net);
	size_t len, done = 0;

	if (!n->nrx)
		return 0;
	len = n->rx[0].len;
	for (int i = 0; i < niov && done < len; i++) {
		size_t part = MIN(iov[i].iov_len, len - done);

		memcpy(iov[i].iov_base, n->rx[0].data + done, part);
		done += part;
	}
	free(n->rx[0].data);
	n->nrx--;
	memmove(&n->rx[0], &n->rx[1], n->nrx * sizeof(n->rx[0]));
	return (ssize_t)done;
}

static void fake_poll(struct net *net, bool read, bool write)
{
	to_fake(net)->read = read;
	to_fake(net)->write = write;
}

static int fake_offload(struct net *net, bool csum, bool tso4, bool tso6)
{
	struct fake_net *n = to_fake(net);

	n->csum = csum;
	n->tso4 = tso4;
	n->tso6 = tso6;
	n->offloads++;
	return 0;
}

static void fake_close(struct net *net)
{
	struct fake_net *n = to_fake(net);

	while (n->nrx)
		free(n->rx[--n->nrx].data);
	free(n);
	last = NULL;
}

static const struct net_driver fake_driver = {
	.scheme = "fake",
	.doc = "nothing, for tests",
	.open = fake_open,
	.send = fake_send,
	.receive = fake_receive,
	.poll = fake_poll,
	.set_offload = fake_offload,
	.close = fake_close,
};

NET_DRIVER(fake_driver);
