/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libFuzzer: whatever a stranger may send to a destination. The first byte
 * chooses the reader:
 *
 *   0  control messages as they are
 *   1  runs of pages as they are
 *   2  one control message: type, then its payload; its header is made right
 *   3  runs whose header checksums are made right
 *   4  runs of disks as they are
 *   5  runs of disks whose checksums are made right
 *   6  as 3, into memory of which every page is missing
 *
 * 2, 3, 5 and 6 get past the checksums, which a fuzzer can't guess. The claim is
 * that nothing is read or written outside of its bounds and everything comes
 * to an end; a page outside of guest memory, or a byte outside of a disk, would
 * be an AddressSanitizer report.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "migration/crc32c.h"
#include "migration/destination_private.h"
#include "migration/disk_recv.h"
#include "migration/message.h"
#include "migration/ram_fetch.h"
#include "migration/ram_recv.h"
#include "migration/userfault.h"
#include "migration/wire.h"
#include "tests/lib/mem_disk.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/fd.h"
#include "vmm/state/state.h"

#define INPUT_MAX (64 * 1024)
#define MEMORY (4 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const struct message *m)
{
	char text[WIRE_MAX_TEXT + 1];
	struct error err = ERROR_INIT;
	struct wire_hello hello;
	struct wire_disks disks;
	struct wire_memory memory;
	struct wire_offer offer;
	struct wire_round round;
	struct wire_state state;
	struct wire_prepared prepared;
	struct wire_running running;
	struct wire_missing missing;
	struct wire_fetched fetched;
	struct wire_job job;
	uint32_t channels;

	(void)!wire_hello_decode(m->payload, m->len, &hello, &err);
	(void)!wire_disks_decode(m->payload, m->len, &disks, &err);
	(void)!wire_memory_decode(m->payload, m->len, &memory, &err);
	(void)!wire_accept_decode(m->payload, m->len, &channels, &err);
	(void)!wire_round_decode(m->payload, m->len, &round, &err);
	(void)!wire_prepared_decode(m->payload, m->len, &prepared, &err);
	(void)!wire_running_decode(m->payload, m->len, &running, &err);
	(void)!wire_missing_decode(m->payload, m->len, &missing, &err);
	(void)!wire_fetched_decode(m->payload, m->len, &fetched, &err);
	(void)!wire_job_decode(m->payload, m->len, &job, &err);
	(void)!wire_reason_decode(m->payload, m->len, &job, text, &err);
	wire_text_decode(m->payload, m->len, text);
	error_clear(&err);
	if (wire_offer_decode(m->payload, m->len, &offer, &err) == 0)
		(void)destination_check_offer(&offer, &err);
	if (wire_state_decode(m->payload, m->len, &state, &err) == 0)
		(void)state_check(state.tree, state.tree_len, &err);
}

static void read_messages(struct channel *ch)
{
	struct error err = ERROR_INIT;
	struct message m;

	while (message_recv(ch, &m, 0, &err) == 0) {
		decode(&m);
		message_free(&m);
	}
}

static void feed(struct channel *ch, const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct iovec iov = { .iov_len = size };

	memcpy(&iov.iov_base, &data, sizeof(data));
	/* a reader that has refused already does not take the rest */
	(void)!channel_writev(ch, &iov, 1, 0, &err);
}

static void fuzz_messages(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct channel a, b;

	if (channel_pair(&a, &b, &err) < 0)
		return;
	feed(&a, data, size);
	channel_finish(&a);
	read_messages(&b);
	channel_close(&a);
	channel_close(&b);
}

static void fuzz_payload(const uint8_t *data, size_t size)
{
	uint8_t buf[WIRE_HEADER + INPUT_MAX];

	if (!size)
		return;
	wire_header_encode(buf, data[0] % WIRE_NTYPES, data + 1, size - 1, NULL,
			   0);
	memcpy(buf + WIRE_HEADER, data + 1, size - 1);
	fuzz_messages(buf, WIRE_HEADER + size - 1);
}

/* What one bulk channel brings; @fetch NULL: pre-copy. */
static void receive(struct memory *mem, struct ram_fetch *fetch,
		    const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct channel a, b;
	struct ram_recv rr;

	if (ram_recv_init(&rr, mem, 1, &err) < 0)
		return;
	rr.compressed = true;
	if (fetch)
		ram_recv_resume(&rr, fetch, 1);
	if (channel_pair(&a, &b, &err) == 0 &&
	    ram_recv_add(&rr, 1, &b, &err) == 0) {
		feed(&a, data, size);
		channel_close(&a);
		/* the reader ends at the end of what it was fed */
		pthread_join(rr.channel[0].thread, NULL);
		channel_close(&rr.channel[0].ch);
		rr.channel[0].started = false;
	}
	ram_recv_exit(&rr);
}

