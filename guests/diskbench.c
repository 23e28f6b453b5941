/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Load for a virtio-blk disk: qd= requests in flight (default 1, at most 32)
 * of bs= bytes (4096) each, op=r reads, w writes or m half and half, at random
 * places or, with ord=s, one after the other, within the first span= MiB (16),
 * for ms= milliseconds (1000; 0: for ever). Buffers are handed over in pieces of seg= bytes
 * (65536) through indirect descriptors, notifications and interrupts are
 * suppressed by event index, as Linux does where the device has both. The
 * disk may cache writes, for it could be told to flush; it never is.
 *
 * irq=1: sleep until the interrupt instead of polling. All pins of the I/O
 * APIC lead to the same vector, so no pin has to be known.
 *
 * check=1 proves instead of measuring: every block holds at its begin and end
 * how often it was written, and reads must find that ("BAD block=").
 *
 * Prints "B" when it begins, and in the end "E n= bad= us= kicks= irqs=":
 * requests and those that went wrong, time, and what the requests took of
 * notifications and interrupts; before that a line "D n= bad=" every every=
 * requests (0: none). Status 0 if nothing went wrong.
 */
#include "lib/virtio_mmio.h"

#define MAX_DEPTH 32
#define MAX_PIECES 256
#define SECTOR 512
#define MAX_BLOCKS 65536	/* that check=1 can keep in mind */
#define VECTOR 0x30
#define APIC 0xfee00000UL
#define IOAPIC 0xfec00000UL

enum { BLK_IN = 0, BLK_OUT = 1 };
enum { APIC_EOI = 0xb0, APIC_SPURIOUS = 0xf0 };

struct slot {
	struct vdesc table[MAX_PIECES + 2] __attribute__((aligned(16)));
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	volatile uint8_t status;
	uint64_t block;
	uint8_t *data;
};

static struct {
	/* configuration */
	uint64_t depth, bytes, blocks, piece;
	char op, order;
	uint64_t sleeps, checks, every;
	/* progress */
	uint64_t random, next, requests, bad, kicks;
	volatile uint64_t interrupts;
	struct vqueue queue;
	struct slot slot[MAX_DEPTH];
	uint32_t version[MAX_BLOCKS];	/* of check=1: how often written */
	uint8_t busy[MAX_BLOCKS];
} bench;

static volatile uint32_t *apic(unsigned int reg)
{
	return (volatile uint32_t *)(APIC + reg);
}

/*
 * HLT in ring 3 comes here as #GP: that is how it asks to sleep. The
 * interrupt finds ring 0 in its HLT, interrupts on, and nowhere else.
 */
void trap(struct frame *frame)
{
	if (frame->vector == VECTOR) {
		*apic(APIC_EOI) = 0;
		bench.interrupts++;
	} else if (bench.sleeps && frame->vector == 13 &&
		   *(const uint8_t *)frame->rip == 0xf4) {
		__asm__ volatile("sti; hlt; cli" : : : "memory");
		frame->rip++;
	} else {
		if (frame->vector != 13)
			trap_report(frame);
		stop();
	}
}

static void interrupts_on(void)
{
	volatile uint32_t *select = (volatile uint32_t *)IOAPIC;
	volatile uint32_t *window = (volatile uint32_t *)(IOAPIC + 0x10);
	unsigned int pins, pin;

	/* never told a base, the 8259s would deliver vectors of exceptions */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	*apic(APIC_SPURIOUS) = 0x1ff;
	*select = 1;
	pins = (*window >> 16 & 0xff) + 1;
	/* not the timer's, IRQ 0 or 2; edge, active high, physical CPU 0 */
	for (pin = 3; pin < pins; pin++) {
		*select = 0x10 + 2 * pin;
		*window = VECTOR;
		*select = 0x11 + 2 * pin;
		*window = 0;
	}
}

static uint64_t random_number(void)
{
	bench.random = bench.random * 6364136223846793005 +
		       1442695040888963407;
	return bench.random >> 33;
}

static uint64_t choose_block(void)
{
	uint64_t block;

	do {
		block = bench.order == 's' ? bench.next++ : random_number();
		block %= bench.blocks;
	} while (bench.checks && bench.busy[block]);
	return block;
}

/* first and last word of a block: its number, and how often it was written */
static void stamp(struct slot *s)
{
	uint64_t *first = (uint64_t *)s->data;
	uint64_t word = s->block << 32 | ++bench.version[s->block];

	first[0] = first[bench.bytes / 8 - 1] = word;
}

static void look(const struct slot *s)
{
	const uint64_t *first = (const uint64_t *)s->data;
	uint64_t want = s->block << 32 | bench.version[s->block];
	uint64_t last = first[bench.bytes / 8 - 1];
	char line[128], *at;

	/* what was there before the first write is not ours */
	if (!bench.version[s->block] || (first[0] == want && last == want))
		return;
	at = put_field(put_text(line, "\nBAD"), "block", s->block);
	at = put_field(at, "want", want);
	at = put_field(at, "first", first[0]);
	at = put_field(at, "last", last);
	*at++ = '\n';
	print_to(line, at);
	bench.bad++;
}

/* The table of descriptors is the same each time, but for the direction. */
static void send(struct slot *s)
{
	int writes = bench.op == 'w' ||
		     (bench.op == 'm' && random_number() & 1);
	uint64_t pieces = (bench.bytes + bench.piece - 1) / bench.piece, i;

	s->block = choose_block();
	s->header.type = writes ? BLK_OUT : BLK_IN;
	s->header.sector = s->block * (bench.bytes / SECTOR);
	s->status = 0xff;
	for (i = 1; i <= pieces; i++)
		s->table[i].flags = DESC_NEXT | (writes ? 0 : DESC_WRITE);
	if (bench.checks && writes)
		stamp(s);
	if (bench.checks)
		bench.busy[s->block] = 1;
	vqueue_add(&bench.queue, s - bench.slot);
}

