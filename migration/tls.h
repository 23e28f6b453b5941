/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS 1.3 over a channel (RFC 8446), by GnuTLS: both sides show a certificate,
 * or both know a key. Nothing less: no side is anonymous.
 *
 * Files are named as QEMU names them. A directory of certificates (PEM):
 * ca-cert.pem, ca-crl.pem if there is one, server-cert.pem and server-key.pem
 * of the side that listens, client-cert.pem and client-key.pem of the side that
 * connects. Keys that both know: keys.psk, lines "NAME:KEY in hexadecimal".
 * What is secret must not be readable by others.
 *
 * Threads: credentials are read-only once loaded. After the handshake a channel
 * may have a reader and a writer at a time, as one without TLS.
 */
#ifndef GODWIT_MIGRATION_TLS_H
#define GODWIT_MIGRATION_TLS_H

#include <stdbool.h>

#include "vmm/base/error.h"

#define TLS_NAME_MAX 256
#define TLS_MAX_NAMES 16

struct channel;
struct tls_credentials;

/* For tls_credentials_load(): which sides this one must be able to be. */
enum tls_role { TLS_CLIENT = 1, TLS_SERVER = 2 };

/* Who is on the other side; all of it is proved. */
struct tls_peer {
	bool psk;			/* by a key, whose name is name[0] */
	char id[TLS_NAME_MAX + 8];	/* for messages */
	char dn[TLS_NAME_MAX];		/* the certificate's subject */
	/* its CN, and what else it is valid for (DNS names); those beyond
	 * the limit don't count */
	unsigned int nnames;
	char name[TLS_MAX_NAMES][TLS_NAME_MAX];
};

/* Is @spec well formed? Opens nothing. "DIR" or "psk=FILE[,id=NAME]". */
int tls_spec_check(const char *spec, struct error *err);
/* What a role that isn't in @roles would need may be missing. */
int tls_credentials_load(struct tls_credentials **out, const char *spec,
			 unsigned int roles, struct error *err) __must_check;
const char *tls_credentials_spec(const struct tls_credentials *c);
void tls_credentials_free(struct tls_credentials *c);	/* NULL is fine */

/*
 * From here on @ch speaks TLS; the handshake follows. As a client the server's
 * certificate must be valid for @name (unused with a key); it is kept.
 */
int tls_start(struct channel *ch, const struct tls_credentials *c,
	      enum tls_role role, const char *name, struct error *err)
	__must_check;
/* A step that doesn't wait: 0 when it is done, -EAGAIN to come again when
 * *events happened, else an error, which the other side was told. */
int tls_handshake_step(struct channel *ch, short *events, struct error *err)
	__must_check;
/* After the handshake. */
const struct tls_peer *tls_peer(const struct channel *ch);
/* Does the kernel encrypt? GnuTLS must have been built for it, which Debian 12's
 * is not, and be told to (ktls = true). */
bool tls_in_kernel(const struct channel *ch);

#endif
