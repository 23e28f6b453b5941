/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

int library_load(void *into, const char *soname, const char *need,
		 const struct library_function *function, size_t n,
		 struct error *err)
{
	void *so = dlopen(soname, RTLD_LAZY | RTLD_LOCAL);

	if (!so)
		return error_set(err, ENOSYS, "%s: %s", need, dlerror());
	for (size_t i = 0; i < n; i++) {
		void *fn = dlsym(so, function[i].name);

		if (!fn)
			return error_set(err, ENOSYS, "%s has no %s", soname,
					 function[i].name);
		/* POSIX lets a function's address travel in a void pointer */
		memcpy((char *)into + function[i].at, &fn, sizeof(fn));
	}
	return 0;
}
