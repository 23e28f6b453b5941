/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serial output, command line, traps and the way out. */
#include "guest.h"

static char cmdline[1024];

void cmdline_init(const struct start_info *info)
{
	const char *from = (const char *)info->cmdline;
	unsigned int n = 0;

	if (!from)
		return;
	for (; from[n] && n < sizeof(cmdline) - 1; n++)
		cmdline[n] = from[n];
	cmdline[n] = '\0';
}

static const char *match(const char *at, const char *key)
{
	while (*key && *at == *key)
		at++, key++;
	return !*key && *at == '=' ? at + 1 : 0;
}

const char *cmdline_get(const char *key)
{
	const char *at = cmdline;

	while (*at) {
		const char *value = match(at, key);

		if (value)
			return value;
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return 0;
}

static unsigned int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 99;
}

uint64_t cmdline_number(const char *key, uint64_t otherwise)
{
	const char *at = cmdline_get(key);
	uint64_t value = 0;
	unsigned int base = 10;

	if (!at)
		return otherwise;
	if (at[0] == '0' && at[1] == 'x') {
		base = 16;
		at += 2;
	}
	for (; digit(*at) < base; at++)
		value = value * base + digit(*at);
	return value;
}

char cmdline_letter(const char *key, char otherwise)
{
	const char *at = cmdline_get(key);

	return at ? *at : otherwise;
}

void print_to(const char *from, const char *end)
{
	for (; from < end; from++) {
		gap_stamp();
		outb(COM1, *from);
		gap_stamp();
	}
}

void print(const char *text)
{
	const char *end = text;

	while (*end)
		end++;
	print_to(text, end);
}

char *put_text(char *at, const char *text)
{
	while (*text)
		*at++ = *text++;
	return at;
}

char *put_number(char *at, uint64_t value)
{
	char digits[20];
	int n = 0;

	do
		digits[n++] = '0' + value % 10;
	while (value /= 10);
	while (n)
		*at++ = digits[--n];
	return at;
}

char *put_hex(char *at, uint64_t value)
{
	int shift = 60;

	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*at++ = "0123456789abcdef"[value >> shift & 15];
	return at;
}

char *put_field(char *at, const char *name, uint64_t value)
{
	*at++ = ' ';
	at = put_text(at, name);
	*at++ = '=';
	return put_number(at, value);
}

/* "!vector error rip cs": the hypervisor, or this guest, went wrong */
void trap_report(const struct frame *frame)
{
	char line[80], *at = put_text(line, "\n!");

	at = put_hex(at, frame->vector);
	at = put_text(at, " error=");
	at = put_hex(at, frame->error);
	at = put_text(at, " rip=");
	at = put_hex(at, frame->rip);
	at = put_text(at, " cs=");
	at = put_hex(at, frame->cs);
	*at++ = '\n';
	print_to(line, at);
}

/*
 * HLT is privileged: from ring 3 it arrives here as #GP, and is how a ring-3
 * guest waits for ever without burning its CPU.
 */
__attribute__((weak)) void trap(struct frame *frame)
{
	if (frame->vector != 13 || *(const uint8_t *)frame->rip != 0xf4)
		trap_report(frame);
	stop();
}

void leave(uint8_t status)
{
	uint64_t port = cmdline_number("exit", 0x501);

	if (port)
		outb(port, status);
	for (;;)
		__asm__ volatile("hlt");
}
