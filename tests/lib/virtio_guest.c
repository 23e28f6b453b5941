/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/virtio_guest.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/byteorder.h"

static void require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "virtio_guest: %s\n", what);
	abort();
}

struct guest *guest_create(const char *compatible,
			   void (*props)(void *fdt, void *arg), void *arg)
{
	struct guest *g = calloc(1, sizeof(*g));

	require(g, "no memory");
	fake_env_init(&g->env, GUEST_MEM);
	/* misbehaving is what many tests are about */
	g->env.log.level = LOG_ERROR;
	g->dev = fake_device(&g->env, "soc", compatible, GUEST_MMIO, 0x200,
			     GUEST_GSI, props, arg);
	return g;
}

void guest_destroy(struct guest *g)
{
	g->dev->class->stop(g->dev);
	while (atomic_load(&g->dev->inflight))
		loop_run_once(&g->env.loop, 100);
	fake_device_destroy(g->dev);
	fake_env_exit(&g->env);
	free(g);
}

void guest_start(struct guest *g)
{
	struct error err = ERROR_INIT;

	require(!g->dev->class->activate ||
		g->dev->class->activate(g->dev, &err) == 0, err.msg);
	require(g->dev->class->start(g->dev, &err) == 0, err.msg);
}

uint32_t guest_reg(struct guest *g, uint32_t offset)
{
	return (uint32_t)fake_read(&g->env.mmio, GUEST_MMIO + offset, 4);
}

void guest_set(struct guest *g, uint32_t offset, uint32_t value)
{
	fake_write(&g->env.mmio, GUEST_MMIO + offset, 4, value);
}

