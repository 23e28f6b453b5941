/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues (virtio 1.2, section 2.7). Packed rings are not offered.
 *
 * A descriptor must lie within one memory region: regions are never adjacent
 * (holes lie between), so one that spans two would cover a hole as well.
 */
#include "devices/virtio/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vmm/base/byteorder.h"

#define DESC_BYTES 16
#define AVAIL_BYTES(n) (6 + 2 * (uint64_t)(n))
#define USED_BYTES(n) (6 + 8 * (uint64_t)(n))
#define RING_IDX 2		/* offset of idx in either ring */
#define RING_ENTRIES 4

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

static int virtq_broken(struct virtq *q, const char *why)
{
	q->why = why;
	return -EBADMSG;
}

void virtq_init(struct virtq *q, struct memory *mem, uint16_t max)
{
	memset(q, 0, sizeof(*q));
	q->mem = mem;
	q->max = max;
}

void virtq_disable(struct virtq *q)
{
	q->ready = false;
	q->last_avail = 0;
	q->used_idx = 0;
	q->signalled = 0;
	q->desc_ptr = NULL;
	q->avail_ptr = NULL;
	q->used_ptr = NULL;
	q->inflight = 0;
	q->epoch++;
	q->why = NULL;
}

void virtq_reset(struct virtq *q)
{
	virtq_disable(q);
	q->size = 0;
	q->desc = 0;
	q->driver = 0;
	q->device = 0;
	q->event_idx = false;
	q->indirect = false;
}

static bool size_ok(const struct virtq *q)
{
	return q->size && q->size <= q->max && !(q->size & (q->size - 1));
}

int virtq_map(struct virtq *q)
{
	if (!size_ok(q))
		return virtq_broken(q, "queue size is no power of two within the limit");
	/* alignment: virtio 1.2, section 2.7, table of the three parts */
	if (q->desc % 16 || q->driver % 2 || q->device % 4)
		return virtq_broken(q, "a ring is not aligned");
	q->desc_ptr = memory_ptr(q->mem, q->desc, (uint64_t)q->size * DESC_BYTES);
	q->avail_ptr = memory_ptr(q->mem, q->driver, AVAIL_BYTES(q->size));
	q->used_ptr = memory_ptr(q->mem, q->device, USED_BYTES(q->size));
	if (!q->desc_ptr || !q->avail_ptr || !q->used_ptr) {
		q->used_ptr = NULL;
		return virtq_broken(q, "a ring lies outside of memory");
	}
	q->why = NULL;
	return 0;
}

int virtq_enable(struct virtq *q)
{
	virtq_disable(q);
	q->ready = true;
	return virtq_map(q);
}

/*
 * -- the driver's ring
 *
 * Flags, indices and events are sequentially consistent on our side, with
 * barriers on the driver's: each side stores what it did and then reads what
 * the other wants, and one of them must see the other.
 */

static uint16_t load16(const uint8_t *p)
{
	const uint16_t *v = (const void *)p;

	return le16toh(__atomic_load_n(v, __ATOMIC_SEQ_CST));
}

static void store16(struct virtq *q, uint64_t offset, uint16_t value)
{
	uint16_t *p = (void *)(q->used_ptr + offset);

	__atomic_store_n(p, htole16(value), __ATOMIC_SEQ_CST);
	memory_mark_dirty(q->mem, q->device + offset, sizeof(value));
}

static uint16_t avail_idx(const struct virtq *q)
{
	return load16(q->avail_ptr + RING_IDX);
}

bool virtq_pending(const struct virtq *q)
{
	return q->used_ptr && !q->why && avail_idx(q) != q->last_avail;
}

static void desc_get(const uint8_t *table, unsigned int i, struct desc *d)
{
	uint8_t raw[DESC_BYTES];

	memcpy(raw, table + (size_t)i * DESC_BYTES, sizeof(raw));
	d->addr = get_le64(raw);
	d->len = get_le32(raw + 8);
	d->flags = get_le16(raw + 12);
	d->next = get_le16(raw + 14);
}

