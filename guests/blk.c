/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: what is written to a virtio-blk disk is read back, each record
 * where it belongs and as it was written last.
 *
 * Record n goes to slot n % span; after each write an older slot is read and
 * must hold the last record that went there. count= records (default 256; 0:
 * for ever), span= slots (64), sectors= a record (8, at most 128), every=
 * records between two lines "R n" (16), blk= the device's registers
 * (0xd0000000), mem= MiB of memory, 0 at first, of which each record visits a few
 * pages, that must be as they were left (0). "BAD slot= want= got=" tells what is wrong; in the end every
 * slot is read once more, "DONE n bad=" is printed, and the status is 0 if
 * nothing was wrong.
 */
#include "lib/virtio_mmio.h"

#define SECTOR 512
#define MAX_SECTORS 128

enum { BLK_IN = 0, BLK_OUT = 1 };

struct request {
	uint32_t type, reserved;
	uint64_t sector;
};

struct record {
	uint64_t magic, number, sum;
	uint64_t words[MAX_SECTORS * SECTOR / 8 - 3];
};

static struct disk {
	struct vqueue queue;
	struct request request;
	struct record record;
	volatile uint8_t status;
	uint64_t span, sectors, bad;
	uint64_t pages, visits;
} disk;

#define MAGIC 0x6472636f65724447

static uint64_t words_of(const struct disk *d)
{
	return d->sectors * SECTOR / 8 - 3;
}

static uint64_t checksum(const struct disk *d)
{
	uint64_t sum = d->record.number ^ MAGIC, i;

	for (i = 0; i < words_of(d); i++)
		sum = (sum << 7 | sum >> 57) + d->record.words[i];
	return sum;
}

static void complain(struct disk *d, const char *what, uint64_t slot,
		     uint64_t want, uint64_t got)
{
	char line[128], *at = put_text(line, "\nBAD ");

	d->bad++;
	at = put_text(at, what);
	at = put_field(at, "slot", slot);
	at = put_field(at, "want", want);
	at = put_field(at, "got", got);
	*at++ = '\n';
	print_to(line, at);
}

/* The device's status byte: 0 is good (virtio 1.2, 5.2.6). */
static uint8_t transfer(struct disk *d, uint32_t type, uint64_t slot)
{
	d->request = (struct request){ type, 0, slot * d->sectors };
	d->status = 0xff;
	d->queue.desc[0] = (struct vdesc){ (uint64_t)&d->request,
					   sizeof(d->request), DESC_NEXT, 1 };
	d->queue.desc[1] = (struct vdesc){ (uint64_t)&d->record,
		d->sectors * SECTOR,
		DESC_NEXT | (type == BLK_IN ? DESC_WRITE : 0), 2 };
	d->queue.desc[2] = (struct vdesc){ (uint64_t)&d->status, 1,
					   DESC_WRITE, 0 };
	vqueue_run(&d->queue);
	return d->status;
}

static void write_record(struct disk *d, uint64_t number)
{
	uint64_t i, x = number * 0x9e3779b97f4a7c15 + 1, slot = number % d->span;
	uint8_t status;

	d->record.magic = MAGIC;
	d->record.number = number;
	for (i = 0; i < words_of(d); i++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		d->record.words[i] = x;
	}
	d->record.sum = checksum(d);
	status = transfer(d, BLK_OUT, slot);
	if (status)
		complain(d, "write status", slot, 0, status);
}

/* count records were written: the last that went to this slot */
static void check_slot(struct disk *d, uint64_t slot, uint64_t count)
{
	uint64_t want = (count - 1 - slot) / d->span * d->span + slot;
	uint8_t status;

	d->record.magic = 0;
	status = transfer(d, BLK_IN, slot);
	if (status)
		complain(d, "read status", slot, 0, status);
	else if (d->record.magic != MAGIC)
		complain(d, "magic", slot, MAGIC, d->record.magic);
	else if (d->record.number != want)
		complain(d, "number", slot, want, d->record.number);
	else if (d->record.sum != checksum(d))
		complain(d, "checksum", slot, checksum(d), d->record.sum);
}

#define MEMORY (16UL << 20)
#define VISITS 4		/* a record */

/* A page is full of the number of its last visit, mixed with each place. */
static void visit_page(struct disk *d)
{
	uint64_t visit = d->visits++, page = visit % d->pages, i;
	uint64_t *words = (uint64_t *)(MEMORY + page * PAGE_SIZE);
	uint64_t before = visit < d->pages ? 0 : visit - d->pages + 1;

	for (i = 0; i < PAGE_SIZE / sizeof(*words); i++) {
		if (words[i] != before * (2 * i + 1))
			complain(d, "memory", page, before * (2 * i + 1),
				 words[i]);
		words[i] = (visit + 1) * (2 * i + 1);
	}
}

static void visit_memory(struct disk *d)
{
	int i;

	for (i = 0; d->pages && i < VISITS; i++)
		visit_page(d);
}

static void progress(const char *what, uint64_t n, uint64_t bad)
{
	char line[64], *at = put_text(line, what);

	at = put_number(at, n);
	at = put_field(at, "bad", bad);
	at = put_field(at, "gap", to_us(gap_take()));
	*at++ = '\n';
	print_to(line, at);
}

static void work(struct disk *d, uint64_t count)
{
	uint64_t every = cmdline_number("every", 16), n, used, slot;

	for (n = 0; !count || n < count; n++) {
		write_record(d, n);
		used = n + 1 < d->span ? n + 1 : d->span;
		check_slot(d, (n * 7 + n / d->span) % used, n + 1);
		visit_memory(d);
		if (every && n % every == 0)
			progress("R ", n, d->bad);
	}
	used = n < d->span ? n : d->span;
	for (slot = 0; slot < used; slot++)
		check_slot(d, slot, n);
	progress("DONE ", n, d->bad);
	leave(d->bad != 0);
}

void user_main(const struct start_info *info)
{
	const char *wrong;

	cmdline_init(info);
	clock_init();
	print("3\n");
	disk.span = cmdline_number("span", 64);
	disk.sectors = cmdline_number("sectors", 8);
	disk.pages = (cmdline_number("mem", 0) << 20) / PAGE_SIZE;
	if (!disk.span || !disk.sectors || disk.sectors > MAX_SECTORS)
		wrong = "span or sectors out of range";
	else
		wrong = vqueue_init(&disk.queue,
				    cmdline_number("blk", 0xd0000000), 2, 0);
	if (!wrong)
		work(&disk, cmdline_number("count", 256));
	print("BAD device: ");
	print(wrong);
	print("\n");
	leave(2);
}
