/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 16550A UART, as in a PC (National Semiconductor PC16550D data sheet).
 *
 * Modelled: all registers, the receive FIFO with its trigger levels, loopback,
 * modem status, and the pending state of the transmitter-empty interrupt,
 * which is part of the saved state: a guest that waits for it sends nothing
 * more if it gets lost in a migration.
 *
 * Left out: line speed. A byte is sent the moment it is written, and the
 * character timeout (data below the trigger level) elapses at once. Breaks,
 * parity and framing errors never happen. A full receiver holds input back in
 * the chardev, so that an overrun is possible only in loopback.
 *
 * Accesses come on vCPU threads with dev->lock held; input comes on the loop's
 * thread and takes it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/fd.h"
#include "vmm/device.h"
#include "vmm/tree.h"

/* Registers, by offset (data sheet, table II). */
enum {
	REG_DATA,		/* RBR, THR; DLL with DLAB */
	REG_IER,		/* DLM with DLAB */
	REG_IIR,		/* FCR on write */
	REG_LCR,
	REG_MCR,
	REG_LSR,
	REG_MSR,
	REG_SCR,
	REG_COUNT
};

#define IER_RDA		0x01	/* received data available */
#define IER_THRE	0x02	/* transmitter holding register empty */
#define IER_RLS		0x04	/* receiver line status */
#define IER_MS		0x08	/* modem status */
#define IER_MASK	0x0f

#define IIR_NONE	0x01
#define IIR_MS		0x00
#define IIR_THRE	0x02
#define IIR_RDA		0x04
#define IIR_RLS		0x06
#define IIR_TIMEOUT	0x0c
#define IIR_FIFO	0xc0	/* FIFOs are enabled */

#define FCR_ENABLE	0x01
#define FCR_CLEAR_RX	0x02
#define FCR_KEPT	0xc9	/* enable, DMA mode, trigger */

#define LCR_DLAB	0x80

#define MCR_DTR		0x01
#define MCR_RTS		0x02
#define MCR_OUT1	0x04
#define MCR_OUT2	0x08	/* on a PC, the gate of the interrupt */
#define MCR_LOOP	0x10
#define MCR_MASK	0x1f

#define LSR_DR		0x01
#define LSR_OE		0x02
#define LSR_ERRORS	0x1e
#define LSR_IDLE	0x60	/* transmitter empty: THRE, TEMT */

#define MSR_DELTA	0x0f
#define MSR_TERI	0x04	/* trailing edge of RI */
#define MSR_CTS		0x10
#define MSR_DSR		0x20
#define MSR_RI		0x40
#define MSR_DCD		0x80

#define RX_BYTES	16

struct serial {
	struct device dev;

	/* configuration */
	struct irq_line *irq;

	/* guest-visible state */
	uint8_t ier;
	uint8_t fcr;
	uint8_t lcr;
	uint8_t mcr;
	uint8_t lsr_errors;
	uint8_t msr_delta;
	uint8_t scr;
	uint8_t dll;
	uint8_t dlm;
	bool thre_pending;
	uint32_t rx_len;
	uint8_t rx[RX_BYTES];

	/* host resources */
	struct chardev *chr;
	struct loop_fd room;	/* eventfd: the receiver has room again */
	bool throttled;		/* input was refused and waits in chr */
	bool running;		/* between start and stop */
	int level;		/* of irq, to call it only on a change */
};

static struct serial *to_serial(struct device *dev)
{
	return container_of(dev, struct serial, dev);
}

static uint32_t rx_capacity(const struct serial *s)
{
	return s->fcr & FCR_ENABLE ? RX_BYTES : 1;
}

static uint32_t rx_trigger(const struct serial *s)
{
	static const uint8_t level[] = { 1, 4, 8, 14 };

	return s->fcr & FCR_ENABLE ? level[s->fcr >> 6] : 1;
}

/* The interrupt that IIR reports: the one of highest priority (table IV). */
static uint8_t pending(const struct serial *s)
{
	if ((s->ier & IER_RLS) && s->lsr_errors)
		return IIR_RLS;
	if ((s->ier & IER_RDA) && s->rx_len)
		return s->rx_len >= rx_trigger(s) ? IIR_RDA : IIR_TIMEOUT;
	if ((s->ier & IER_THRE) && s->thre_pending)
		return IIR_THRE;
	if ((s->ier & IER_MS) && s->msr_delta)
		return IIR_MS;
	return IIR_NONE;
}

