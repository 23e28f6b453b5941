/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GnuTLS, loaded with the first credentials: linked, it would cost every VM and
 * every command the time and memory of the eight libraries behind it.
 */
#ifndef GODWIT_MIGRATION_TLS_LIBRARY_H
#define GODWIT_MIGRATION_TLS_LIBRARY_H

#include <gnutls/gnutls.h>
#include <gnutls/socket.h>
#include <gnutls/x509.h>

#include "vmm/base/error.h"

/* What of GnuTLS is used here; the types are those of its header. */
#define TLS_LIBRARY(X)							\
	X(init) X(deinit) X(handshake) X(record_send) X(record_recv)	\
	X(record_check_pending) X(record_get_direction) X(bye)		\
	X(alert_send_appropriate) X(alert_get) X(alert_get_name)	\
	X(strerror) X(error_is_fatal) X(transport_set_int2)		\
	X(transport_is_ktls_enabled) X(credentials_set)			\
	X(priority_set_direct) X(server_name_set)			\
	X(session_set_ptr) X(session_get_ptr)				\
	X(session_set_verify_cert2) X(session_get_verify_cert_status)	\
	X(certificate_verification_status_print)			\
	X(certificate_allocate_credentials)				\
	X(certificate_free_credentials) X(certificate_set_x509_trust_mem) \
	X(certificate_set_x509_crl_mem) X(certificate_set_x509_key_mem2) \
	X(certificate_server_set_request) X(certificate_get_peers)	\
	X(x509_crt_init) X(x509_crt_deinit) X(x509_crt_import)		\
	X(x509_crt_get_dn) X(x509_crt_get_dn_by_oid)			\
	X(x509_crt_get_subject_alt_name)				\
	X(psk_allocate_client_credentials) X(psk_free_client_credentials) \
	X(psk_set_client_credentials2)					\
	X(psk_allocate_server_credentials) X(psk_free_server_credentials) \
	X(psk_set_server_credentials_function2) X(psk_server_get_username)

struct tls_library {
#define TLS_MEMBER(name) __typeof__(gnutls_##name) *name;
	TLS_LIBRARY(TLS_MEMBER)
#undef TLS_MEMBER
};

int tls_library_load(struct tls_library *lib, struct error *err) __must_check;

#endif
