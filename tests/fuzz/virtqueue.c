/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz: a hostile driver on each virtio device. The first byte chooses the
 * device; the rest is a program of what a guest can do: write registers, put
 * bytes anywhere in the rings, offer chains, notify, and what the host does
 * meanwhile (frames, input, stop and start, save and load). Whatever comes,
 * the device must survive, end idle and leak nothing.
 */
#include <libfdt.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fake_net.h"
#include "tests/lib/fuzz_input.h"
#include "tests/lib/mem_block.h"
#include "tests/lib/virtio_guest.h"
#include "vmm/base/byteorder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void props(void *fdt, void *arg)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

	fdt_property_string(fdt, "backend", arg);
	fdt_property_u32(fdt, "queue-size", GUEST_QUEUE_SIZE);
	fdt_property(fdt, "mac", mac, sizeof(mac));
}

static const struct target {
	const char *compatible;
	const char *backend;
	unsigned int queues;
} targets[] = {
	{ "godwit,virtio-blk", "mem:65536", 1 },
	{ "godwit,virtio-net", "fake:offload", 3 },
	{ "godwit,virtio-console", "null", 2 },
	{ "godwit,virtio-rng", "", 1 },
};

static void turn(struct guest *g)
{
	for (int i = 0; i < 3; i++)
		loop_run_once(&g->env.loop, 0);
}

/* Somewhere that matters: a ring, or a buffer. */
static gpa_t address(struct guest *g, struct input *in)
{
	uint64_t where = take(in, 2);
	const struct guest_queue *q = &g->q[(where >> 12) % g->nqueues];

	switch (where >> 14) {
	case 0:
		return q->desc + (where & 0xff);
	case 1:
		return q->avail + (where & 0x3f);
	case 2:
		return q->used + (where & 0xff);
	default:
		return GUEST_DATA + (where & 0xfff);
	}
}

static void poke(struct guest *g, struct input *in)
{
	gpa_t addr = address(g, in);
	size_t n = take(in, 1) % 33;

	while (n-- && in->left) {
		uint8_t byte = (uint8_t)take(in, 1);

		guest_put(g, addr++, &byte, 1);
	}
}

/* A chain that is well formed, so that the device's own checks are reached. */
static void chain(struct guest *g, struct input *in)
{
	unsigned int q = take(in, 1) % g->nqueues;
	unsigned int n = take(in, 1) % 4 + 1;
	struct guest_buf buf[4];

	for (unsigned int i = 0; i < n; i++) {
		buf[i].addr = GUEST_DATA + (take(in, 2) & 0xfff);
		buf[i].len = (uint32_t)take(in, 2);
		buf[i].flags = take(in, 1) & VRING_DESC_F_WRITE;
		if (buf[i].len & 0x8000)
			buf[i].len <<= 8;
	}
	guest_add(g, q, buf, n);
	guest_notify(g, q);
	turn(g);
}

/* A disk's request with a header that says something: type, sector, data. */
static void disk_request(struct guest *g, struct input *in)
{
	uint64_t type = take(in, 1) % 16, sector = take(in, 1);
	uint32_t len = (uint32_t)take(in, 1) * 16;
	struct guest_buf buf[3] = {
		{ GUEST_DATA, 16, 0 },
		{ GUEST_DATA + 0x1000 + sector * 16, len,
		  type & 1 || len == 16 ? 0 : VRING_DESC_F_WRITE },
		{ GUEST_DATA + 16, 1, VRING_DESC_F_WRITE },
	};
	uint8_t header[16] = { 0 };

	put_le32(header, (uint32_t)type);
	put_le64(header + 8, sector);
	guest_put(g, GUEST_DATA, header, sizeof(header));
	/* a range to discard, where that is what the data mean */
	put_le32(header, (uint32_t)sector);
	put_le32(header + 8, len / 16);
	guest_put(g, buf[1].addr, header, sizeof(header));
	if (!len)
		buf[1] = buf[2];
	guest_add(g, 0, buf, len ? 3 : 2);
	guest_notify(g, 0);
	turn(g);
}

static void release_disk(void)
{
	if (mem_block_last())
		mem_block_release(mem_block_last());
}

/* What comes from the host's side. */
static void host_input(struct guest *g, struct input *in)
{
	struct chardev *chr = &g->env.chr.chr;
	struct fake_net *net = fake_net_last();
	uint8_t bytes[4096] = { 0 };
	size_t n = take(in, 2) % sizeof(bytes);

	if (chr->receive)
		chr->receive(chr->receive_arg, bytes, n);
	if (net && net->nrx < FAKE_NET_FRAMES)
		fake_net_deliver(net, bytes, n + 1);
	if (net && n & 1)
		fake_net_unblock(net);
	else if (net)
		net->busy = n & 2;
	if (mem_block_last())
		mem_block_last()->hold = n & 1;
	if (n & 2)
		release_disk();
	if (g->dev->class->announce)
		g->dev->class->announce(g->dev, 0);
	turn(g);
}

static void stop_and_start(struct guest *g)
{
	struct error err = ERROR_INIT;

	g->dev->class->stop(g->dev);
	turn(g);
	g->dev->class->start(g->dev, &err);
	turn(g);
}

static void save_and_load(struct guest *g)
{
	struct error err = ERROR_INIT;
	size_t len;
	void *fdt;

	g->dev->class->stop(g->dev);
	release_disk();
	while (atomic_load(&g->dev->inflight))
		turn(g);
	fdt = guest_save(g, &len);
	/* a device that a guest brought into a state must load it */
	if (guest_load(g, fdt, &err) < 0)
		abort();
	free(fdt);
	g->dev->class->start(g->dev, &err);
	turn(g);
}

static void step(struct guest *g, struct input *in)
{
	uint64_t op = take(in, 1), a;

	switch (op % 8) {
	case 0:
		a = take(in, 1) * 4;
		guest_set(g, (uint32_t)(a & 0x1ff), (uint32_t)take(in, 4));
		break;
	case 1:
		a = take(in, 1);
		fake_write(&g->env.mmio, GUEST_MMIO + 0x100 + a % 0x48,
			   1u << (op >> 6), take(in, 1));
		fake_read(&g->env.mmio, GUEST_MMIO + a * 2, 1u << (op >> 6));
		break;
	case 2:
		poke(g, in);
		break;
	case 3:
		guest_offer(g, take(in, 1) % g->nqueues,
			    (uint16_t)take(in, 1));
		break;
	case 4:
		chain(g, in);
		break;
	case 5:
		guest_notify(g, take(in, 1) % g->nqueues);
		turn(g);
		break;
	case 6:
		host_input(g, in);
		break;
	default:
		if (op & 16)
			disk_request(g, in);
		else if (op & 8)
			save_and_load(g);
		else
			stop_and_start(g);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .p = data, .left = size };
	uint64_t choice = take(&in, 1);
	const struct target *t = &targets[choice % ARRAY_SIZE(targets)];
	struct guest *g;
	char backend[16];

	memcpy(backend, t->backend, strlen(t->backend) + 1);
	g = guest_create(t->compatible, props, backend);
	guest_start(g);
	guest_driver(g, choice & 4 ? guest_offered(g) : 0, t->queues);
	/* memory in which headers are often what a device looks for */
	for (unsigned int i = 0; i < 64 && in.left; i++)
		guest_put(g, GUEST_DATA + 16 * i, data + i % size, 1);
	while (in.left)
		step(g, &in);
	release_disk();
	turn(g);
	guest_destroy(g);
	return 0;
}
