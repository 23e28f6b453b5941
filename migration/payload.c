/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The payloads of the control messages; see PROTOCOL.md, "Messages". */
#include "migration/wire.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/byteorder.h"

static int exact(enum wire_type type, size_t len, size_t want,
		 struct error *err)
{
	if (len == want)
		return 0;
	return error_set(err, EPROTO, "message %s has %zu bytes, expected %zu",
			 wire_type_name(type), len, want);
}

static int at_least(enum wire_type type, size_t len, size_t want,
		    struct error *err)
{
	if (len >= want)
		return 0;
	return error_set(err, EPROTO,
			 "message %s has %zu bytes, expected at least %zu",
			 wire_type_name(type), len, want);
}

size_t wire_hello_encode(uint8_t *out, const struct wire_hello *m)
{
	put_be16(out, m->oldest);
	put_be16(out + 2, m->newest);
	put_be16(out + 4, m->role);
	put_be16(out + 6, m->channel);
	memcpy(out + 8, m->job.id, WIRE_JOB);
	return WIRE_HELLO_SIZE;
}

int wire_hello_decode(const uint8_t *in, size_t len, struct wire_hello *m,
		      struct error *err)
{
	int ret = exact(WIRE_HELLO, len, WIRE_HELLO_SIZE, err);

	if (ret < 0)
		return ret;
	m->oldest = get_be16(in);
	m->newest = get_be16(in + 2);
	m->role = get_be16(in + 4);
	m->channel = get_be16(in + 6);
	memcpy(m->job.id, in + 8, WIRE_JOB);
	if (m->oldest > m->newest || m->oldest > WIRE_VERSION ||
	    m->newest < WIRE_VERSION)
		return error_set(err, EPROTO,
				 "peer speaks versions %u to %u, this side %u",
				 m->oldest, m->newest, WIRE_VERSION);
	if (m->role < WIRE_ROLE_CONTROL || m->role > WIRE_ROLE_RECOVER ||
	    (m->role == WIRE_ROLE_BULK) != (m->channel != 0))
		return error_set(err, EPROTO, "HELLO with role %u, channel %u",
				 m->role, m->channel);
	return 0;
}

size_t wire_offer_encode(uint8_t *out, const struct wire_offer *m)
{
	put_be64(out, m->memory);
	put_be32(out + 8, m->page_size);
	put_be32(out + 12, m->state_version);
	put_be32(out + 16, m->max_pause_ms);
	put_be16(out + 20, m->channels);
	put_be16(out + 22, m->flags);
	return WIRE_OFFER_SIZE;
}

int wire_offer_decode(const uint8_t *in, size_t len, struct wire_offer *m,
		      struct error *err)
{
	int ret = at_least(WIRE_OFFER, len, WIRE_OFFER_SIZE, err);

	if (ret < 0)
		return ret;
	m->memory = get_be64(in);
	m->page_size = get_be32(in + 8);
	m->state_version = get_be32(in + 12);
	m->max_pause_ms = get_be32(in + 16);
	m->channels = get_be16(in + 20);
	m->flags = get_be16(in + 22);
	m->tree = in + WIRE_OFFER_SIZE;
	m->tree_len = len - WIRE_OFFER_SIZE;
	if (m->page_size != 4096)
		return error_set(err, EPROTO, "OFFER with pages of %u bytes, expected 4096",
				 m->page_size);
	if (m->flags & ~WIRE_OFFER_FLAGS)
		return error_set(err, ENOTSUP,
				 "OFFER wants what this side does not know (flags %#x): it may be of an older version",
				 m->flags & ~WIRE_OFFER_FLAGS);
	if (!m->channels)
		return error_set(err, EPROTO, "OFFER with %u bulk channels",
				 m->channels);
	return 0;
}

size_t wire_accept_encode(uint8_t *out, uint32_t channels)
{
	put_be32(out, channels);
	put_be32(out + 4, 0);
	return WIRE_ACCEPT_SIZE;
}