static void drive_irq(struct serial *s, bool always)
{
	bool gate = (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
	int level = gate && pending(s) != IIR_NONE;

	if (level == s->level && !always)
		return;
	s->level = level;
	irq_set(s->irq, level);
}

static uint8_t modem_lines(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_DCD | MSR_DSR | MSR_CTS;	/* always connected */
	return (s->mcr & MCR_RTS ? MSR_CTS : 0) |
	       (s->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (s->mcr & MCR_OUT1 ? MSR_RI : 0) |
	       (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void write_mcr(struct serial *s, uint8_t value)
{
	uint8_t old = modem_lines(s), changed;

	s->mcr = value & MCR_MASK;
	changed = (old ^ modem_lines(s)) >> 4;
	/* RI reports its falling edge only */
	if (!(old & MSR_RI))
		changed &= ~MSR_TERI;
	s->msr_delta |= changed;
}

static void write_fcr(struct serial *s, uint8_t value)
{
	/* A change of the enable bit empties the FIFOs. */
	if (((value ^ s->fcr) & FCR_ENABLE) || (value & FCR_CLEAR_RX))
		s->rx_len = 0;
	/* The other bits are not programmed unless FIFOs are enabled. */
	s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static void transmit(struct serial *s, uint8_t byte)
{
	if (!(s->mcr & MCR_LOOP))
		s->chr->ops->write(s->chr, &byte, 1);
	else if (s->rx_len < rx_capacity(s))
		s->rx[s->rx_len++] = byte;
	else
		s->lsr_errors |= LSR_OE;
	s->thre_pending = true;
}

static void write_ier(struct serial *s, uint8_t value)
{
	/* Enabling it while the transmitter is empty raises it (8.6.2). */
	if ((value & ~s->ier) & IER_THRE)
		s->thre_pending = true;
	s->ier = value & IER_MASK;
}

static void write_reg(struct serial *s, uint64_t reg, uint8_t value)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (dlab)
			s->dll = value;
		else
			transmit(s, value);
		break;
	case REG_IER:
		if (dlab)
			s->dlm = value;
		else
			write_ier(s, value);
		break;
	case REG_IIR:
		write_fcr(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		write_mcr(s, value);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default:	/* LSR and MSR: writes are for factory tests */
		break;
	}
}

static uint8_t read_data(struct serial *s)
{
	uint8_t byte = s->rx[0];

	if (!s->rx_len)
		return 0;
	s->rx_len--;
	memmove(s->rx, s->rx + 1, s->rx_len);
	return byte;
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t iir = pending(s);

	if (iir == IIR_THRE)
		s->thre_pending = false;
	return s->fcr & FCR_ENABLE ? iir | IIR_FIFO : iir;
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t lsr = LSR_IDLE | s->lsr_errors | (s->rx_len ? LSR_DR : 0);

	s->lsr_errors = 0;
	return lsr;
}

static uint8_t read_msr(struct serial *s)
{
	uint8_t msr = modem_lines(s) | s->msr_delta;

	s->msr_delta = 0;
	return msr;
}

static uint8_t read_reg(struct serial *s, uint64_t reg)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		return dlab ? s->dll : read_data(s);
	case REG_IER:
		return dlab ? s->dlm : s->ier;
	case REG_IIR:
		return read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return read_lsr(s);
	case REG_MSR:
		return read_msr(s);
	default:
		return s->scr;
	}
}

static enum bus_result serial_access(struct device *dev,
				     struct bus_access *access)
{
	struct serial *s = to_serial(dev);

	if (access->len != 1 || access->offset >= REG_COUNT)
		return BUS_UNHANDLED;
	if (access->is_write)
		write_reg(s, access->offset, (uint8_t)access->value);
	else
		access->value = read_reg(s, access->offset);
	drive_irq(s, false);
	if (s->throttled && s->rx_len < rx_capacity(s)) {
		s->throttled = false;
		fd_event_signal(s->room.fd);
	}
	return BUS_OK;
}

static size_t serial_receive(void *arg, const void *buf, size_t len)
{
	struct serial *s = arg;
	size_t n = 0;

	device_lock(&s->dev);
	/* A stopped device was perhaps saved already: input waits. */
	if (s->running && s->rx_len < rx_capacity(s))
		n = MIN(len, rx_capacity(s) - s->rx_len);
	memcpy(s->rx + s->rx_len, buf, n);
	s->rx_len += (uint32_t)n;
	s->throttled |= n < len;
	if (n)
		drive_irq(s, false);
	device_unlock(&s->dev);
	return n;
}

static void serial_room(void *arg, uint32_t events)
{
	struct serial *s = arg;

	(void)events;
	fd_event_take(s->room.fd);
	s->chr->ops->accept_input(s->chr);
}

static int serial_start(struct device *dev, struct error *err)
{
	struct serial *s = to_serial(dev);

	(void)err;
	device_lock(dev);
	s->running = true;
	drive_irq(s, true);	/* a VM that arrived: nobody else does it */
	device_unlock(dev);
	s->chr->ops->accept_input(s->chr);
	return 0;
}

static void serial_stop(struct device *dev)
{
	device_lock(dev);
	to_serial(dev)->running = false;
	device_unlock(dev);
}

static void serial_reset(struct device *dev)
{
	struct serial *s = to_serial(dev);

	device_lock(dev);
	s->ier = s->fcr = s->lcr = s->mcr = s->scr = 0;
	s->lsr_errors = s->msr_delta = 0;
	s->dll = 0x0c;		/* 9600 baud, what firmware leaves */
	s->dlm = 0;
	s->thre_pending = false;
	s->rx_len = 0;
	drive_irq(s, true);
	device_unlock(dev);
}

static int serial_validate(const void *scratch, struct error *err)
{
	const struct serial *s = scratch;

	if (s->rx_len > rx_capacity(s))
		return error_set(err, EINVAL,
				 "serial: %u bytes received, FIFO takes %u",
				 s->rx_len, rx_capacity(s));
	return 0;
}

static const struct state_table serial_table = {
	.name = "serial",
	.doc = "16550A UART",
	.size = sizeof(struct serial),
	STATE_VISIBLE(struct serial, ier, rx),
	STATE_FIELDS(
		STATE_U8(struct serial, ier, .max = IER_MASK,
			 .doc = "interrupt enable"),
		STATE_U8(struct serial, fcr, .max = FCR_KEPT,
			 .doc = "FIFO control, without the clear bits"),
		STATE_U8(struct serial, lcr, .doc = "line control"),
		STATE_U8(struct serial, mcr, .max = MCR_MASK,
			 .doc = "modem control"),
		STATE_U8(struct serial, lsr_errors, .max = LSR_ERRORS,
			 .doc = "error bits of line status, not read yet"),
		STATE_U8(struct serial, msr_delta, .max = MSR_DELTA,
			 .doc = "change bits of modem status, not read yet"),
		STATE_U8(struct serial, scr, .doc = "scratch"),
		STATE_U8(struct serial, dll, .doc = "divisor, low byte"),
		STATE_U8(struct serial, dlm, .doc = "divisor, high byte"),
		STATE_BOOL(struct serial, thre_pending,
			   .doc = "transmitter-empty interrupt not read yet"),
		STATE_RAW_LEN(struct serial, rx, rx_len,
			      .doc = "receive FIFO, oldest first"),
	),
	.validate = serial_validate,
};

static const struct device_class serial_class;

static void serial_destroy(struct device *dev)
{
	struct serial *s = to_serial(dev);

	if (s->room.added)
		loop_del(dev->env->loop, &s->room);
	fd_close(&s->room.fd);
	if (s->chr)
		s->chr->ops->destroy(s->chr);
	device_exit(dev);
	free(s);
}

static int serial_connect(struct serial *s, int node, struct error *err)
{
	struct device_env *env = s->dev.env;

	s->chr = env->chardev(env, tree_str(env->tree, node, "backend", "null"),
			      err);
	if (!s->chr)
		return -err->code;
	s->room.fd = fd_event();
	if (s->room.fd < 0)
		return error_set(err, -s->room.fd, "cannot make an eventfd");
	s->room.events = EPOLLIN;
	s->room.fn = serial_room;
	s->room.arg = s;
	s->chr->receive = serial_receive;
	s->chr->receive_arg = s;
	return loop_add(env->loop, &s->room, err);
}

static int serial_build(struct serial *s, int node, struct error *err)
{
	int ret;

	s->irq = device_irq(s->dev.env, node, err);
	if (!s->irq)
		return -err->code;
	ret = serial_connect(s, node, err);
	return ret ? ret : device_map(&s->dev, node, serial_access, err);
}

static int serial_create(struct device_env *env, int node, struct device **out,
			 struct error *err)
{
	struct serial *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return error_set(err, ENOMEM, "no memory for a serial port");
	device_init(&s->dev, &serial_class, env, node);
	s->room.fd = -1;
	ret = serial_build(s, node, err);
	if (ret) {
		serial_destroy(&s->dev);
		return ret;
	}
	serial_reset(&s->dev);
	*out = &s->dev;
	return 0;
}

static const struct device_class serial_class = {
	.compatible = "ns16550a",
	.doc = "16550A UART (National Semiconductor PC16550D)",
	.state = &serial_table,
	.create = serial_create,
	.destroy = serial_destroy,
	.reset = serial_reset,
	.start = serial_start,
	.stop = serial_stop,
};

DEVICE_CLASS(serial_class);
