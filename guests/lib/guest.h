/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every guest has: serial, command line, time, traps, a way out. */
#ifndef GUESTS_LIB_GUEST_H
#define GUESTS_LIB_GUEST_H

#include <stdint.h>

#define COM1 0x3f8
#define PAGE_SIZE 4096UL

/* struct hvm_start_info, version 0 (Xen public/arch-x86/hvm/start_info.h) */
struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, cmdline, rsdp;
};

/* what vectors in boot.S leave on the stack */
struct frame {
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* one of these is the guest's: ring 3 with lib/user.S, or ring 0 */
void user_main(const struct start_info *info);
void guest_start(const struct start_info *info);

/* called in ring 0 on exceptions and interrupts; a guest may define its own */
void trap(struct frame *frame);
void trap_report(const struct frame *frame);
void stop(void) __attribute__((noreturn));

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/* command line: key=value, blanks between; numbers decimal or 0x */
void cmdline_init(const struct start_info *info);
const char *cmdline_get(const char *key);
uint64_t cmdline_number(const char *key, uint64_t otherwise);
char cmdline_letter(const char *key, char otherwise);

/* output: a line is built in a buffer of the caller's, then printed */
void print(const char *text);
char *put_text(char *at, const char *text);
char *put_number(char *at, uint64_t value);
char *put_hex(char *at, uint64_t value);
/* " name=value" */
char *put_field(char *at, const char *name, uint64_t value);
void print_to(const char *from, const char *end);

/*
 * Time: tsc=kHz from the command line, else measured against the PIT.
 * gap_stamp() reads the TSC and keeps the largest distance of two reads: what
 * the guest sees of a pause. Printing stamps around each byte.
 */
void clock_init(void);
uint64_t clock_khz(void);
uint64_t to_us(uint64_t ticks);
uint64_t gap_stamp(void);
uint64_t gap_take(void);

/* debug-exit (exit=PORT, default 0x501; exit=0: none), else halt for ever */
void leave(uint8_t status) __attribute__((noreturn));

#endif
