/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/wire.h"

#include <errno.h>
#include <string.h>

#include "migration/crc32c.h"
#include "vmm/base/byteorder.h"

#define CRC_OFFSET 12

static const char *const type_name[WIRE_NTYPES] = {
	[WIRE_HELLO] = "HELLO",
	[WIRE_OFFER] = "OFFER",
	[WIRE_ACCEPT] = "ACCEPT",
	[WIRE_REFUSE] = "REFUSE",
	[WIRE_ROUND] = "ROUND",
	[WIRE_STATE] = "STATE",
	[WIRE_PREPARED] = "PREPARED",
	[WIRE_GO] = "GO",
	[WIRE_RUNNING] = "RUNNING",
	[WIRE_DEAD] = "DEAD",
	[WIRE_CANCEL] = "CANCEL",
	[WIRE_PING] = "PING",
	[WIRE_PONG] = "PONG",
	[WIRE_QUERY] = "QUERY",
	[WIRE_BYE] = "BYE",
	[WIRE_DISKS] = "DISKS",
	[WIRE_MISSING] = "MISSING",
	[WIRE_MEMORY] = "MEMORY",
	[WIRE_FETCHED] = "FETCHED",
};

bool wire_type_known(unsigned int type)
{
	return type < WIRE_NTYPES && type_name[type];
}

const char *wire_type_name(unsigned int type)
{
	return wire_type_known(type) ? type_name[type] : "unknown";
}

static uint32_t header_crc(const uint8_t header[WIRE_HEADER])
{
	uint8_t copy[WIRE_HEADER];

	memcpy(copy, header, sizeof(copy));
	put_be32(copy + CRC_OFFSET, 0);
	return crc32c(0, copy, sizeof(copy));
}

void wire_header_encode(uint8_t out[WIRE_HEADER], enum wire_type type,
			const void *a, size_t alen, const void *b, size_t blen)
{
	uint32_t crc;

	put_be32(out, WIRE_MAGIC);
	put_be16(out + 4, WIRE_VERSION);
	put_be16(out + 6, (uint16_t)type);
	put_be32(out + 8, WIRE_MANDATORY);
	put_be32(out + CRC_OFFSET, 0);
	put_be64(out + 16, alen + blen);
	crc = crc32c(header_crc(out), a, alen);
	put_be32(out + CRC_OFFSET, crc32c(crc, b, blen));
}

int wire_header_decode(const uint8_t in[WIRE_HEADER], struct wire_header *h,
		       struct error *err)
{
	uint64_t limit;

	h->type = get_be16(in + 6);
	h->flags = get_be32(in + 8);
	h->crc = get_be32(in + CRC_OFFSET);
	h->length = get_be64(in + 16);
	if (get_be32(in) != WIRE_MAGIC)
		return error_set(err, EPROTO,
				 "not a Godwit migration stream (magic %#x)",
				 get_be32(in));
	if (get_be16(in + 4) != WIRE_VERSION)
		return error_set(err, EPROTO,
				 "stream version %u, this side speaks %u",
				 get_be16(in + 4), WIRE_VERSION);
	if (h->flags & ~WIRE_MANDATORY)
		return error_set(err, EPROTO, "message %s has unknown flags %#x",
				 wire_type_name(h->type), h->flags);
	if (!h->type ||
	    (!wire_type_known(h->type) && h->flags & WIRE_MANDATORY))
		return error_set(err, EPROTO, "unknown message type %u",
				 h->type);
	limit = h->type == WIRE_OFFER || h->type == WIRE_STATE ?
			WIRE_MAX_TREE : WIRE_MAX_SMALL;
	if (h->length > limit)
		return error_set(err, EMSGSIZE,
				 "message %s of %llu bytes, limit %llu",
				 wire_type_name(h->type),
				 (unsigned long long)h->length,
				 (unsigned long long)limit);
	return 0;
}

int wire_crc_check(const uint8_t in[WIRE_HEADER], const void *payload,
		   size_t len, struct error *err)
{
	uint32_t want = get_be32(in + CRC_OFFSET);
	uint32_t got = crc32c(header_crc(in), payload, len);

	if (want != got)
		return error_set(err, EBADMSG,
				 "message %s is damaged: crc %#x, expected %#x",
				 wire_type_name(get_be16(in + 6)), got, want);
	return 0;
}

void run_encode(uint8_t out[RUN_HEADER], const struct run *run)
{
	put_be32(out, RUN_MAGIC);
	put_be16(out + 4, run->kind);
	put_be16(out + 6, run->flags);
	put_be64(out + 8, run->gpa);
	put_be32(out + 16, run->npages);
	put_be32(out + 20, run->round);
	put_be32(out + 24, run->length);
	put_be32(out + 28, crc32c(0, out, 28));
}

/* What would not get smaller is sent as it is. */
static bool length_valid(const struct run *r)
{
	if (r->kind != RUN_ZSTD)
		return !r->length;
	return r->length && r->length < (uint64_t)r->npages << 12;
}

static bool run_valid(const struct run *r)
{
	if (r->gpa & 4095 || !length_valid(r))
		return false;
	switch (r->kind) {
	case RUN_DATA:
	case RUN_ZSTD:
		return !r->flags && !r->round && r->npages &&
		       r->npages <= RUN_MAX_PAGES;
	case RUN_ZERO:
		return !r->flags && !r->round && r->npages;
	case RUN_WANT:
		return !r->flags && !r->round && r->npages == 1;
	case RUN_FENCE:
		return !(r->flags & ~(RUN_LAST | RUN_POSTCOPY)) && r->round &&
		       !r->npages && !r->gpa;
	default:
		return false;
	}
}

int run_decode(const uint8_t in[RUN_HEADER], struct run *run,
	       struct error *err)
{
	run->kind = get_be16(in + 4);
	run->flags = get_be16(in + 6);
	run->gpa = get_be64(in + 8);
	run->npages = get_be32(in + 16);
	run->round = get_be32(in + 20);
	run->length = get_be32(in + 24);
	if (get_be32(in) != RUN_MAGIC)
		return error_set(err, EPROTO, "not a run of pages (magic %#x)",
				 get_be32(in));
	if (get_be32(in + 28) != crc32c(0, in, 28))
		return error_set(err, EBADMSG, "header of a run is damaged");
	if (!run_valid(run))
		return error_set(err, EPROTO,
				 "invalid run: kind %u flags %#x gpa %#llx pages %u round %u length %u",
				 run->kind, run->flags,
				 (unsigned long long)run->gpa, run->npages,
				 run->round, run->length);
	return 0;
}
