/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File descriptor helpers. All retry EINTR; none prints. */
#ifndef GODWIT_BASE_FD_H
#define GODWIT_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Read or write exactly @len bytes of a blocking fd. 0, or -errno;
 * an early end of file is -ECONNRESET. */
int fd_read_full(int fd, void *buf, size_t len);
int fd_write_full(int fd, const void *buf, size_t len);

/* A new or removed name is durable only with its directory. 0 or -errno. */
int fd_sync_dir(const char *dir);

int fd_set_nonblock(int fd);

/* An eventfd, non-blocking and close-on-exec; -errno on failure. */
int fd_event(void);
void fd_event_signal(int fd);
/* Take the count (0 if none was signalled). */
uint64_t fd_event_take(int fd);

/* Close *fd if it is >= 0 and set it to -1. */
void fd_close(int *fd);

#endif
