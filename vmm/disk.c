/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/disk.h"

#include <errno.h>
#include <stdlib.h>

/* The bitmap is 4 MiB at most: larger disks have larger blocks. */
#define MIN_SHIFT 12
#define MAX_BLOCKS (1ull << 25)
#define WORD_BITS (8 * sizeof(long))

void vm_disk_init(struct vm_disk *d, const struct vm_disk_ops *ops,
		  struct loop *loop, const char *id)
{
	*d = (struct vm_disk){ .ops = ops, .loop = loop, .id = id };
	pthread_mutex_init(&d->lock, NULL);
	list_init(&d->writing);
	list_init(&d->held);
	list_init(&d->taken);
	list_init(&d->released);
}

void vm_disk_exit(struct vm_disk *d)
{
	free(d->dirty);
	pthread_mutex_destroy(&d->lock);
}

/* -- writes of the guest */

static void mark(struct vm_disk *d, uint64_t offset, uint64_t len)
{
	uint64_t first = offset >> d->shift;
	uint64_t end = ((offset + len - 1) >> d->shift) + 1;

	/* it has grown since: whoever copies it learns that at the end */
	end = MIN(end, ((d->size - 1) >> d->shift) + 1);
	for (uint64_t b = first; b < end; b++)
		d->dirty[b / WORD_BITS] |= 1ul << (b % WORD_BITS);
	d->first = MIN(d->first, first);
	d->end = MAX(d->end, end);
}

void vm_disk_resized(struct vm_disk *d, uint64_t size)
{
	pthread_mutex_lock(&d->lock);
	if (!d->dirty)
		d->size = size;
	pthread_mutex_unlock(&d->lock);
}

void vm_disk_write_begin(struct vm_disk *d, struct vm_disk_write *w)
{
	pthread_mutex_lock(&d->lock);
	list_add_tail(&d->writing, &w->link);
	pthread_mutex_unlock(&d->lock);
}

void vm_disk_write_end(struct vm_disk *d, struct vm_disk_write *w)
{
	pthread_mutex_lock(&d->lock);
	list_del(&w->link);
	if (d->dirty && w->len) {
		mark(d, w->offset, w->len);
		d->wrote(d->arg);
	}
	pthread_mutex_unlock(&d->lock);
}

bool vm_disk_write_held(struct vm_disk *d, struct vm_disk_write *w)
{
	bool held;

	pthread_mutex_lock(&d->lock);
	held = d->holding;
	if (held) {
		list_add_tail(&d->held, &w->link);
		d->wrote(d->arg);
	}
	pthread_mutex_unlock(&d->lock);
	return held;
}

static void move_all(struct list *from, struct list *to)
{
	while (!list_empty(from)) {
		struct list *item = from->next;

		list_del(item);
		list_add_tail(to, item);
	}
}

static void tell_released(void *arg)
{
	struct vm_disk *d = arg;
	struct vm_disk_write *w, *tmp;
	struct list todo;

	list_init(&todo);
	pthread_mutex_lock(&d->lock);
	move_all(&d->released, &todo);
	pthread_mutex_unlock(&d->lock);
	list_for_each_safe(w, tmp, &todo, link) {
		list_del(&w->link);
		w->done(w);
	}
}

/* -- for a migration */

static void submit(void *arg)
{
	struct vm_disk_io *io = arg;

	io->disk->ops->submit(io->disk, io);
}

void vm_disk_submit(struct vm_disk *d, struct vm_disk_io *io)
{
	io->disk = d;
	loop_post(d->loop, submit, io);
}

struct call {
	struct vm_disk *d;
	uint64_t size;
	int ret;
	struct error *err;
};

static void call_activate(void *arg)
{
	struct call *c = arg;

	c->ret = c->d->ops->activate(c->d, c->err);
}

int vm_disk_activate(struct vm_disk *d, struct error *err)
{
	struct call c = { .d = d, .err = err };

	loop_call(d->loop, call_activate, &c);
	return c.ret;
}

static void call_resize(void *arg)
{
	struct call *c = arg;

	c->ret = c->d->ops->resize(c->d, c->size, c->err);
}

