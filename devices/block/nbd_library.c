/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/block/nbd_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/base/util.h"

#define NBD_SONAME "libnbd.so.0"

static const struct {
	const char *name;
	size_t at;
} functions[] = {
#define NBD_FUNCTION(name) { "nbd_" #name, offsetof(struct nbd_library, name) },
	NBD_LIBRARY(NBD_FUNCTION)
#undef NBD_FUNCTION
};

/* It stays loaded: the libraries behind it don't all stand being unloaded. */
int nbd_library_load(struct nbd_library *lib, struct error *err)
{
	void *so = dlopen(NBD_SONAME, RTLD_LAZY | RTLD_LOCAL);

	if (!so)
		return error_set(err, ENOSYS, "disks on NBD need libnbd: %s",
				 dlerror());
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		void *fn = dlsym(so, functions[i].name);

		if (!fn)
			return error_set(err, ENOSYS, "%s has no %s",
					 NBD_SONAME, functions[i].name);
		/* POSIX lets a function's address travel in a void pointer */
		memcpy((char *)lib + functions[i].at, &fn, sizeof(fn));
	}
	return 0;
}