uint64_t guest_offered(struct guest *g)
{
	uint64_t f;

	guest_set(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	f = (uint64_t)guest_reg(g, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	guest_set(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return f | guest_reg(g, VIRTIO_MMIO_DEVICE_FEATURES);
}

static void setup_queue(struct guest *g, unsigned int i)
{
	struct guest_queue *q = &g->q[i];
	uint8_t zeroes[0x3000] = { 0 };

	*q = (struct guest_queue){
		.desc = 0x10000 * (i + 1), .avail = 0x10000 * (i + 1) + 0x1000,
		.used = 0x10000 * (i + 1) + 0x2000, .size = GUEST_QUEUE_SIZE,
	};
	guest_put(g, q->desc, zeroes, sizeof(zeroes));
	guest_set(g, VIRTIO_MMIO_QUEUE_SEL, i);
	guest_set(g, VIRTIO_MMIO_QUEUE_NUM, q->size);
	guest_set(g, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)q->desc);
	guest_set(g, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)q->avail);
	guest_set(g, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)q->used);
	guest_set(g, VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
	guest_set(g, VIRTIO_MMIO_QUEUE_READY, 1);
}

void guest_driver(struct guest *g, uint64_t features, unsigned int nqueues)
{
	uint32_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	features |= 1ull << VIRTIO_F_VERSION_1;
	guest_set(g, VIRTIO_MMIO_STATUS, 0);
	guest_set(g, VIRTIO_MMIO_STATUS, s);
	guest_set(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	guest_set(g, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	guest_set(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	guest_set(g, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	s |= VIRTIO_CONFIG_S_FEATURES_OK;
	guest_set(g, VIRTIO_MMIO_STATUS, s);
	require(guest_reg(g, VIRTIO_MMIO_STATUS) == s, "features refused");
	g->nqueues = nqueues;
	for (unsigned int i = 0; i < nqueues; i++)
		setup_queue(g, i);
	guest_set(g, VIRTIO_MMIO_STATUS, s | VIRTIO_CONFIG_S_DRIVER_OK);
}

struct guest *guest_boot(const char *compatible,
			 void (*props)(void *fdt, void *arg), void *arg,
			 uint64_t features, unsigned int nqueues)
{
	struct guest *g = guest_create(compatible, props, arg);

	guest_start(g);
	guest_driver(g, features, nqueues);
	guest_settle(g);
	return g;
}

void guest_put(struct guest *g, gpa_t addr, const void *buf, size_t len)
{
	void *p = memory_ptr(&g->env.mem, addr, len);

	require(p, "no such memory");
	memcpy(p, buf, len);
}

void guest_get(struct guest *g, gpa_t addr, void *buf, size_t len)
{
	require(memory_read(&g->env.mem, addr, buf, len) == 0,
		"no such memory");
}

uint16_t guest_get16(struct guest *g, gpa_t addr)
{
	uint8_t raw[2];

	guest_get(g, addr, raw, sizeof(raw));
	return get_le16(raw);
}

void guest_put16(struct guest *g, gpa_t addr, uint16_t v)
{
	uint8_t raw[2];

	put_le16(raw, v);
	guest_put(g, addr, raw, sizeof(raw));
}

void guest_desc(struct guest *g, unsigned int q, uint16_t i, gpa_t addr,
		uint32_t len, uint16_t flags, uint16_t next)
{
	uint8_t raw[16];

	put_le64(raw, addr);
	put_le32(raw + 8, len);
	put_le16(raw + 12, flags);
	put_le16(raw + 14, next);
	guest_put(g, g->q[q].desc + 16ull * i, raw, sizeof(raw));
}

void guest_offer(struct guest *g, unsigned int q, uint16_t head)
{
	struct guest_queue *gq = &g->q[q];

	guest_put16(g, gq->avail + 4 + 2 * (gq->avail_idx % gq->size), head);
	guest_put16(g, gq->avail + 2, ++gq->avail_idx);
}

uint16_t guest_add(struct guest *g, unsigned int q,
		   const struct guest_buf *buf, unsigned int n)
{
	struct guest_queue *gq = &g->q[q];
	uint16_t head = gq->next_desc;

	for (unsigned int i = 0; i < n; i++) {
		uint16_t d = gq->next_desc;

		gq->next_desc = (uint16_t)((d + 1) % gq->size);
		guest_desc(g, q, d, buf[i].addr, buf[i].len, buf[i].flags |
			   (i + 1 < n ? VRING_DESC_F_NEXT : 0), gq->next_desc);
	}
	guest_offer(g, q, head);
	return head;
}

void guest_notify(struct guest *g, unsigned int q)
{
	guest_set(g, VIRTIO_MMIO_QUEUE_NOTIFY, q);
}

void guest_settle(struct guest *g)
{
	/* one turn can make the next one ready: eventfds, completions */
	for (int i = 0; i < 20; i++)
		loop_run_once(&g->env.loop, 0);
}

bool guest_used(struct guest *g, unsigned int q, uint32_t *id, uint32_t *len)
{
	struct guest_queue *gq = &g->q[q];
	uint8_t raw[8];

	if (guest_get16(g, gq->used + 2) == gq->seen)
		return false;
	guest_get(g, gq->used + 4 + 8ull * (gq->seen++ % gq->size), raw,
		  sizeof(raw));
	*id = get_le32(raw);
	*len = get_le32(raw + 4);
	return true;
}

uint32_t guest_do(struct guest *g, unsigned int q)
{
	uint32_t id, len = 0;

	guest_notify(g, q);
	guest_settle(g);
	require(guest_used(g, q, &id, &len), "nothing was used");
	return len;
}

bool guest_needs_reset(struct guest *g)
{
	return guest_reg(g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

unsigned int guest_pulses(struct guest *g)
{
	return g->env.pulses[GUEST_GSI];
}

void guest_track(struct guest *g)
{
	memory_track_own(&g->env.mem, true);
	memset(g->dirty, 0, sizeof(g->dirty));
}

bool guest_dirty(struct guest *g, gpa_t addr)
{
	uint64_t page = addr >> PAGE_SHIFT;

	memory_take_own(&g->env.mem, 0, g->dirty);
	return g->dirty[page / 64] >> (page % 64) & 1;
}

void *guest_save(struct guest *g, size_t *len)
{
	struct error err = ERROR_INIT;
	struct state_writer w;
	void *fdt = NULL;

	require(state_writer_init(&w, &err) == 0 &&
		state_save(&w, g->dev->name, g->dev->class->state, g->dev,
			   &err) == 0 &&
		state_writer_finish(&w, &fdt, len, &err) == 0, err.msg);
	return fdt;
}

int guest_load(struct guest *g, const void *fdt, struct error *err)
{
	return state_load(fdt, g->dev->name, g->dev->class->state, g->dev, err);
}
