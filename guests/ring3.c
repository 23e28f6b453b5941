/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: ring 3 runs, and is kept from privileged instructions: reading CR3
 * must end in #GP with the address of that very instruction.
 */
#include "lib/guest.h"

extern const char forbidden[];

void trap(struct frame *frame)
{
	int right = frame->vector == 13 && (frame->cs & 3) == 3 &&
		    frame->rip == (uint64_t)forbidden;

	if (right)
		print("ring 3: privileged instruction refused\n");
	else
		trap_report(frame);
	leave(!right);
}

void user_main(const struct start_info *info)
{
	uint64_t cs;

	cmdline_init(info);
	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	print((cs & 3) == 3 ? "\nhello from ring 3\n" : "\nwrong ring\n");
	__asm__ volatile(".globl forbidden\nforbidden: mov %%cr3, %%rax"
			 : : : "rax");
	print("ring 3: privileged instruction went through\n");
	outb(cmdline_number("exit", 0x501), 1);
	for (;;)
		;
}
