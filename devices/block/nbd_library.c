/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/block/nbd_library.h"

#include "vmm/base/library.h"
#include "vmm/base/util.h"

static const struct library_function functions[] = {
#define NBD_FUNCTION(name) { "nbd_" #name, offsetof(struct nbd_library, name) },
	NBD_LIBRARY(NBD_FUNCTION)
#undef NBD_FUNCTION
};

int nbd_library_load(struct nbd_library *lib, struct error *err)
{
	return library_load(lib, "libnbd.so.0", "disks on NBD need libnbd",
			    functions, ARRAY_SIZE(functions), err);
}
