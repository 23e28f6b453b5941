/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/mem_block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/fd.h"

static struct mem_block *last;

struct mem_block *mem_block_last(void)
{
	return last;
}

static struct mem_block *to_mem(struct block *blk)
{
	return container_of(blk, struct mem_block, blk);
}

static void move(struct mem_block *m, struct block_request *req)
{
	uint8_t *p = m->data + req->offset;

	for (int i = 0; i < req->niov; i++) {
		if (req->op == BLOCK_READ)
			memcpy(req->iov[i].iov_base, p, req->iov[i].iov_len);
		else
			memcpy(p, req->iov[i].iov_base, req->iov[i].iov_len);
		p += req->iov[i].iov_len;
	}
}

static void complete(struct mem_block *m, struct block_request *req)
{
	if (!m->fail) {
		if (req->op == BLOCK_READ || req->op == BLOCK_WRITE)
			move(m, req);
		else if (req->op != BLOCK_FLUSH)
			memset(m->data + req->offset, 0, req->len);
	}
	req->done(req, m->fail);
}

static void woken(void *arg, uint32_t events)
{
	struct mem_block *m = arg;

	fd_event_take(m->wake_fd);
	while (!m->hold && !list_empty(&m->queue)) {
		struct block_request *req = list_entry(m->queue.next,
						       struct block_request,
						       link);

		list_del(&req->link);
		complete(m, req);
	}
}

void mem_block_release(struct mem_block *m)
{
	m->hold = false;
	fd_event_signal(m->wake_fd);
}

static int mem_open(struct block **out, const struct block_options *opt,
		    const struct block_events *events, struct loop *loop,
		    const struct log *log, struct error *err)
{
	struct mem_block *m = calloc(1, sizeof(*m));
	bool bare = strstr(opt->uri, ",bare");

	if (!m)
		return error_set(err, ENOMEM, "no memory");
	m->blk = (struct block){
		.size = strtoull(opt->uri + 4, NULL, 0), .block_size = 512,
		.readonly = opt->readonly, .can_flush = !bare,
		.can_discard = !bare, .can_write_zeroes = !bare,
		.can_fua = strstr(opt->uri, ",fua"),
	};
	m->events = *events;
	m->data = calloc(1, m->blk.size);
	list_init(&m->queue);
	m->wake_fd = fd_event();
	m->wake = (struct loop_fd){ .fd = m->wake_fd, .events = EPOLLIN,
				    .fn = woken, .arg = m };
	if (loop_add(loop, &m->wake, err) < 0)
		abort();
	*out = &m->blk;
	last = m;
	return 0;
}

static int mem_activate(struct block *blk, struct error *err)
{
	return 0;
}

static void mem_submit(struct block *blk, struct block_request *req)
{
	struct mem_block *m = to_mem(blk);

	m->count[req->op]++;
	m->fuas += req->fua;
	if (req->op == BLOCK_FLUSH && (req->len || req->niov))
		abort();	/* drivers may count bytes until they have len */
	m->unmapped = req->unmap;
	list_add_tail(&m->queue, &req->link);
	fd_event_signal(m->wake_fd);
}

static int mem_resize(struct block *blk, uint64_t size, struct error *err)
{
	struct mem_block *m = to_mem(blk);
	uint8_t *data = realloc(m->data, size);

	if (!data)
		return error_set(err, ENOMEM, "no memory");
	memset(data + blk->size, 0, size - blk->size);
	m->data = data;
	blk->size = size;
	return 0;
}

static void mem_close(struct block *blk)
{
	struct mem_block *m = to_mem(blk);

	loop_del(blk->loop, &m->wake);
	fd_close(&m->wake_fd);
	free(m->data);
	free(m);
	last = NULL;
}

static const struct block_driver mem_driver = {
	.scheme = "mem",
	.doc = "memory, for tests",
	.open = mem_open,
	.activate = mem_activate,
	.deactivate = mem_activate,
	.submit = mem_submit,
	.resize = mem_resize,
	.close = mem_close,
};

BLOCK_DRIVER(mem_driver);
