/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to devices/char/: a chardev over a file descriptor. */
#ifndef GODWIT_CHAR_HOST_H
#define GODWIT_CHAR_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/chardev.h"
#include "vmm/loop.h"

struct host_char {
	struct chardev chr;
	struct loop *loop;
	const struct log *log;
	pthread_mutex_t lock;	/* io.fd, stalled, dropped: write() is any
				 * thread's; all else is the loop's */
	struct loop_fd io;	/* the far end; fd -1 if there is none */
	struct loop_fd listener;	/* unix: waits for a client, else -1 */
	char *path;		/* unix: to be removed, else NULL */
	int slave;		/* pty: kept open, so that it never hangs up */
	bool stalled;		/* the far end takes nothing */
	uint64_t dropped;	/* bytes of output */
	size_t held;		/* bytes of input that the device refused */
	char buf[512];
};

struct host_char *host_char_new(struct loop *loop, const struct log *log);
/* Take input from io.fd, from now on. */
int host_char_listen(struct host_char *c, struct error *err);
void host_char_destroy(struct chardev *chr);

#endif
