/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this machine can do, and how far from it memory is sent: copying,
 * looking for zeroes, making pages, TCP over loopback, and guest memory through
 * the migration's own sender and receiver, without a VM. All in one run and in
 * turns, so that the numbers can be compared with each other.
 *
 * limits [MiB [RUNS]]: GiB/s, the median and the best of the runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migration/limiter.h"
#include "migration/page_zero.h"
#include "migration/ram_recv.h"
#include "migration/ram_send.h"
#include "vmm/base/util.h"
#include "vmm/vm.h"

#define RUNS_MAX 99
#define CHUNK MIB	/* a write to a socket, as the sender's */
#define STREAMS_MAX 4

struct bench {
	struct vm vm;		/* its memory alone: all random bytes */
	struct memory here;	/* populated, to receive in */
	uint64_t size;
	unsigned int runs;
};

struct measure {
	const char *name;
	/* bytes are moved, once; what is not to be measured is left out */
	uint64_t (*run)(struct bench *b, unsigned int arg);	/* ns */
	unsigned int arg;
	double gib_s[RUNS_MAX];
};

static void must(int ret, const char *what, const struct error *err)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "limits: %s: %s\n", what, err->msg);
	exit(1);
}

static uint8_t *bytes_of(const struct memory *mem)
{
	return mem->region[0].host;
}

static void new_memory(struct memory *mem, uint64_t size)
{
	const struct memory_range range = { .base = 0, .size = size };
	struct error err = ERROR_INIT;

	must(memory_init(mem, &range, 1, MEMORY_ANON, &err), "memory", &err);
}

/*
 * Memory to be made, of pages that lay free for a moment only: where this
 * machine is itself a VM, the host takes back what lies free for longer, and
 * making it costs ten times as much. That is not measured here.
 */
static void fresh_memory(struct memory *mem, uint64_t size)
{
	new_memory(mem, size);
	(void)madvise(bytes_of(mem), size, MADV_POPULATE_WRITE);
	memory_exit(mem);
	new_memory(mem, size);
}

/* -- memory ---------------------------------------------------------------- */

static uint64_t copy(struct bench *b, unsigned int arg)
{
	uint64_t start;

	(void)madvise(bytes_of(&b->here), b->size, MADV_POPULATE_WRITE);
	start = now_ns();
	memcpy(bytes_of(&b->here), bytes_of(&b->vm.mem), b->size);
	return now_ns() - start;
}

/* In memory that no cache holds, all of it zero: the longest way. */
static uint64_t scan(struct bench *b, unsigned int way)
{
	const struct page_zero *zero = page_zero_way(way);
	uint8_t *p = bytes_of(&b->here);
	uint64_t start, found = 0;

	memset(p, 0, b->size);
	start = now_ns();
	for (uint64_t at = 0; at < b->size; at += PAGE_BYTES)
		found += zero->test(p + at);
	start = now_ns() - start;
	if (found != b->size >> PAGE_SHIFT)
		abort();
	return start;
}

static uint64_t populate(struct bench *b, unsigned int arg)
{
	struct memory mem;
	uint64_t start;

	fresh_memory(&mem, b->size);
	start = now_ns();
	(void)madvise(bytes_of(&mem), b->size, MADV_POPULATE_WRITE);
	start = now_ns() - start;
	memory_exit(&mem);
	return start;
}

/* -- connections ----------------------------------------------------------- */

static void connect_one(struct channel *out, struct channel *in)
{
	const struct channel_security plain = { .plain = true };
	struct error err = ERROR_INIT;
	struct listener l;

	must(channel_listen(&l, "tcp:127.0.0.1:0", &plain, &err), "listen",
	     &err);
	must(channel_connect(out, l.uri, &plain, -1, 0, &err), "connect", &err);
	must(channel_wait_fd(l.fd, 1, -1, 0), "accept", &err);
	must(channel_accept(&l, in, &err), "accept", &err);
	listener_close(&l);
}