int wire_accept_decode(const uint8_t *in, size_t len, uint32_t *channels,
		       struct error *err)
{
	int ret = exact(WIRE_ACCEPT, len, WIRE_ACCEPT_SIZE, err);

	if (ret < 0)
		return ret;
	*channels = get_be32(in);
	if (!*channels || get_be32(in + 4))
		return error_set(err, EPROTO, "ACCEPT of %u bulk channels",
				 *channels);
	return 0;
}

size_t wire_round_encode(uint8_t *out, const struct wire_round *m)
{
	put_be32(out, m->round);
	put_be32(out + 4, 0);
	put_be64(out + 8, m->remaining);
	return WIRE_ROUND_SIZE;
}

int wire_round_decode(const uint8_t *in, size_t len, struct wire_round *m,
		      struct error *err)
{
	int ret = exact(WIRE_ROUND, len, WIRE_ROUND_SIZE, err);

	if (ret < 0)
		return ret;
	m->round = get_be32(in);
	m->remaining = get_be64(in + 8);
	if (!m->round || get_be32(in + 4))
		return error_set(err, EPROTO, "ROUND with number %u", m->round);
	return 0;
}

size_t wire_state_encode(uint8_t *out, const struct wire_state *m)
{
	put_be32(out, m->round);
	put_be32(out + 4, m->flags);
	put_be64(out + 8, m->age_ns);
	return WIRE_STATE_SIZE;
}

int wire_state_decode(const uint8_t *in, size_t len, struct wire_state *m,
		      struct error *err)
{
	int ret = at_least(WIRE_STATE, len, WIRE_STATE_SIZE, err);

	if (ret < 0)
		return ret;
	m->round = get_be32(in);
	m->flags = get_be32(in + 4);
	m->age_ns = get_be64(in + 8);
	m->tree = in + WIRE_STATE_SIZE;
	m->tree_len = len - WIRE_STATE_SIZE;
	if (!m->round || m->flags & ~(WIRE_STATE_RUN |
					      WIRE_STATE_POSTCOPY))
		return error_set(err, EPROTO, "STATE with round %u, flags %#x",
				 m->round, m->flags);
	return 0;
}

size_t wire_prepared_encode(uint8_t *out, const struct wire_prepared *m)
{
	memcpy(out, m->job.id, WIRE_JOB);
	put_be64(out + 16, m->fence_us);
	put_be64(out + 24, m->load_us);
	put_be64(out + 32, m->activate_us);
	return WIRE_PREPARED_SIZE;
}

int wire_prepared_decode(const uint8_t *in, size_t len,
			 struct wire_prepared *m, struct error *err)
{
	int ret = exact(WIRE_PREPARED, len, WIRE_PREPARED_SIZE, err);

	if (ret < 0)
		return ret;
	memcpy(m->job.id, in, WIRE_JOB);
	m->fence_us = get_be64(in + 16);
	m->load_us = get_be64(in + 24);
	m->activate_us = get_be64(in + 32);
	return 0;
}

size_t wire_running_encode(uint8_t *out, const struct wire_running *m)
{
	memcpy(out, m->job.id, WIRE_JOB);
	put_be64(out + 16, m->run_us);
	put_be64(out + 24, m->missing);
	return WIRE_RUNNING_SIZE;
}

int wire_running_decode(const uint8_t *in, size_t len, struct wire_running *m,
			struct error *err)
{
	int ret = exact(WIRE_RUNNING, len, WIRE_RUNNING_SIZE, err);

	if (ret < 0)
		return ret;
	memcpy(m->job.id, in, WIRE_JOB);
	m->run_us = get_be64(in + 16);
	m->missing = get_be64(in + 24);
	return 0;
}

size_t wire_missing_encode(uint8_t *out, const struct wire_missing *m)
{
	put_be64(out, m->gpa);
	put_be32(out + 8, m->npages);
	put_be32(out + 12, 0);
	return WIRE_MISSING_SIZE;
}

