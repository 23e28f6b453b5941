/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * librbd and librados, loaded when the first RBD disk is opened: some thirty
 * libraries come with them, which VMs without such a disk need not pay for.
 */
#ifndef GODWIT_BLOCK_RBD_LIBRARY_H
#define GODWIT_BLOCK_RBD_LIBRARY_H

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "vmm/base/error.h"

/* What of them is used here; the types are those of their headers. */
#define RADOS_LIBRARY(X)						\
	X(create) X(shutdown) X(connect)				\
	X(conf_read_file) X(conf_set) X(getaddrs) X(buffer_free)	\
	X(ioctx_create) X(ioctx_destroy) X(ioctx_set_namespace)
#define RBD_LIBRARY(X)							\
	X(open) X(open_read_only) X(close) X(get_size)			\
	X(stat) X(get_stripe_count) X(diff_iterate2) X(resize2)		\
	X(invalidate_cache) X(update_watch) X(update_unwatch)		\
	X(lock_acquire) X(lock_release) X(lock_break)			\
	X(lock_get_owners) X(lock_get_owners_cleanup)			\
	X(watchers_list) X(watchers_list_cleanup)			\
	X(aio_create_completion) X(aio_release)				\
	X(aio_get_return_value) X(aio_readv) X(aio_writev)		\
	X(aio_flush) X(aio_discard) X(aio_write_zeroes)

struct rbd_library {
	struct {
#define RADOS_MEMBER(name) __typeof__(rados_##name) *name;
		RADOS_LIBRARY(RADOS_MEMBER)
#undef RADOS_MEMBER
	} rados;
#define RBD_MEMBER(name) __typeof__(rbd_##name) *name;
	RBD_LIBRARY(RBD_MEMBER)
#undef RBD_MEMBER
};

int rbd_library_load(struct rbd_library *lib, struct error *err) __must_check;

#endif
