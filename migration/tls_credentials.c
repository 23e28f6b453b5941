/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this side proves itself by, and what it believes: certificates. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/tls_private.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define FILE_MAX_BYTES (1 * MIB)

/* Like ssh and libpq: the group may read (there are groups for keys). */
static int check_secret(const char *path, const struct stat *st,
			struct error *err)
{
	if (st->st_mode & (S_IWGRP | S_IRWXO))
		return error_set(err, EPERM,
				 "%s: others can read or change this secret (mode %03o); chmod 600 or 640",
				 path, st->st_mode & 0777);
	if (st->st_uid && st->st_uid != geteuid())
		return error_set(err, EPERM,
				 "%s: this secret belongs to user %u, expected root or yourself",
				 path, st->st_uid);
	return 0;
}

static int read_open(const char *path, int fd, bool secret,
		     gnutls_datum_t *out, struct error *err)
{
	struct stat st;
	int ret;

	if (fd < 0 || fstat(fd, &st))
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	ret = secret ? check_secret(path, &st, err) : 0;
	if (ret < 0)
		return ret;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX_BYTES)
		return error_set(err, EINVAL, "%s: no file of at most 1 MiB",
				 path);
	out->size = (unsigned int)st.st_size;
	out->data = calloc(1, out->size + 1);	/* ends with NUL */
	if (!out->data)
		return error_set(err, ENOMEM, "%s: no memory", path);
	ret = fd_read_full(fd, out->data, out->size);
	if (ret == 0)
		return 0;
	tls_file_free(out);
	return error_set(err, -ret, "%s: %s", path, strerror(-ret));
}

int tls_file_read(const char *path, bool secret, gnutls_datum_t *out,
		  struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	*out = (gnutls_datum_t){ 0 };
	ret = read_open(path, fd, secret, out, err);
	fd_close(&fd);
	return ret;
}

void tls_file_free(gnutls_datum_t *file)
{
	if (file->data)
		explicit_bzero(file->data, file->size);
	free(file->data);
	*file = (gnutls_datum_t){ 0 };
}

static int read_in(const struct tls_credentials *c, const char *name,
		   bool secret, gnutls_datum_t *out, struct error *err)
{
	char path[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", c->spec, name);
	return tls_file_read(path, secret, out, err);
}

static int refuse(const struct tls_credentials *c, const char *name, int code,
		  struct error *err)
{
	return error_set(err, EINVAL, "%s/%s: %s", c->spec, name,
			 c->lib.strerror(code));
}

static int load_trust(struct tls_credentials *c,
		      gnutls_certificate_credentials_t cred, struct error *err)
{
	struct error none = ERROR_INIT;
	gnutls_datum_t file;
	int n, ret = read_in(c, "ca-cert.pem", false, &file, err);

	if (ret < 0)
		return ret;
	n = c->lib.certificate_set_x509_trust_mem(cred, &file,
						  GNUTLS_X509_FMT_PEM);
	tls_file_free(&file);
	if (n <= 0)
		return refuse(c, "ca-cert.pem",
			      n ? n : GNUTLS_E_NO_CERTIFICATE_FOUND, err);
	ret = read_in(c, "ca-crl.pem", false, &file, &none);
	if (ret == -ENOENT)
		return 0;
	if (ret < 0)
		return error_set(err, none.code, "%s", none.msg);
	n = c->lib.certificate_set_x509_crl_mem(cred, &file,
						GNUTLS_X509_FMT_PEM);
	tls_file_free(&file);
	return n < 0 ? refuse(c, "ca-crl.pem", n, err) : 0;
}

static int load_pair(struct tls_credentials *c,
		     gnutls_certificate_credentials_t cred, const char *who,
		     struct error *err)
{
	char cert[32], key[32];
	gnutls_datum_t cert_file, key_file = { 0 };
	int ret;

	snprintf(cert, sizeof(cert), "%s-cert.pem", who);
	snprintf(key, sizeof(key), "%s-key.pem", who);
	ret = read_in(c, cert, false, &cert_file, err);
	if (ret == 0)
		ret = read_in(c, key, true, &key_file, err);
	if (ret == 0) {
		int code = c->lib.certificate_set_x509_key_mem2(cred, &cert_file,
				&key_file, GNUTLS_X509_FMT_PEM, NULL, 0);

		if (code < 0)
			ret = refuse(c, key, code, err);
	}
	tls_file_free(&cert_file);
	tls_file_free(&key_file);
	return ret;
}

static int load_role(struct tls_credentials *c, const char *who,
		     gnutls_certificate_credentials_t *out, struct error *err)
{
	gnutls_certificate_credentials_t cred;
	int ret;

	if (c->lib.certificate_allocate_credentials(&cred) < 0)
		return error_set(err, ENOMEM, "no memory for certificates");
	ret = load_trust(c, cred, err);
	if (ret == 0)
		ret = load_pair(c, cred, who, err);
	if (ret == 0)
		*out = cred;
	else
		c->lib.certificate_free_credentials(cred);
	return ret;
}

int tls_load_certificates(struct tls_credentials *c, unsigned int roles,
			  struct error *err)
{
	static const struct {
		enum tls_role role;
		const char *who;
	} sides[] = { { TLS_CLIENT, "client" }, { TLS_SERVER, "server" } };

	for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
		struct error why = ERROR_INIT;
		int ret = load_role(c, sides[i].who, sides[i].role == TLS_CLIENT ?
				    &c->cert_client : &c->cert_server, &why);

		if (ret == 0 ||
		    (ret == -ENOENT && !(roles & sides[i].role)))
			continue;
		*err = why;
		return ret;
	}
	return 0;
}

int tls_spec_check(const char *spec, struct error *err)
{
	const char *path = strncmp(spec, "psk=", 4) ? spec : spec + 4;

	if (*path && *path != ',' && strlen(spec) < PATH_MAX)
		return 0;
	return error_set(err, EINVAL, "expected a directory with certificates, or psk=FILE");
}

int tls_credentials_load(struct tls_credentials **out, const char *spec,
			 unsigned int roles, struct error *err)
{
	int ret = tls_spec_check(spec, err);
	struct tls_credentials *c;

	if (ret < 0)
		return ret;
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_set(err, ENOMEM, "no memory for credentials");
	strcpy(c->spec, spec);
	c->psk = !strncmp(spec, "psk=", 4);
	ret = tls_library_load(&c->lib, err);
	if (ret == 0)
		ret = c->psk ? tls_load_keys(c, err) :
			       tls_load_certificates(c, roles, err);
	if (ret == 0)
		*out = c;
	else
		tls_credentials_free(c);
	return ret;
}

const char *tls_credentials_spec(const struct tls_credentials *c)
{
	return c->spec;
}

void tls_credentials_free(struct tls_credentials *c)
{
	if (!c)
		return;
	if (c->cert_client)
		c->lib.certificate_free_credentials(c->cert_client);
	if (c->cert_server)
		c->lib.certificate_free_credentials(c->cert_server);
	if (c->psk_client)
		c->lib.psk_free_client_credentials(c->psk_client);
	if (c->psk_server)
		c->lib.psk_free_server_credentials(c->psk_server);
	if (c->keys)
		explicit_bzero(c->keys, TLS_MAX_KEYS * sizeof(*c->keys));
	free(c->keys);
	free(c);
}