struct stream {
	struct bench *b;
	struct channel out, in;
	pthread_t sender, receiver;
	uint64_t first, size;
};

static void *stream_out(void *arg)
{
	struct stream *s = arg;
	uint8_t *p = bytes_of(&s->b->vm.mem) + s->first;
	struct error err = ERROR_INIT;

	for (uint64_t at = 0; at < s->size; at += CHUNK) {
		struct iovec iov = { .iov_base = p + at, .iov_len = CHUNK };

		must(channel_writev(&s->out, &iov, 1, 0, &err), "send", &err);
	}
	return NULL;
}

static void *stream_in(void *arg)
{
	struct stream *s = arg;
	uint8_t *p = bytes_of(&s->b->here) + s->first;
	struct error err = ERROR_INIT;

	must(channel_read(&s->in, p, s->size, 0, &err), "receive", &err);
	return NULL;
}

/* Bytes of memory that is there into memory that is there. */
static uint64_t tcp(struct bench *b, unsigned int n)
{
	struct stream s[STREAMS_MAX];
	uint64_t start;

	for (unsigned int i = 0; i < n; i++) {
		s[i] = (struct stream){ .b = b, .size = b->size / n,
					.first = b->size / n * i };
		connect_one(&s[i].out, &s[i].in);
	}
	start = now_ns();
	for (unsigned int i = 0; i < n; i++) {
		pthread_create(&s[i].receiver, NULL, stream_in, &s[i]);
		pthread_create(&s[i].sender, NULL, stream_out, &s[i]);
	}
	for (unsigned int i = 0; i < n; i++) {
		pthread_join(s[i].sender, NULL);
		pthread_join(s[i].receiver, NULL);
		channel_close(&s[i].out);
		channel_close(&s[i].in);
	}
	return now_ns() - start;
}

/* -- the migration's own --------------------------------------------------- */

static int log_start(struct vm *vm, struct error *err)
{
	return 0;
}

static void log_stop(struct vm *vm)
{
}

static int log_all(struct vm *vm, unsigned int region, unsigned long *bitmap,
		   struct error *err)
{
	memset(bitmap, 0xff, vm->mem.size >> PAGE_SHIFT >> 3);
	return 0;
}

static int log_clear(struct vm *vm, unsigned int region, uint64_t first,
		     uint64_t npages, const unsigned long *bitmap,
		     struct error *err)
{
	return 0;
}

static const struct migration_vm_ops ops = {
	.dirty_start = log_start, .dirty_stop = log_stop,
	.dirty_sync = log_all, .dirty_clear = log_clear,
};

static void one_round(struct ram_send *rs, struct ram_recv *rr)
{
	struct error err = ERROR_INIT;
	int ret;

	must(ram_send_sync(rs, &err), "sync", &err);
	must(ram_send_pages(rs, 0, &err), "send", &err);
	must(ram_send_fence(rs, 1, true, 0, &err), "fence", &err);
	while (!(ret = ram_recv_reached(rr, 1, true, &err)))
		(void)channel_wait_fd(rr->event_fd, 1, -1, 0);
	must(ret, "receive", &err);
}

static uint64_t move(struct bench *b, struct memory *to, unsigned int n)
{
	struct channel out[STREAMS_MAX], in;
	struct migration_progress progress;
	struct error err = ERROR_INIT;
	struct limiter limiter;
	struct ram_recv rr;
	struct ram_send rs = {
		.vm = &b->vm, .mem = &b->vm.mem, .ops = &ops,
		.progress = &progress, .limiter = &limiter, .channel = out,
		.nchannels = n, .cancel_fd = -1,
	};
	uint64_t start;

	limiter_init(&limiter, 0);
	migration_progress_init(&progress);
	must(ram_recv_init(&rr, to, n, &err), "receiver", &err);
	for (unsigned int i = 0; i < n; i++) {
		connect_one(&out[i], &in);
		must(ram_recv_add(&rr, i + 1, &in, &err), "channel", &err);
	}
	must(ram_send_init(&rs, &err), "sender", &err);
	start = now_ns();
	one_round(&rs, &rr);
	start = now_ns() - start;
	ram_send_exit(&rs);
	ram_recv_exit(&rr);
	for (unsigned int i = 0; i < n; i++)
		channel_close(&out[i]);
	migration_progress_exit(&progress);
	limiter_exit(&limiter);
	return start;
}