static void progress(void)
{
	char line[64], *at = put_text(line, "\nD");

	at = put_field(at, "n", bench.requests);
	at = put_field(at, "bad", bench.bad);
	*at++ = '\n';
	print_to(line, at);
}

static void received(struct slot *s)
{
	bench.requests++;
	bench.bad += s->status != 0;
	if (bench.every && bench.requests % bench.every == 0)
		progress();
	if (!bench.checks)
		return;
	bench.busy[s->block] = 0;
	if (s->header.type == BLK_IN && !s->status)
		look(s);
}

static void prepare(struct slot *s, uint8_t *data)
{
	uint64_t left = bench.bytes, at = (uint64_t)data, i;
	uint16_t n = 0;

	s->data = data;
	for (i = 0; i < bench.bytes / 8; i++)
		((uint64_t *)data)[i] = i * 0x9e3779b97f4a7c15 + at;
	s->table[n++] = (struct vdesc){ (uint64_t)&s->header,
					sizeof(s->header), DESC_NEXT, 1 };
	for (; left; n++) {
		uint64_t bytes = left < bench.piece ? left : bench.piece;

		s->table[n] = (struct vdesc){ at, bytes, DESC_NEXT, n + 1 };
		at += bytes;
		left -= bytes;
	}
	s->table[n++] = (struct vdesc){ (uint64_t)&s->status, 1,
					DESC_WRITE, 0 };
	bench.queue.desc[s - bench.slot] = (struct vdesc){
		(uint64_t)s->table, n * sizeof(struct vdesc), DESC_INDIRECT, 0
	};
}

static void sleep(void)
{
	while (vqueue_arm(&bench.queue)) {
		__asm__ volatile("hlt" : : : "memory");
		vqueue_acknowledge(&bench.queue);
	}
}

/* All that came back goes out again, with one notification. */
static uint64_t turn(int again)
{
	uint64_t n = 0;
	int head;

	while ((head = vqueue_take(&bench.queue)) >= 0) {
		received(&bench.slot[head]);
		if (again)
			send(&bench.slot[head]);
		n++;
	}
	bench.kicks += vqueue_publish(&bench.queue);
	return n;
}

static uint64_t work(uint64_t ms)
{
	uint64_t start = rdtsc(), end = start + ms * clock_khz(), n;
	uint64_t out = bench.depth, last;

	for (n = 0; n < bench.depth; n++)
		send(&bench.slot[n]);
	bench.kicks += vqueue_publish(&bench.queue);
	do {
		if (!turn(1) && bench.sleeps)
			sleep();
		last = rdtsc();
	} while (!ms || last < end);
	while (out) {
		n = turn(0);
		if (!n && bench.sleeps)
			sleep();
		out -= n;
	}
	/* those that came behind the end count, and so does their time */
	return to_us(rdtsc() - start);
}

static const char *configure(void)
{
	uint64_t span = cmdline_number("span", 16) << 20;

	bench.depth = cmdline_number("qd", 1);
	bench.bytes = cmdline_number("bs", 4096);
	bench.piece = cmdline_number("seg", 65536);
	bench.op = cmdline_letter("op", 'r');
	bench.order = cmdline_letter("ord", 'r');
	bench.sleeps = cmdline_number("irq", 0);
	bench.checks = cmdline_number("check", 0);
	bench.every = cmdline_number("every", 0);
	bench.random = 1;
	if (!bench.depth || bench.depth > MAX_DEPTH)
		return "qd out of range";
	if (!bench.bytes || bench.bytes % SECTOR || bench.bytes > span ||
	    !bench.piece || (bench.bytes - 1) / bench.piece >= MAX_PIECES)
		return "bs, seg and span don't fit";
	bench.blocks = span / bench.bytes;
	if (bench.checks && (bench.blocks > MAX_BLOCKS ||
			     bench.blocks < 2 * bench.depth))
		return "span out of range for check";
	return vqueue_init(&bench.queue, cmdline_number("blk", 0xd0000000), 2,
			   FEATURE_BLK_FLUSH | FEATURE_INDIRECT |
			   FEATURE_EVENT_IDX);
}

static void report(uint64_t us)
{
	char line[160], *at = put_text(line, "\nE");

	at = put_field(at, "n", bench.requests);
	at = put_field(at, "bad", bench.bad);
	at = put_field(at, "us", us);
	at = put_field(at, "kicks", bench.kicks);
	at = put_field(at, "irqs", bench.interrupts);
	*at++ = '\n';
	print_to(line, at);
}

void user_main(const struct start_info *info)
{
	uint8_t *data;
	const char *wrong;
	uint64_t i;

	cmdline_init(info);
	clock_init();
	print("3\n");
	wrong = configure();
	if (!wrong && !(bench.queue.features & FEATURE_INDIRECT))
		wrong = "no indirect descriptors";
	if (wrong) {
		print("BAD device: ");
		print(wrong);
		print("\n");
		leave(2);
	}
	data = (uint8_t *)(cmdline_number("base", 16) << 20);
	for (i = 0; i < bench.depth; i++)
		prepare(&bench.slot[i], data + i * bench.bytes);
	if (bench.sleeps)
		interrupts_on();
	print("B\n");
	report(work(cmdline_number("ms", 1000)));
	leave(bench.bad != 0);
}
