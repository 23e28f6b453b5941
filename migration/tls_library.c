/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/tls_library.h"

#include "vmm/base/library.h"
#include "vmm/base/util.h"

static const struct library_function functions[] = {
#define TLS_FUNCTION(name) \
	{ "gnutls_" #name, offsetof(struct tls_library, name) },
	TLS_LIBRARY(TLS_FUNCTION)
#undef TLS_FUNCTION
};

int tls_library_load(struct tls_library *lib, struct error *err)
{
	return library_load(lib, "libgnutls.so.30", "TLS needs GnuTLS",
			    functions, ARRAY_SIZE(functions), err);
}