int wire_missing_decode(const uint8_t *in, size_t len, struct wire_missing *m,
			struct error *err)
{
	int ret = at_least(WIRE_MISSING, len, WIRE_MISSING_SIZE, err);

	if (ret < 0)
		return ret;
	m->gpa = get_be64(in);
	m->npages = get_be32(in + 8);
	m->bits = in + WIRE_MISSING_SIZE;
	if (m->gpa & 4095 || !m->npages || m->npages > WIRE_MISSING_PAGES ||
	    get_be32(in + 12))
		return error_set(err, EPROTO, "MISSING at %#llx of %u pages",
				 (unsigned long long)m->gpa, m->npages);
	return exact(WIRE_MISSING, len,
		     WIRE_MISSING_SIZE + (m->npages + 7) / 8, err);
}

size_t wire_fetched_encode(uint8_t *out, const struct wire_fetched *m)
{
	memcpy(out, m->job.id, WIRE_JOB);
	put_be64(out + 16, m->faults);
	put_be64(out + 24, m->blocked_us);
	put_be64(out + 32, m->longest_us);
	for (unsigned int i = 0; i < WIRE_FETCH_BUCKETS; i++)
		put_be32(out + 40 + 4 * i, m->wait[i]);
	return WIRE_FETCHED_SIZE;
}

int wire_fetched_decode(const uint8_t *in, size_t len, struct wire_fetched *m,
			struct error *err)
{
	int ret = exact(WIRE_FETCHED, len, WIRE_FETCHED_SIZE, err);

	if (ret < 0)
		return ret;
	memcpy(m->job.id, in, WIRE_JOB);
	m->faults = get_be64(in + 16);
	m->blocked_us = get_be64(in + 24);
	m->longest_us = get_be64(in + 32);
	for (unsigned int i = 0; i < WIRE_FETCH_BUCKETS; i++)
		m->wait[i] = get_be32(in + 40 + 4 * i);
	return 0;
}

size_t wire_memory_encode(uint8_t *out, const struct wire_memory *m)
{
	put_be64(out, m->size);
	put_be64(out + 8, 0);
	return WIRE_MEMORY_SIZE;
}

int wire_memory_decode(const uint8_t *in, size_t len, struct wire_memory *m,
		       struct error *err)
{
	int ret = exact(WIRE_MEMORY, len, WIRE_MEMORY_SIZE, err);

	if (ret < 0)
		return ret;
	m->size = get_be64(in);
	if (!m->size || m->size & 4095 || get_be64(in + 8))
		return error_set(err, EPROTO, "MEMORY of %llu bytes",
				 (unsigned long long)m->size);
	return 0;
}

int wire_job_decode(const uint8_t *in, size_t len, struct wire_job *job,
		    struct error *err)
{
	if (len != WIRE_JOB)
		return error_set(err, EPROTO, "a job id of %zu bytes, expected %d",
				 len, WIRE_JOB);
	memcpy(job->id, in, WIRE_JOB);
	return 0;
}

bool wire_job_equal(const struct wire_job *a, const struct wire_job *b)
{
	return !memcmp(a->id, b->id, WIRE_JOB);
}

/* A peer's text ends on a terminal: no escape sequence may pass. */
void wire_text_decode(const uint8_t *in, size_t len,
		      char out[WIRE_MAX_TEXT + 1])
{
	size_t n = MIN(len, (size_t)WIRE_MAX_TEXT);

	for (size_t i = 0; i < n; i++)
		out[i] = (in[i] < ' ' && in[i] != '\n') || in[i] >= 0x7f ?
				 '?' : (char)in[i];
	out[n] = '\0';
}

int wire_reason_decode(const uint8_t *in, size_t len, struct wire_job *job,
		       char out[WIRE_MAX_TEXT + 1], struct error *err)
{
	if (len < WIRE_JOB)
		return error_set(err, EPROTO, "a reason of %zu bytes without a job",
				 len);
	memcpy(job->id, in, WIRE_JOB);
	wire_text_decode(in + WIRE_JOB, len - WIRE_JOB, out);
	return 0;
}
