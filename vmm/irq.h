/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An interrupt line, as a device sees it. The device doesn't know what stands
 * behind: KVM's interrupt controller, or a counter in a unit test.
 * Any thread may call; the line's owner keeps it until the VM is gone.
 */
#ifndef GODWIT_IRQ_H
#define GODWIT_IRQ_H

struct irq_line {
	unsigned int gsi;	/* global system interrupt number */
	/* Set the level (1 asserted). For level-triggered lines. */
	void (*set)(struct irq_line *line, int level);
	/* One edge. For edge-triggered lines. */
	void (*pulse)(struct irq_line *line);
};

static inline void irq_set(struct irq_line *line, int level)
{
	line->set(line, level);
}

static inline void irq_pulse(struct irq_line *line)
{
	line->pulse(line);
}

#endif