/* Add one buffer to the chain; NULL, or what is wrong with it. */
static const char *chain_add(const struct virtq *q, struct virtq_chain *c,
			     const struct desc *d)
{
	bool in = d->flags & VRING_DESC_F_WRITE;
	uint32_t *total = in ? &c->in_len : &c->out_len;
	struct iovec *iov = &c->iov[c->nout + c->nin];

	if (c->nout + c->nin == VIRTQ_MAX_IOV)
		return "a chain is too long, or a loop";
	if (!d->len)
		return "a descriptor has no length";
	if (!in && c->nin)
		return "a readable descriptor follows a writable one";
	if (__builtin_add_overflow(*total, d->len, total))
		return "a chain has more than 2^32 bytes";
	iov->iov_base = memory_ptr(q->mem, d->addr, d->len);
	iov->iov_len = d->len;
	if (!iov->iov_base)
		return "a descriptor points outside of memory";
	if (in)
		c->seg[c->nin++] = (struct virtq_seg){ d->addr, d->len };
	else
		c->nout++;
	return NULL;
}

/*
 * Walk the descriptors from c->head. Each one takes an iovec, so a loop ends
 * where the chain becomes too long; a table within a table is refused.
 */
static const char *chain_walk(const struct virtq *q, struct virtq_chain *c)
{
	const uint8_t *table = q->desc_ptr;
	uint32_t n = q->size, i = c->head;
	const char *why;
	struct desc d;

	for (;;) {
		if (i >= n)
			return "a descriptor index is too large";
		desc_get(table, i, &d);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			/* section 2.7.5.3.1 */
			if (!q->indirect || table != q->desc_ptr ||
			    d.flags & VRING_DESC_F_NEXT ||
			    !d.len || d.len % DESC_BYTES)
				return "an indirect descriptor is malformed";
			table = memory_ptr(q->mem, d.addr, d.len);
			if (!table)
				return "an indirect table lies outside of memory";
			if (table == q->desc_ptr)
				return "an indirect table is the queue's own";
			n = d.len / DESC_BYTES;
			i = 0;
			continue;
		}
		why = chain_add(q, c, &d);
		if (why || !(d.flags & VRING_DESC_F_NEXT))
			return why;
		i = d.next;
	}
}

int virtq_retake(struct virtq *q, uint16_t head, struct virtq_chain *c)
{
	if (q->why || !q->used_ptr)
		return -EBADMSG;
	c->head = head;
	c->epoch = q->epoch;
	c->nout = c->nin = 0;
	c->out_len = c->in_len = 0;
	q->why = chain_walk(q, c);
	if (q->why)
		return -EBADMSG;
	c->out = c->iov;
	c->in = c->iov + c->nout;
	c->nseg = c->nin;
	return 0;
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	uint16_t head;
	uint16_t idx;

	if (q->why || !q->used_ptr)
		return -EBADMSG;
	idx = avail_idx(q);
	if (idx == q->last_avail)
		return 0;
	if ((uint16_t)(idx - q->last_avail) > q->size)
		return virtq_broken(q, "the available index jumped");
	if (q->inflight >= q->size)
		return virtq_broken(q, "more buffers in use than the queue has");
	head = load16(q->avail_ptr + RING_ENTRIES +
		      2 * (q->last_avail & (q->size - 1)));
	if (virtq_retake(q, head, c))
		return -EBADMSG;
	q->last_avail++;
	q->inflight++;
	return 1;
}

void virtq_unpop(struct virtq *q, const struct virtq_chain *c)
{
	if (c->epoch != q->epoch)
		return;
	q->last_avail--;
	q->inflight--;
}

/* -- the device's ring */

static void mark_written(struct virtq *q, const struct virtq_chain *c,
			 uint32_t len)
{
	for (unsigned int i = 0; len && i < c->nseg; i++) {
		uint32_t n = MIN(len, c->seg[i].len);

		memory_mark_dirty(q->mem, c->seg[i].gpa, n);
		len -= n;
	}
}

void virtq_put(struct virtq *q, const struct virtq_chain *c, uint16_t n,
	       uint32_t len)
{
	uint16_t slot = (uint16_t)(q->used_idx + n) & (q->size - 1);
	uint64_t offset = RING_ENTRIES + 8 * (uint64_t)slot;

	/* even for a void chain: its bytes may have been written */
	mark_written(q, c, len);
	if (c->epoch != q->epoch || !q->used_ptr)
		return;
	put_le32(q->used_ptr + offset, c->head);
	put_le32(q->used_ptr + offset + 4, len);
	memory_mark_dirty(q->mem, q->device + offset, 8);
	q->inflight--;
}

void virtq_publish(struct virtq *q, uint16_t n)
{
	if (!n || !q->used_ptr)
		return;
	q->used_idx += n;
	store16(q, RING_IDX, q->used_idx);
}

void virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t len)
{
	virtq_put(q, c, 0, len);
	if (c->epoch == q->epoch)
		virtq_publish(q, 1);
}

