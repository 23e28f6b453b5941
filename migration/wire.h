/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of the stream: PROTOCOL.md as functions on buffers. All are pure;
 * decoders take any bytes and refuse what the specification does not allow.
 */
#ifndef GODWIT_MIGRATION_WIRE_H
#define GODWIT_MIGRATION_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/util.h"

#define WIRE_VERSION 1

#define WIRE_MAGIC 0x47445754u		/* "GDWT" */
#define WIRE_HEADER 24
#define WIRE_MANDATORY 1u		/* flag: refuse if the type is unknown */

#define WIRE_MAX_TREE (64 * MIB)	/* payload of OFFER and STATE */
#define WIRE_MAX_SMALL (64 * KIB)	/* payload of all others */
#define WIRE_MAX_TEXT 1023

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_OFFER,
	WIRE_ACCEPT,
	WIRE_REFUSE,
	WIRE_ROUND,
	WIRE_STATE,
	WIRE_PREPARED,
	WIRE_GO,
	WIRE_RUNNING,
	WIRE_DEAD,
	WIRE_CANCEL,
	WIRE_PING,
	WIRE_PONG,
	WIRE_QUERY,
	WIRE_BYE,
	WIRE_DISKS,
	WIRE_MISSING,
	WIRE_MEMORY,		/* the hand-over on one host */
	WIRE_FETCHED,
	WIRE_NTYPES
};

#define WIRE_JOB 16

struct wire_job {
	uint8_t id[WIRE_JOB];
};

struct wire_header {
	uint16_t type;
	uint32_t flags;
	uint32_t crc;
	uint64_t length;
};

/* Is this a message that this side knows? */
bool wire_type_known(unsigned int type);
/* "HELLO" ..., or "unknown". */
const char *wire_type_name(unsigned int type);
/* Write the header of a message whose payload is @len bytes in two parts. */
void wire_header_encode(uint8_t out[WIRE_HEADER], enum wire_type type,
			const void *a, size_t alen, const void *b, size_t blen);
/* Checks magic, version, flags and length; not yet the crc. */
int wire_header_decode(const uint8_t in[WIRE_HEADER], struct wire_header *h,
		       struct error *err) __must_check;
int wire_crc_check(const uint8_t in[WIRE_HEADER], const void *payload,
		   size_t len, struct error *err) __must_check;

/* Payloads. encode returns the length; decode wants exactly @len bytes. */

enum wire_role {
	WIRE_ROLE_CONTROL = 1,
	WIRE_ROLE_BULK,
	WIRE_ROLE_QUERY,
	WIRE_ROLE_DISK,
	WIRE_ROLE_FAULT,	/* post-copy: pages that somebody waits for */
	WIRE_ROLE_RECOVER,	/* post-copy: control, after a lost link */
};

struct wire_hello {
	uint16_t oldest, newest;
	uint16_t role;
	uint16_t channel;
	struct wire_job job;
};

#define WIRE_HELLO_SIZE 24
size_t wire_hello_encode(uint8_t *out, const struct wire_hello *m);
int wire_hello_decode(const uint8_t *in, size_t len, struct wire_hello *m,
		      struct error *err) __must_check;

struct wire_offer {
	uint64_t memory;
	uint32_t page_size;
	uint32_t state_version;
	uint32_t max_pause_ms;
	uint16_t channels;
	uint16_t flags;		/* WIRE_OFFER_* */
	const void *tree;	/* into the payload */
	size_t tree_len;
};

/* What a source may want of the destination, a bit each: one that does not
 * know it, or can't do it, refuses. */
#define WIRE_OFFER_POSTCOPY 1u
#define WIRE_OFFER_ZSTD 4u	/* runs may be compressed */
#define WIRE_OFFER_FEWER 8u	/* channels may be fewer: the destination says */
/* all that this side knows */
#define WIRE_OFFER_FLAGS \
	(WIRE_OFFER_POSTCOPY | WIRE_OFFER_ZSTD | WIRE_OFFER_FEWER)

#define WIRE_OFFER_SIZE 24	/* before the tree */
size_t wire_offer_encode(uint8_t *out, const struct wire_offer *m);
int wire_offer_decode(const uint8_t *in, size_t len, struct wire_offer *m,
		      struct error *err) __must_check;

#define WIRE_ACCEPT_SIZE 8
size_t wire_accept_encode(uint8_t *out, uint32_t channels);
int wire_accept_decode(const uint8_t *in, size_t len, uint32_t *channels,
		       struct error *err) __must_check;

struct wire_round {
	uint32_t round;
	uint64_t remaining;
};

#define WIRE_ROUND_SIZE 16
size_t wire_round_encode(uint8_t *out, const struct wire_round *m);
int wire_round_decode(const uint8_t *in, size_t len, struct wire_round *m,
		      struct error *err) __must_check;

