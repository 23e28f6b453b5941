/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/tls_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/base/util.h"

#define TLS_SONAME "libgnutls.so.30"

static const struct {
	const char *name;
	size_t at;
} functions[] = {
#define TLS_FUNCTION(name) \
	{ "gnutls_" #name, offsetof(struct tls_library, name) },
	TLS_LIBRARY(TLS_FUNCTION)
#undef TLS_FUNCTION
};

/* It stays loaded: the libraries behind it don't all stand being unloaded. */
int tls_library_load(struct tls_library *lib, struct error *err)
{
	void *so = dlopen(TLS_SONAME, RTLD_LAZY | RTLD_LOCAL);

	if (!so)
		return error_set(err, ENOSYS, "TLS needs GnuTLS: %s", dlerror());
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		void *fn = dlsym(so, functions[i].name);

		if (!fn)
			return error_set(err, ENOSYS, "%s has no %s",
					 TLS_SONAME, functions[i].name);
		/* POSIX lets a function's address travel in a void pointer */
		memcpy((char *)lib + functions[i].at, &fn, sizeof(fn));
	}
	return 0;
}
