/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/block/rbd_library.h"

#include "vmm/base/library.h"
#include "vmm/base/util.h"

#define RADOS_SONAME "librados.so.2"
#define RBD_SONAME "librbd.so.1"

static const struct library_function rados_functions[] = {
#define RADOS_FUNCTION(name) \
	{ "rados_" #name, offsetof(struct rbd_library, rados.name) },
	RADOS_LIBRARY(RADOS_FUNCTION)
#undef RADOS_FUNCTION
};

static const struct library_function rbd_functions[] = {
#define RBD_FUNCTION(name) { "rbd_" #name, offsetof(struct rbd_library, name) },
	RBD_LIBRARY(RBD_FUNCTION)
#undef RBD_FUNCTION
};

int rbd_library_load(struct rbd_library *lib, struct error *err)
{
	int ret = library_load(lib, RADOS_SONAME, "disks on RBD need " RADOS_SONAME,
			       rados_functions, ARRAY_SIZE(rados_functions), err);

	return ret ?: library_load(lib, RBD_SONAME, "disks on RBD need " RBD_SONAME,
				   rbd_functions, ARRAY_SIZE(rbd_functions), err);
}
