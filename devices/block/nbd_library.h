/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libnbd, loaded when the first NBD disk is opened. It brings TLS, XML and
 * Unicode libraries along, 18 in all: linked, they cost every VM and every
 * command 3 ms and 1 MiB (measured), disks on NBD or not.
 */
#ifndef GODWIT_BLOCK_NBD_LIBRARY_H
#define GODWIT_BLOCK_NBD_LIBRARY_H

#include <libnbd.h>

#include "vmm/base/error.h"

/* What of libnbd is used here; the types are those of its header. */
#define NBD_LIBRARY(X)							\
	X(create) X(close) X(get_error) X(get_errno) X(poll)		\
	X(set_pread_initialize) X(add_meta_context) X(can_meta_context)	\
	X(get_size) X(get_block_size) X(is_read_only)			\
	X(can_flush) X(can_trim) X(can_zero) X(can_multi_conn)		\
	X(can_fua)							\
	X(aio_connect_uri) X(aio_disconnect) X(aio_get_fd)		\
	X(aio_get_direction) X(aio_notify_read) X(aio_notify_write)	\
	X(aio_is_ready) X(aio_is_dead) X(aio_is_closed)			\
	X(aio_pread) X(aio_pwrite) X(aio_flush) X(aio_trim) X(aio_zero)	\
	X(aio_block_status)

struct nbd_library {
#define NBD_MEMBER(name) __typeof__(nbd_##name) *name;
	NBD_LIBRARY(NBD_MEMBER)
#undef NBD_MEMBER
};

int nbd_library_load(struct nbd_library *lib, struct error *err) __must_check;

#endif
