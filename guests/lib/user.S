/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_start: to ring 3, user_main(start_info), interrupts off. Work belongs
 * there: a software KVM runs ring 3 at full speed and emulates ring 0.
 *
 * Ports are open twice, by the TSS's bitmap and by IOPL 3: a software KVM knows
 * the bitmap only; QEMU's TCG with nested SVM loses it in a move, because KVM
 * always gives a task register out as busy and TCG wants it available.
 */
	.text
	.globl	guest_start
guest_start:
	pushq	$0x23
	pushq	$ustack_top - 8
	pushq	$0x3002
	pushq	$0x2b
	pushq	$user_main
	iretq

	.bss
	.align	4096
	.skip	16384
ustack_top:

	.section .note.GNU-stack, "", @progbits
