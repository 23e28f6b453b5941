/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claim: 16-bit code runs in real mode. From the PVH entry (32-bit protected
 * mode) a copy of the code below 64 KiB is entered through a 16-bit segment,
 * clears CR0.PE, reloads its segments, prints and leaves through debug-exit
 * at port 0x501: 0 if PE reads as clear. It stands alone: no lib.
 */
#define LOW 0x8000

	.section .note.Xen, "a", @note
	.align	4
	.long	4, 8, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.align	4
	.quad	_start

	.section .text.start, "ax"
	.code32
	.globl	_start
_start:
	cli
	cld
	movl	$low_start, %esi
	movl	$LOW, %edi
	movl	$low_end - low_start, %ecx
	rep movsb
	lgdt	gdtr
	ljmp	$0x08, $LOW

	.code16
low_start:
	movw	$0x10, %ax		/* 64 KiB limits, as real mode wants */
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	%cr0, %eax
	andb	$0xfe, %al
	movl	%eax, %cr0
	ljmp	$0, $(LOW + real - low_start)
real:	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7c00, %sp
	movw	$(LOW + text - low_start), %si
	movw	$0x3f8, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	smsw	%ax
	andb	$1, %al			/* PE: must be clear */
	movw	$0x501, %dx
	outb	%al, %dx
3:	hlt
	jmp	3b
text:	.asciz	"hello from real mode\n"
low_end:

	.data
	.align	8
gdt:	.quad	0
	.quad	0x00009b000000ffff	/* 08 16-bit code, base 0, 64 KiB */
	.quad	0x000093000000ffff	/* 10 16-bit data */
gdtr:	.word	gdtr - gdt - 1
	.long	gdt
	.globl	tss, vectors		/* the linker script's; unused here */
tss:
vectors:
	.section .note.GNU-stack, "", @progbits
