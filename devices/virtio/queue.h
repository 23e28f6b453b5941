/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues, the device's side (virtio 1.2, section 2.7), with
 * VIRTIO_F_EVENT_IDX and indirect descriptors.
 *
 * Everything in a ring is the guest's to write at any moment, so each value is
 * read once and then checked. A ring that makes no sense breaks the queue:
 * virtq_pop() answers -EBADMSG, q->why says what was wrong, and the queue gives
 * nothing more until it is set up again. Every write to guest memory is marked
 * dirty, after it was made.
 *
 * Threads: the owner's lock is held in every call.
 */
#ifndef GODWIT_VIRTIO_QUEUE_H
#define GODWIT_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/memory.h"
#include "vmm/state/state.h"

#define VIRTQ_MAX_SIZE 1024
/* Descriptors of one chain; a longer one breaks the queue. */
#define VIRTQ_MAX_IOV 130

struct virtq {
	/* configuration */
	struct memory *mem;
	uint16_t max;		/* largest size, a power of two */
	/* guest-visible state */
	uint16_t size;		/* entries; 0 if the driver chose a bad one */
	bool ready;
	uint64_t desc;		/* descriptor table */
	uint64_t driver;	/* available ring */
	uint64_t device;	/* used ring */
	uint16_t last_avail;	/* next available entry to look at */
	uint16_t used_idx;	/* next used entry to write */
	uint16_t signalled;	/* used_idx when last asked to interrupt */
	/* host resources */
	const uint8_t *desc_ptr;
	const uint8_t *avail_ptr;
	uint8_t *used_ptr;
	bool event_idx;		/* negotiated */
	bool indirect;		/* negotiated */
	uint16_t inflight;	/* popped and not yet pushed */
	uint32_t epoch;		/* raised when old chains become void */
	const char *why;	/* set once broken */
};

struct virtq_seg {
	gpa_t gpa;
	uint32_t len;
};

/*
 * One chain: what the device may read (out) and what it may write (in), as
 * host memory. The owner may trim out and in; the dirty marks go by seg.
 */
struct virtq_chain {
	uint16_t head;
	uint32_t epoch;
	unsigned int nout;
	unsigned int nin;
	uint32_t out_len;		/* bytes */
	uint32_t in_len;
	struct iovec *out;
	struct iovec *in;
	unsigned int nseg;		/* writable descriptors */
	struct iovec iov[VIRTQ_MAX_IOV];
	struct virtq_seg seg[VIRTQ_MAX_IOV];
};

extern const struct state_table virtq_state;

void virtq_init(struct virtq *q, struct memory *mem, uint16_t max);
/* Power-on state; chains still out become void. */
void virtq_reset(struct virtq *q);
/* The driver wrote QueueReady. -EBADMSG if the rings can't be used. */
int virtq_enable(struct virtq *q);
void virtq_disable(struct virtq *q);
/* Find the rings in host memory again, after the fields were loaded. */
int virtq_map(struct virtq *q);

/* 1: @c is filled; 0: nothing there; -EBADMSG: broken. */
int virtq_pop(struct virtq *q, struct virtq_chain *c);
/* Undo the last pop, of which nothing was used yet. */
void virtq_unpop(struct virtq *q, const struct virtq_chain *c);
/* Walk again the chain at @head, which was popped before and is not pushed
 * yet. 0 or -EBADMSG. */
int virtq_retake(struct virtq *q, uint16_t head, struct virtq_chain *c);
/* Is anything there to pop? (or to be found broken) */
bool virtq_pending(const struct virtq *q);

/* Hand @c back with @len bytes written. A void chain is ignored. */
void virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t len);
/* The same in two steps, for several chains that must appear at once: put
 * the @n-th (from 0), then publish all @n. */
void virtq_put(struct virtq *q, const struct virtq_chain *c, uint16_t n,
	       uint32_t len);
void virtq_publish(struct virtq *q, uint16_t n);

/* Does the driver want an interrupt for what was pushed since last asked? */
bool virtq_should_interrupt(struct virtq *q);
/* Ask the driver not to notify. A hint only. */
void virtq_notify_off(struct virtq *q);
/* Ask it to notify again. True if something came meanwhile: look again. */
/* The same where a wish to be notified still stands, of before a sleep. */
void virtq_notify_cancel(struct virtq *q);
bool virtq_notify_on(struct virtq *q);

/* Bounded copies between a list of buffers and memory: bytes moved. */
size_t iov_read(const struct iovec *iov, unsigned int n, size_t offset,
		void *buf, size_t len);
size_t iov_write(const struct iovec *iov, unsigned int n, size_t offset,
		 const void *buf, size_t len);
/* Make one of those that lie side by side in memory; how many are left. */
unsigned int iov_merge(struct iovec *iov, unsigned int n);
/* Drop bytes in front (moves *iov and *n) or at the end. */
void iov_trim_front(struct iovec **iov, unsigned int *n, size_t len);
void iov_trim_back(struct iovec *iov, unsigned int *n, size_t len);

#endif