/* Where the kernel lets nobody have a userfaultfd, there is no such memory. */
static void receive_missing(struct memory *mem, const uint8_t *data,
			    size_t size)
{
	static uint8_t bits[MEMORY / PAGE_BYTES / 8];
	const struct wire_missing all = {
		.npages = MEMORY / 2 / PAGE_BYTES, .bits = bits,
	};
	struct error err = ERROR_INIT;
	struct ram_fetch fetch;
	int fd = userfault_open(&err);

	memset(bits, 0xff, sizeof(bits));
	if (fd < 0 || ram_fetch_init(&fetch, mem, fd, &err) < 0) {
		fd_close(&fd);
		return;
	}
	if (ram_fetch_mark(&fetch, &all, &err) == 0)
		receive(mem, &fetch, data, size);
	ram_fetch_finish(&fetch);
	fd_close(&fd);
}

static void fuzz_pages(const uint8_t *data, size_t size, bool missing)
{
	static const struct memory_range range[] = {
		{ .base = 0, .size = MEMORY / 2 },
		{ .base = 4 * GIB, .size = MEMORY / 2 },
	};
	struct error err = ERROR_INIT;
	struct memory mem;

	if (memory_init(&mem, range, 2, MEMORY_ANON, &err) < 0)
		return;
	if (missing)
		receive_missing(&mem, data, size);
	else
		receive(&mem, NULL, data, size);
	memory_exit(&mem);
}

static void fuzz_runs(const uint8_t *data, size_t size)
{
	fuzz_pages(data, size, false);
}

/* Make each header's magic, padding and checksum right; skip its pages. */
static void true_runs(const uint8_t *data, size_t size, bool missing)
{
	static uint8_t buf[INPUT_MAX];
	size_t at = 0;

	memcpy(buf, data, size);
	while (at + RUN_HEADER <= size) {
		size_t pages = (size_t)get_be32(buf + at + 16) << 12;
		bool zstd = get_be16(buf + at + 4) == RUN_ZSTD;

		put_be32(buf + at, RUN_MAGIC);
		if (!zstd)
			put_be32(buf + at + 24, 0);
		put_be32(buf + at + 28, crc32c(0, buf + at, 28));
		if (get_be16(buf + at + 4) == RUN_DATA)
			at += pages;
		if (zstd)
			at += get_be32(buf + at + 24);
		at += RUN_HEADER;
	}
	fuzz_pages(buf, size, missing);
}

static void fuzz_true_runs(const uint8_t *data, size_t size)
{
	true_runs(data, size, false);
}

static void fuzz_missing_runs(const uint8_t *data, size_t size)
{
	true_runs(data, size, true);
}

static void fuzz_disk_runs(const uint8_t *data, size_t size)
{
	static const struct wire_disks disks = {
		.n = 2, .disk = { { "one", MEM_DISK_SIZE },
				  { "two", MEM_DISK_SIZE } },
	};
	struct error err = ERROR_INIT;
	struct channel a, b;
	struct mem_side side;
	struct disk_recv dr;

	mem_side_init(&side, 2);
	/* no search for data; "two" starts as known to be empty */
	side.disk[0].d.overwrite = true;
	side.disk[1].hole_end = MEM_DISK_SIZE;
	disk_recv_init(&dr);
	if (disk_recv_open(&dr, (struct vm *)(void *)&side, &mem_side_ops,
			   &disks, -1, &err) == 0 &&
	    channel_pair(&a, &b, &err) == 0) {
		if (disk_recv_add(&dr, &b, &err) == 0) {
			feed(&a, data, size);
			channel_finish(&a);
			pthread_join(dr.thread, NULL);
			dr.started = false;
		}
		channel_close(&a);
	}
	disk_recv_exit(&dr);
	mem_side_exit(&side);
}

/* The same as for pages; the bytes' checksum, too. */
static void fuzz_true_disk_runs(const uint8_t *data, size_t size)
{
	static uint8_t buf[INPUT_MAX];
	size_t at = 0;

	memcpy(buf, data, size);
	while (at + DISK_RUN_HEADER <= size) {
		uint8_t *head = buf + at;
		uint64_t len = get_be64(head + 16);

		at += DISK_RUN_HEADER;
		len = MIN(len, size - at);
		put_be32(head, DISK_RUN_MAGIC);
		if (get_be16(head + 4) == DISK_RUN_DATA) {
			put_be32(head + 32, crc32c(0, buf + at, len));
			at += len;
		}
		put_be32(head + 36, crc32c(0, head, 36));
	}
	fuzz_disk_runs(buf, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const reader[])(const uint8_t *data, size_t size) = {
		fuzz_messages, fuzz_runs, fuzz_payload, fuzz_true_runs,
		fuzz_disk_runs, fuzz_true_disk_runs, fuzz_missing_runs,
	};

	if (size < 1 || size > INPUT_MAX)
		return 0;
	reader[data[0] % ARRAY_SIZE(reader)](data + 1, size - 1);
	return 0;
}