int vm_disk_resize(struct vm_disk *d, uint64_t size, struct error *err)
{
	struct call c = { .d = d, .size = size, .err = err };
	bool tracked;

	pthread_mutex_lock(&d->lock);
	tracked = d->dirty;
	pthread_mutex_unlock(&d->lock);
	if (tracked)
		return error_set(err, EBUSY, "disk %s is being copied", d->id);
	loop_call(d->loop, call_resize, &c);
	return c.ret;
}

uint64_t vm_disk_blocks(const struct vm_disk *d)
{
	return (d->size + (1ull << d->shift) - 1) >> d->shift;
}

int vm_disk_track(struct vm_disk *d, void (*wrote)(void *arg), void *arg,
		  struct error *err)
{
	unsigned int shift = MIN_SHIFT;
	unsigned long *dirty;
	int ret = 0;

	while (d->size >> shift > MAX_BLOCKS)
		shift++;
	dirty = calloc((d->size >> shift) / WORD_BITS + 1, sizeof(long));
	if (!dirty)
		return error_set(err, ENOMEM, "no memory for a disk's bitmap");
	pthread_mutex_lock(&d->lock);
	if (d->dirty) {
		ret = error_set(err, EBUSY, "disk %s is being copied already",
				d->id);
	} else {
		d->dirty = dirty;
		d->shift = shift;
		d->first = UINT64_MAX;
		d->end = 0;
		d->wrote = wrote;
		d->arg = arg;
	}
	pthread_mutex_unlock(&d->lock);
	if (ret < 0)
		free(dirty);
	return ret;
}

void vm_disk_untrack(struct vm_disk *d)
{
	pthread_mutex_lock(&d->lock);
	free(d->dirty);
	d->dirty = NULL;
	pthread_mutex_unlock(&d->lock);
	vm_disk_hold(d, false);
	loop_call(d->loop, tell_released, d);
}

bool vm_disk_take(struct vm_disk *d, unsigned long *bitmap, uint64_t *first,
		  uint64_t *end)
{
	bool any;

	pthread_mutex_lock(&d->lock);
	*first = d->first;
	*end = d->end;
	any = d->end || !list_empty(&d->held);
	for (uint64_t i = d->first / WORD_BITS; i * WORD_BITS < d->end; i++) {
		bitmap[i] |= d->dirty[i];
		d->dirty[i] = 0;
	}
	d->first = UINT64_MAX;
	d->end = 0;
	move_all(&d->held, &d->taken);
	pthread_mutex_unlock(&d->lock);
	return any;
}

void vm_disk_release(struct vm_disk *d)
{
	bool any;

	pthread_mutex_lock(&d->lock);
	any = !list_empty(&d->taken);
	move_all(&d->taken, &d->released);
	pthread_mutex_unlock(&d->lock);
	if (any)
		loop_post(d->loop, tell_released, d);
}

void vm_disk_hold(struct vm_disk *d, bool on)
{
	bool any;

	pthread_mutex_lock(&d->lock);
	d->holding = on;
	if (!on) {
		move_all(&d->taken, &d->released);
		move_all(&d->held, &d->released);
	}
	any = !list_empty(&d->released);
	pthread_mutex_unlock(&d->lock);
	if (any)
		loop_post(d->loop, tell_released, d);
}

static bool overlaps(const struct vm_disk_write *w, uint64_t offset,
		     uint64_t len)
{
	return w->offset < offset + len && offset < w->offset + w->len;
}

bool vm_disk_unsettled(struct vm_disk *d, uint64_t offset, uint64_t len)
{
	uint64_t b = offset >> d->shift, end = (offset + len - 1) >> d->shift;
	struct vm_disk_write *w;
	bool found = false;

	pthread_mutex_lock(&d->lock);
	list_for_each(w, &d->writing, link)
		found |= overlaps(w, offset, len);
	for (; b <= end && !found; b++)
		found = d->dirty[b / WORD_BITS] >> (b % WORD_BITS) & 1;
	pthread_mutex_unlock(&d->lock);
	return found;
}
