/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/block/rbd_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/base/util.h"

#define RADOS_SONAME "librados.so.2"
#define RBD_SONAME "librbd.so.1"

struct function {
	const char *name;
	size_t at;		/* in struct rbd_library */
};

static const struct function rados_functions[] = {
#define RADOS_FUNCTION(name) \
	{ "rados_" #name, offsetof(struct rbd_library, rados.name) },
	RADOS_LIBRARY(RADOS_FUNCTION)
#undef RADOS_FUNCTION
};

static const struct function rbd_functions[] = {
#define RBD_FUNCTION(name) { "rbd_" #name, offsetof(struct rbd_library, name) },
	RBD_LIBRARY(RBD_FUNCTION)
#undef RBD_FUNCTION
};

/* It stays loaded: the libraries behind it don't all stand being unloaded. */
static int load(struct rbd_library *lib, const char *soname,
		const struct function *f, size_t n, struct error *err)
{
	void *so = dlopen(soname, RTLD_LAZY | RTLD_LOCAL);

	if (!so)
		return error_set(err, ENOSYS, "disks on RBD need %s: %s",
				 soname, dlerror());
	for (size_t i = 0; i < n; i++) {
		void *fn = dlsym(so, f[i].name);

		if (!fn)
			return error_set(err, ENOSYS, "%s has no %s", soname,
					 f[i].name);
		/* POSIX lets a function's address travel in a void pointer */
		memcpy((char *)lib + f[i].at, &fn, sizeof(fn));
	}
	return 0;
}

int rbd_library_load(struct rbd_library *lib, struct error *err)
{
	int ret = load(lib, RADOS_SONAME, rados_functions,
		       ARRAY_SIZE(rados_functions), err);

	return ret ?: load(lib, RBD_SONAME, rbd_functions,
			   ARRAY_SIZE(rbd_functions), err);
}
