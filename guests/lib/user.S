/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_start: to ring 3, user_main(start_info), interrupts off. Work belongs
 * there: a software KVM runs ring 3 at full speed and emulates ring 0.
 */
	.text
	.globl	guest_start
guest_start:
	pushq	$0x23
	pushq	$ustack_top - 8
	pushq	$0x2
	pushq	$0x2b
	pushq	$user_main
	iretq

	.bss
	.align	4096
	.skip	16384
ustack_top:

	.section .note.GNU-stack, "", @progbits
