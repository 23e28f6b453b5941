/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/mem_disk.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct mem_disk *mem(struct vm_disk *d)
{
	return container_of(d, struct mem_disk, d);
}

/* A mebibyte at most. */
static void map(struct mem_disk *m, struct vm_disk_io *io)
{
	unsigned long *bits = io->buf;

	io->len = MIN(io->len, 1 * MIB);
	for (uint64_t i = 0; i * VM_DISK_PIECE < io->len; i++)
		if (io->offset + (i + 1) * VM_DISK_PIECE > m->hole_end)
			bits[i / (8 * sizeof(long))] |=
				1ul << (i % (8 * sizeof(long)));
}

static int carry_out(struct mem_disk *m, struct vm_disk_io *io)
{
	switch (io->op) {
	case VM_DISK_READ:
		m->reads++;
		memcpy(io->buf, m->data + io->offset, io->len);
		return 0;
	case VM_DISK_WRITE:
		if (m->error)
			return m->error;
		memcpy(m->data + io->offset, io->buf, io->len);
		if (m->flip_at >= (int64_t)io->offset &&
		    m->flip_at < (int64_t)(io->offset + io->len))
			m->data[m->flip_at] ^= 1;
		return 0;
	case VM_DISK_WRITE_ZEROES:
		m->zeroes++;
		memset(m->data + io->offset, 0, io->len);
		return 0;
	case VM_DISK_FLUSH:
		m->flushes++;
		return 0;
	case VM_DISK_MAP:
		map(m, io);
		return 0;
	}
	return -EINVAL;
}

static void mem_submit(struct vm_disk *d, struct vm_disk_io *io)
{
	struct mem_disk *m = mem(d);
	bool keep;
	int ret = 0;

	pthread_mutex_lock(&m->lock);
	keep = m->hang && io->op != VM_DISK_MAP;
	if (keep)
		m->kept = io;
	else
		ret = carry_out(m, io);
	m->hang &= !keep;
	pthread_mutex_unlock(&m->lock);
	if (io->op == VM_DISK_MAP && m->mapped)
		m->mapped(m);
	if (!keep)
		io->done(io, ret);
}

static int mem_activate(struct vm_disk *d, struct error *err)
{
	(void)d, (void)err;
	return 0;
}

static const struct vm_disk_ops mem_ops = {
	.submit = mem_submit,
	.activate = mem_activate,
};

static struct vm_disk *side_disk(struct vm *vm, unsigned int index)
{
	struct mem_side *s = (struct mem_side *)(void *)vm;

	return index < s->ndisks ? &s->disk[index].d : NULL;
}

const struct migration_vm_ops mem_side_ops = { .disk = side_disk };

static void *loop_thread(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void runs(void *arg)
{
	*(atomic_bool *)arg = true;
}

void mem_side_init(struct mem_side *s, unsigned int ndisks)
{
	static const char *const id[] = { "one", "two" };
	struct error err = ERROR_INIT;
	atomic_bool running = false;

	memset(s, 0, sizeof(*s));
	if (loop_init(&s->loop, &err) < 0)
		abort();
	loop_post(&s->loop, runs, &running);
	if (pthread_create(&s->thread, NULL, loop_thread, &s->loop))
		abort();
	while (!running)	/* a stop before that is lost */
		sched_yield();
	s->ndisks = ndisks;
	for (unsigned int i = 0; i < ndisks; i++) {
		struct mem_disk *m = &s->disk[i];

		vm_disk_init(&m->d, &mem_ops, &s->loop, id[i]);
		pthread_mutex_init(&m->lock, NULL);
		m->d.size = MEM_DISK_SIZE;
		m->data = calloc(1, MEM_DISK_SIZE);
		m->flip_at = -1;
	}
}

void mem_side_exit(struct mem_side *s)
{
	loop_stop(&s->loop);
	pthread_join(s->thread, NULL);
	loop_exit(&s->loop);
	for (unsigned int i = 0; i < s->ndisks; i++) {
		vm_disk_exit(&s->disk[i].d);
		pthread_mutex_destroy(&s->disk[i].lock);
		free(s->disk[i].data);
	}
}