#define WIRE_STATE_RUN 1u
#define WIRE_STATE_POSTCOPY 2u	/* what MISSING named comes after RUNNING */

struct wire_state {
	uint32_t round;
	uint32_t flags;
	uint64_t age_ns;	/* since the clocks were read, at sending */
	const void *tree;	/* into the payload */
	size_t tree_len;
};

#define WIRE_STATE_SIZE 16	/* before the tree */
size_t wire_state_encode(uint8_t *out, const struct wire_state *m);
int wire_state_decode(const uint8_t *in, size_t len, struct wire_state *m,
		      struct error *err) __must_check;

struct wire_prepared {
	struct wire_job job;
	uint64_t fence_us, load_us, activate_us;
};

#define WIRE_PREPARED_SIZE 40
size_t wire_prepared_encode(uint8_t *out, const struct wire_prepared *m);
int wire_prepared_decode(const uint8_t *in, size_t len,
			 struct wire_prepared *m, struct error *err)
	__must_check;

struct wire_running {
	struct wire_job job;
	uint64_t run_us;
	uint64_t missing;	/* bytes of memory still to come; 0: none */
};

#define WIRE_RUNNING_SIZE 32
size_t wire_running_encode(uint8_t *out, const struct wire_running *m);
int wire_running_decode(const uint8_t *in, size_t len, struct wire_running *m,
			struct error *err) __must_check;

/* Of a range of guest memory, which pages are missing: bit i of byte i / 8 for
 * page i. */
#define WIRE_MISSING_PAGES (256 * KIB)	/* most that one message is about */

struct wire_missing {
	uint64_t gpa;
	uint32_t npages;
	const uint8_t *bits;	/* into the payload */
};

#define WIRE_MISSING_SIZE 16	/* before the bits */
static inline bool wire_missing_bit(const struct wire_missing *m, uint64_t page)
{
	return m->bits[page / 8] >> (page % 8) & 1;
}

size_t wire_missing_encode(uint8_t *out, const struct wire_missing *m);
int wire_missing_decode(const uint8_t *in, size_t len, struct wire_missing *m,
			struct error *err) __must_check;

#define WIRE_FETCH_BUCKETS 24

/* What waiting for pages cost the guest. */
struct wire_fetched {
	struct wire_job job;
	uint64_t faults;	/* a page was waited for */
	uint64_t blocked_us;	/* in sum */
	uint64_t longest_us;
	/* waits of 2^i up to 2^(i + 1) microseconds; the first from 0, the
	 * last without an end */
	uint32_t wait[WIRE_FETCH_BUCKETS];
};

#define WIRE_FETCHED_SIZE (40 + 4 * WIRE_FETCH_BUCKETS)
size_t wire_fetched_encode(uint8_t *out, const struct wire_fetched *m);
int wire_fetched_decode(const uint8_t *in, size_t len, struct wire_fetched *m,
			struct error *err) __must_check;
/* The file that is the guest's memory comes along, as an open file. */
struct wire_memory {
	uint64_t size;		/* of the file, bytes */
};

#define WIRE_MEMORY_SIZE 16
size_t wire_memory_encode(uint8_t *out, const struct wire_memory *m);
int wire_memory_decode(const uint8_t *in, size_t len, struct wire_memory *m,
		       struct error *err) __must_check;

/* GO, QUERY, BYE: the job alone. */
int wire_job_decode(const uint8_t *in, size_t len, struct wire_job *job,
		    struct error *err) __must_check;
bool wire_job_equal(const struct wire_job *a, const struct wire_job *b);

/* REFUSE's text; printable, always terminated. */
void wire_text_decode(const uint8_t *in, size_t len,
		      char out[WIRE_MAX_TEXT + 1]);
/* DEAD and CANCEL: a job, then text. */
int wire_reason_decode(const uint8_t *in, size_t len, struct wire_job *job,
		       char out[WIRE_MAX_TEXT + 1], struct error *err)
	__must_check;

/* Bulk runs. */

#define RUN_MAGIC 0x47445752u		/* "GDWR" */
#define RUN_HEADER 32
#define RUN_MAX_PAGES 512		/* of a DATA or ZSTD run: 2 MiB */
#define RUN_LAST 1u
#define RUN_POSTCOPY 2u			/* from here on, by userfaultfd */

enum run_kind {
	RUN_DATA = 1,
	RUN_ZERO,
	RUN_FENCE,
	RUN_ZSTD,
	RUN_WANT,			/* to the source, on the fault channel */
};

struct run {
	uint16_t kind;
	uint16_t flags;
	uint64_t gpa;
	uint32_t npages;
	uint32_t round;
	uint32_t length;	/* ZSTD: bytes that follow; else 0 */
};

void run_encode(uint8_t out[RUN_HEADER], const struct run *run);
int run_decode(const uint8_t in[RUN_HEADER], struct run *run,
	       struct error *err) __must_check;

#endif
