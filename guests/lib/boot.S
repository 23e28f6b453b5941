/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the PVH entry (32-bit, flat, paging off, EBX = hvm_start_info) to long
 * mode with the first 4 GiB mapped one to one, then to guest_start(start_info)
 * in ring 0: lib/user.S goes on to ring 3, a ring-0 guest defines its own.
 *
 * All tables are static data, patched by nobody: on a software KVM ring 0 runs
 * at about a million instructions a second, so that every loop here would be
 * seen in the time to the first byte.
 */
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
	movw	$0x3f8, %dx
	movb	$'@', %al		/* the first byte: entry reached */
	outb	%al, %dx
	movl	%ebx, %edi
	lgdt	gdtr
	lidt	idtr
	movl	%cr4, %eax
	orl	$0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER: LME, SCE */
	rdmsr
	orl	$0x101, %eax
	wrmsr
	movl	$0x80000033, %eax	/* CR0: PG, NE, ET, MP, PE */
	movl	%eax, %cr0
	ljmp	$0x08, $long_mode

	.code64
long_mode:
	movl	$0x23, %eax		/* user data: good for both rings */
	movl	%eax, %ds
	movl	%eax, %es
	movl	$0x10, %eax
	movl	%eax, %ss
	movl	$0x30, %eax
	ltr	%ax
	movq	$kstack_top, %rsp
	movl	%edi, %edi		/* start_info, upper half clear */
	call	guest_start
	jmp	stop

	.globl	stop
stop:	cli
1:	hlt
	jmp	1b

/*
 * Vectors 0..63: push the vector (and a zero where the CPU pushes no error
 * code), save the caller-saved registers, call trap(struct frame *).
 */
	.align	16
	.globl	vectors
vectors:
	.set	i, 0
	.rept	64
	.align	16
	.if	(i != 8) && (i < 10 || i > 14) && (i != 17)
	pushq	$0
	.endif
	pushq	$i
	jmp	common
	.set	i, i + 1
	.endr
common:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	cld
	leaq	72(%rsp), %rdi
	call	trap
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

	.data
	.align	4096
pml4:	.quad	pdpt + 7
	.fill	511, 8, 0
pdpt:	.quad	pd + 7, pd + 0x1007, pd + 0x2007, pd + 0x3007
	.fill	508, 8, 0
pd:	.set	i, 0
	.rept	2048
	.quad	(i << 21) + 0x87	/* present, write, user, 2 MiB */
	.set	i, i + 1
	.endr

	.align	16
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 08 kernel code */
	.quad	0x00cf93000000ffff	/* 10 kernel data */
	.quad	0
	.quad	0x00cff3000000ffff	/* 20 user data, as selector 23 */
	.quad	0x00affb000000ffff	/* 28 user code, as selector 2b */
	.word	tss_end - tss - 1, TSS_LO	/* 30 task state */
	.byte	TSS_MID, 0x89, 0, TSS_HI
	.quad	0
gdt_end:

/*
 * The I/O bitmap opens ports 0..0x7ff to ring 3: IOPL would do on hardware,
 * but a software KVM may ignore it.
 */
	.align	16
tss:	.long	0
	.quad	kstack_top, 0, 0
	.fill	17, 4, 0
	.word	0, 0x68
	.fill	256, 1, 0
	.byte	0xff
tss_end:
	.align	16
gdtr:	.word	gdt_end - gdt - 1
	.long	gdt
	.align	16
idt:	.set	i, 0
	.rept	64
	.word	VECTORS_LO + i * 16, 0x08
	.byte	0, 0x8e
	.word	VECTORS_HI
	.long	0, 0
	.set	i, i + 1
	.endr
idt_end:
	.align	16
	.globl	pml4, idtr
idtr:	.word	idt_end - idt - 1
	.long	idt
	.globl	tss

	.bss
	.align	4096
	.skip	16384
	.globl	kstack_top
kstack_top:

	.section .note.GNU-stack, "", @progbits
