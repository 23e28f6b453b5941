/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A second CPU, from its start in real mode at AP_PAGE (where ap_start() copies
 * the code below; Intel SDM 3A, 9.4.4) to user_second() in ring 3, interrupts off. It
 * has boot.S's tables but no task register: it may not touch ports.
 */
#define AP_PAGE 0x8000

	.text
	.code16
	.globl	ap_code, ap_code_end
ap_code:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	AP_PAGE + ap_gdtr - ap_code
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$0x18, $protected
	.align	8
ap_gdtr:.word	ap_gdt_end - ap_gdt - 1
	.long	ap_gdt
ap_code_end:

	.code32
protected:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%cr4, %eax
	orl	$0x620, %eax		/* as boot.S has it */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x101, %eax
	wrmsr
	movl	$0x80000033, %eax
	movl	%eax, %cr0
	ljmp	$0x08, $long_mode

	.code64
long_mode:
	lidt	idtr
	movl	$0x23, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	$0x10, %eax
	movl	%eax, %ss
	movq	$second_stack_top, %rsp
	pushq	$0x23
	pushq	$second_stack_top - 8
	pushq	$2
	pushq	$0x2b
	pushq	$user_second
	iretq

	.data
	.align	8
ap_gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 08 kernel code */
	.quad	0x00cf93000000ffff	/* 10 kernel data */
	.quad	0x00cf9b000000ffff	/* 18 32-bit kernel code */
	.quad	0x00cff3000000ffff	/* 20 user data, as selector 23 */
	.quad	0x00affb000000ffff	/* 28 user code, as selector 2b */
ap_gdt_end:

	.bss
	.align	4096
	.skip	16384
second_stack_top:

	.section .note.GNU-stack, "", @progbits