static uint64_t into_populated(struct bench *b, unsigned int n)
{
	return move(b, &b->here, n);
}

static uint64_t into_fresh(struct bench *b, unsigned int n)
{
	struct memory fresh;
	uint64_t ns;

	fresh_memory(&fresh, b->size);
	ns = move(b, &fresh, n);
	if (memcmp(bytes_of(&fresh), bytes_of(&b->vm.mem), b->size))
		abort();
	memory_exit(&fresh);
	return ns;
}

/* -- all of it ------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void show(struct measure *m, unsigned int runs)
{
	qsort(m->gib_s, runs, sizeof(m->gib_s[0]), by_size);
	printf("%-44s %7.2f  [%.2f..%.2f]\n", m->name, m->gib_s[runs / 2],
	       m->gib_s[0], m->gib_s[runs - 1]);
}

static void fill(struct memory *mem)
{
	uint64_t *p = (uint64_t *)(void *)bytes_of(mem);
	uint64_t x = 0x243f6a8885a308d3;

	for (uint64_t i = 0; i < mem->size / sizeof(*p); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
}

static void measure_all(struct bench *b, struct measure *m, unsigned int n)
{
	for (unsigned int run = 0; run < b->runs; run++)
		for (unsigned int i = 0; i < n; i++)
			m[i].gib_s[run] = (double)b->size * 1e9 / (double)GIB /
					  (double)m[i].run(b, m[i].arg);
	for (unsigned int i = 0; i < n; i++)
		show(&m[i], b->runs);
}

static unsigned int zero_ways(struct measure *m)
{
	static const char *const name[] = {
		"zero pages, the best way here", "zero pages, the next way",
		"zero pages, the third way",
	};
	unsigned int n = 0;

	for (; n < ARRAY_SIZE(name) && page_zero_way(n); n++) {
		m[n] = (struct measure){ name[n], scan, n, { 0 } };
		printf("%s: %s\n", name[n], page_zero_way(n)->name);
	}
	return n;
}

int main(int argc, char **argv)
{
	static struct measure m[16] = {
		{ "memcpy, one core", copy },
		{ "populate (MADV_POPULATE_WRITE), one core", populate },
		{ "TCP, 1 stream, memory that is there", tcp, 1 },
		{ "TCP, 2 streams", tcp, 2 },
		{ "godwit, 1 channel, memory that is there", into_populated, 1 },
		{ "godwit, 2 channels", into_populated, 2 },
		{ "godwit, 4 channels", into_populated, 4 },
		{ "godwit, 1 channel, memory to be made", into_fresh, 1 },
		{ "godwit, 2 channels, memory to be made", into_fresh, 2 },
		{ "godwit, 4 channels, memory to be made", into_fresh, 4 },
	};
	unsigned int n = 10;
	struct bench b = {
		.size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 512) * MIB,
		.runs = argc > 2 ? (unsigned int)atoi(argv[2]) : 7,
	};

	if (b.size < 4 * CHUNK || !b.runs || b.runs > RUNS_MAX) {
		fprintf(stderr, "usage: limits [MiB [RUNS]]\n");
		return 2;
	}
	new_memory(&b.vm.mem, b.size);
	new_memory(&b.here, b.size);
	fill(&b.vm.mem);
	n += zero_ways(&m[n]);
	printf("%ld cores; GiB/s, median [range] of %u runs of %llu MiB\n",
	       sysconf(_SC_NPROCESSORS_ONLN), b.runs,
	       (unsigned long long)(b.size / MIB));
	measure_all(&b, m, n);
	memory_exit(&b.here);
	memory_exit(&b.vm.mem);
	return 0;
}
