/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A character device of the host: where a serial port's or a console's bytes
 * go to and come from. Implemented in devices/char/ and by cmd's terminal.
 *
 * Threads: write() from any thread (short, never waits for the guest);
 * the receiver is called in the loop's thread.
 */
#ifndef GODWIT_CHARDEV_H
#define GODWIT_CHARDEV_H

#include <stddef.h>

struct chardev;

struct chardev_ops {
	/* Write all; bytes that the far end doesn't take are dropped and
	 * counted by the implementation, never waited for without bound. */
	void (*write)(struct chardev *chr, const void *buf, size_t len);
	/* The device has room again for input: resume calling receive. */
	void (*accept_input)(struct chardev *chr);
	void (*destroy)(struct chardev *chr);
};

struct chardev {
	const struct chardev_ops *ops;
	/* Set by the device: takes up to @len bytes, returns how many it took;
	 * less than @len stops input until accept_input(). */
	size_t (*receive)(void *arg, const void *buf, size_t len);
	void *receive_arg;
};

#endif
