/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz: a hostile guest on the PC's own devices (serial port, clock, ACPI
 * power management, reset). The input is a program: accesses of any width at
 * any port of a device, and what the host does meanwhile (input, power button,
 * reset, stop and start, a move to another machine). Whatever comes, nothing
 * may crash, and what moved must read the same on both sides.
 */
#include <stdlib.h>

#include "tests/lib/fake_env.h"
#include "tests/lib/fuzz_input.h"
#include "tests/lib/move.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum op {
	OP_WRITE, OP_READ, OP_INPUT, OP_LOOP, OP_BUTTON, OP_RESET, OP_RESTART,
	OP_MOVE, OP_COUNT
};

static const struct {
	const char *compatible;
	uint16_t base;
	uint8_t size;
	uint8_t gsi;
} board[] = {
	{ "ns16550a", 0x3f8, 8, 4 },
	{ "motorola,mc146818", 0x70, 2, 8 },
	{ "godwit,acpi-pm", 0x600, 16, 9 },
	{ "godwit,reset", 0xcf9, 1, 0 },
	{ "godwit,i8042", 0x60, 5, 0 },
	{ "godwit,debug-exit", 0x501, 1, 0 },
};

#define NDEVICES ARRAY_SIZE(board)

struct machine {
	struct fake_env env;
	struct device *dev[NDEVICES];
};

static struct machine *build(void)
{
	struct machine *m = calloc(1, sizeof(*m));

	fake_env_init(&m->env, MIB);
	for (size_t i = 0; i < NDEVICES; i++)
		m->dev[i] = fake_device(&m->env, "isa", board[i].compatible,
					board[i].base, board[i].size,
					board[i].gsi, NULL, NULL);
	return m;
}

static void demolish(struct machine *m)
{
	for (size_t i = 0; i < NDEVICES; i++)
		fake_device_destroy(m->dev[i]);
	fake_env_exit(&m->env);
	free(m);
}

static void start(struct device *dev)
{
	struct error err = ERROR_INIT;

	if (dev->class->start)
		dev->class->start(dev, &err);
}

static void restart(struct device *dev)
{
	if (dev->class->stop)
		dev->class->stop(dev);
	start(dev);
}

/* The serial port and the reset register hold nothing that moves with time:
 * all their registers read the same on the other side. */
static void compare(struct machine *a, struct machine *b, size_t i)
{
	if (board[i].base != 0x3f8 && board[i].base != 0xcf9)
		return;
	for (unsigned int reg = 0; reg < board[i].size; reg++)
		if (fake_read(&a->env.pio, board[i].base + reg, 1) !=
		    fake_read(&b->env.pio, board[i].base + reg, 1))
			abort();
}

/* @m lives on in a new machine. */
static struct machine *move(struct machine *m)
{
	struct machine *to = build();

	for (size_t i = 0; i < NDEVICES; i++)
		move_state(m->dev[i], to->dev[i]);
	for (size_t i = 0; i < NDEVICES; i++)
		compare(m, to, i);
	demolish(m);
	return to;
}

static void access_port(struct machine *m, size_t i, struct input *in,
			bool is_write)
{
	uint64_t port = board[i].base + take(in, 1) % board[i].size;
	unsigned int len = 1u << take(in, 1) % 4;

	if (is_write)
		fake_write(&m->env.pio, port, len, take(in, len));
	else
		fake_read(&m->env.pio, port, len);
}

static void type(struct machine *m, struct input *in)
{
	struct chardev *chr = &m->env.chr.chr;
	size_t n = MIN(in->left, take(in, 1) % 32);

	chr->receive(chr->receive_arg, in->p, MIN(n, in->left));
}

static struct machine *step(struct machine *m, struct input *in)
{
	enum op op = take(in, 1) % OP_COUNT;
	size_t i = take(in, 1) % NDEVICES;
	struct device *dev = m->dev[i];

	if (op == OP_WRITE || op == OP_READ)
		access_port(m, i, in, op == OP_WRITE);
	else if (op == OP_INPUT)
		type(m, in);
	else if (op == OP_LOOP)
		loop_run_once(&m->env.loop, 0);
	else if (op == OP_BUTTON && dev->class->power_button)
		dev->class->power_button(dev);
	else if (op == OP_RESET && dev->class->reset)
		dev->class->reset(dev);
	else if (op == OP_RESTART)
		restart(dev);
	else if (op == OP_MOVE)
		return move(m);
	return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .p = data, .left = MIN(size, (size_t)4096) };
	struct machine *m = build();

	for (size_t i = 0; i < NDEVICES; i++)
		start(m->dev[i]);
	while (in.left)
		m = step(m, &in);
	demolish(m);
	return 0;
}
