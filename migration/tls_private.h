/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by tls.c and tls_*.c; nobody else includes it. */
#ifndef GODWIT_MIGRATION_TLS_PRIVATE_H
#define GODWIT_MIGRATION_TLS_PRIVATE_H

#include <limits.h>
#include <stdint.h>

#include "migration/tls.h"
#include "migration/tls_library.h"

#define TLS_MAX_KEYS 64

/* A key that both sides know. */
struct tls_key {
	char name[TLS_NAME_MAX];
	unsigned int len;
	uint8_t key[64];
};

struct tls_credentials {
	struct tls_library lib;
	char spec[PATH_MAX];
	bool psk;
	/* certificates; NULL: not that role */
	gnutls_certificate_credentials_t cert_client, cert_server;
	gnutls_psk_client_credentials_t psk_client;
	gnutls_psk_server_credentials_t psk_server;
	struct tls_key *keys;
	unsigned int nkeys;
};

/* The files, for tls_credentials_load(). */
int tls_load_certificates(struct tls_credentials *c, unsigned int roles,
			  struct error *err) __must_check;
int tls_load_keys(struct tls_credentials *c, struct error *err) __must_check;
/* A whole file; @secret: refused where others can read it. To be freed by
 * tls_file_free(), which leaves no trace. -ENOENT if there is none. */
int tls_file_read(const char *path, bool secret, gnutls_datum_t *out,
		  struct error *err) __must_check;
void tls_file_free(gnutls_datum_t *file);

#endif