bool virtq_should_interrupt(struct virtq *q)
{
	uint16_t old = q->signalled, event;

	if (!q->used_ptr || old == q->used_idx)
		return false;
	q->signalled = q->used_idx;
	/* section 2.7.7.2: our index was stored before their wish is read */
	if (!q->event_idx)
		return !(load16(q->avail_ptr) & VRING_AVAIL_F_NO_INTERRUPT);
	event = load16(q->avail_ptr + RING_ENTRIES + 2 * (size_t)q->size);
	return vring_need_event(event, q->used_idx, old);
}

void virtq_notify_off(struct virtq *q)
{
	/* with the event index it is enough not to move it */
	if (q->used_ptr && !q->event_idx)
		store16(q, 0, VRING_USED_F_NO_NOTIFY);
}

void virtq_notify_cancel(struct virtq *q)
{
	uint64_t event = RING_ENTRIES + 8 * (uint64_t)q->size;
	uint16_t passed = q->last_avail - 1;

	/* an index that was passed already: reached again after a lap only */
	if (!q->event_idx)
		virtq_notify_off(q);
	else if (q->used_ptr && load16(q->used_ptr + event) != passed)
		store16(q, event, passed);
}

bool virtq_notify_on(struct virtq *q)
{
	if (!q->used_ptr)
		return false;
	if (q->event_idx)
		store16(q, RING_ENTRIES + 8 * (uint64_t)q->size, q->last_avail);
	else
		store16(q, 0, 0);
	/* section 2.7.10: our wish was stored before their index is read */
	return virtq_pending(q);
}

/* -- buffers */

static size_t iov_copy(const struct iovec *iov, unsigned int n, size_t offset,
		       void *to, const void *from, size_t len)
{
	size_t done = 0;

	for (unsigned int i = 0; i < n && done < len; i++) {
		size_t part;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - offset, len - done);
		if (to)
			memcpy((char *)to + done,
			       (char *)iov[i].iov_base + offset, part);
		else
			memcpy((char *)iov[i].iov_base + offset,
			       (const char *)from + done, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, unsigned int n, size_t offset,
		void *buf, size_t len)
{
	return iov_copy(iov, n, offset, buf, NULL, len);
}

size_t iov_write(const struct iovec *iov, unsigned int n, size_t offset,
		 const void *buf, size_t len)
{
	return iov_copy(iov, n, offset, NULL, buf, len);
}

unsigned int iov_merge(struct iovec *iov, unsigned int n)
{
	unsigned int last = 0;

	for (unsigned int i = 1; i < n; i++) {
		char *end = (char *)iov[last].iov_base + iov[last].iov_len;

		if (end == iov[i].iov_base)
			iov[last].iov_len += iov[i].iov_len;
		else
			iov[++last] = iov[i];
	}
	return n ? last + 1 : 0;
}

void iov_trim_front(struct iovec **iov, unsigned int *n, size_t len)
{
	while (*n && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n && len) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}

void iov_trim_back(struct iovec *iov, unsigned int *n, size_t len)
{
	while (*n && len >= iov[*n - 1].iov_len)
		len -= iov[--*n].iov_len;
	if (*n)
		iov[*n - 1].iov_len -= len;
}

/* -- state */

static int virtq_validate(const void *scratch, struct error *err)
{
	const struct virtq *q = scratch;

	/* addresses may be anything: they break the queue, as for a driver */
	if (q->size > VIRTQ_MAX_SIZE || (q->size & (q->size - 1)))
		return error_set(err, EINVAL,
				 "queue size %u is no power of two up to %d",
				 q->size, VIRTQ_MAX_SIZE);
	return 0;
}

const struct state_table virtq_state = {
	.name = "virtq",
	.doc = "a split virtqueue; drained, so nothing is in flight",
	.size = sizeof(struct virtq),
	STATE_VISIBLE(struct virtq, size, signalled),
	STATE_FIELDS(
		STATE_U16(struct virtq, size, .doc = "entries, QueueNum"),
		STATE_BOOL(struct virtq, ready, .doc = "QueueReady"),
		STATE_U64(struct virtq, desc, .doc = "QueueDesc"),
		STATE_U64(struct virtq, driver, .doc = "QueueDriver"),
		STATE_U64(struct virtq, device, .doc = "QueueDevice"),
		STATE_U16(struct virtq, last_avail,
			  .doc = "next available entry to look at"),
		STATE_U16(struct virtq, used_idx,
			  .doc = "next used entry to write"),
		STATE_U16(struct virtq, signalled,
			  .doc = "used index at the last interrupt decision"),
	),
	.validate = virtq_validate,
};
