/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the place of tls.c where CONFIG_TLS is off. */
#include <errno.h>
#include <stddef.h>

#include "migration/tls.h"

int tls_spec_check(const char *spec, struct error *err)
{
	return error_set(err, ENOTSUP, "built without TLS (CONFIG_TLS)");
}

int tls_credentials_load(struct tls_credentials **out, const char *spec,
			 unsigned int roles, struct error *err)
{
	return tls_spec_check(spec, err);
}

const char *tls_credentials_spec(const struct tls_credentials *c)
{
	return "";
}

void tls_credentials_free(struct tls_credentials *c)
{
}

int tls_start(struct channel *ch, const struct tls_credentials *c,
	      enum tls_role role, const char *name, struct error *err)
{
	return tls_spec_check("", err);
}

int tls_handshake_step(struct channel *ch, short *events, struct error *err)
{
	return tls_spec_check("", err);
}

const struct tls_peer *tls_peer(const struct channel *ch)
{
	return NULL;
}

bool tls_in_kernel(const struct channel *ch)
{
	return false;
}
