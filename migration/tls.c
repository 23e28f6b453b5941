/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/tls.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel.h"
#include "migration/tls_private.h"
#include "vmm/base/util.h"

#define RECORD_BYTES 16384	/* RFC 8446, 5.1 */

/*
 * AES-128 first: where the processor has it in hardware, migrations are bound
 * by it, and nobody breaks it. A key alone is no forward secrecy, so with keys
 * there is a Diffie-Hellman exchange, too.
 */
#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:" \
	"+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"
#define PRIORITY_PSK PRIORITY ":-KX-ALL:+ECDHE-PSK:+DHE-PSK"

struct tls {
	const struct tls_credentials *c;
	gnutls_session_t session;
	enum tls_role role;
	bool done;			/* the handshake */
	char name[TLS_NAME_MAX];	/* the server's */
	gnutls_typed_vdata_st verify[2];	/* GnuTLS looks while it shakes */
	struct tls_peer peer;
	bool unsent;			/* a record that the socket didn't take */
	uint8_t out[RECORD_BYTES];
};

/* -- bytes ---------------------------------------------------------------- */

/* What GnuTLS says, as an errno; ch->why has it in words. */
static ssize_t judge(struct channel *ch, ssize_t code)
{
	const struct tls_library *lib = &ch->tls->c->lib;

	if (code == GNUTLS_E_AGAIN)
		return -EAGAIN;
	if (code == GNUTLS_E_INTERRUPTED || !lib->error_is_fatal((int)code))
		return -EINTR;
	if (code == GNUTLS_E_FATAL_ALERT_RECEIVED)
		ch->why = lib->alert_get_name(lib->alert_get(ch->tls->session));
	else if (code == GNUTLS_E_PREMATURE_TERMINATION ||
		 code == GNUTLS_E_PULL_ERROR || code == GNUTLS_E_PUSH_ERROR)
		ch->why = "the connection was lost";
	else
		ch->why = lib->strerror((int)code);
	/* a damaged record is the link's fault as much as a lost one */
	return -ECONNRESET;
}

/* A record may bring less than asked for; what was decrypted already waits in
 * no socket, so it is taken along. */
static ssize_t tls_readv(struct channel *ch, const struct iovec *iov, int n)
{
	const struct tls_library *lib = &ch->tls->c->lib;
	size_t sum = 0, at = 0;

	while (n && (!sum || lib->record_check_pending(ch->tls->session))) {
		ssize_t got = lib->record_recv(ch->tls->session,
					       (char *)iov->iov_base + at,
					       iov->iov_len - at);

		if (got <= 0)
			return sum ? (ssize_t)sum :
			       got ? judge(ch, got) : 0;
		sum += (size_t)got;
		at += (size_t)got;
		while (n && at == iov->iov_len) {
			iov++;
			n--;
			at = 0;
		}
	}
	return (ssize_t)sum;
}

static size_t gather(uint8_t *to, const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (; n && sum < RECORD_BYTES; iov++, n--) {
		size_t len = MIN(iov->iov_len, RECORD_BYTES - sum);

		memcpy(to + sum, iov->iov_base, len);
		sum += len;
	}
	return sum;
}

/* A record at a time, made from many small pieces. The caller comes again with
 * the same bytes after -EAGAIN; they are encrypted already. */
static ssize_t tls_writev(struct channel *ch, const struct iovec *iov, int n)
{
	struct tls *t = ch->tls;
	ssize_t put;

	if (t->unsent)
		put = t->c->lib.record_send(t->session, NULL, 0);
	else
		put = t->c->lib.record_send(t->session, t->out,
					    gather(t->out, iov, n));
	t->unsent = put == GNUTLS_E_AGAIN || put == GNUTLS_E_INTERRUPTED;
	return put < 0 ? judge(ch, put) : put;
}

static bool tls_pending(const struct channel *ch)
{
	return ch->tls->c->lib.record_check_pending(ch->tls->session) > 0;
}

/* Best effort: a socket that takes nothing any more is cut. */
static void tls_finish(struct channel *ch)
{
	if (ch->tls->done)
		ch->tls->c->lib.bye(ch->tls->session, GNUTLS_SHUT_WR);
}

static void tls_close(struct channel *ch)
{
	ch->tls->c->lib.deinit(ch->tls->session);
	explicit_bzero(ch->tls->out, sizeof(ch->tls->out));
	free(ch->tls);
	ch->tls = NULL;
}

static const struct channel_ops tls_ops = {
	.readv = tls_readv,
	.writev = tls_writev,
	.pending = tls_pending,
	.finish = tls_finish,
	.close = tls_close,
};

/* -- who is there ---------------------------------------------------------- */

static void add_name(struct tls_peer *p, const char *name, size_t len)
{
	/* a NUL inside would hide what comes behind it */
	if (p->nnames == TLS_MAX_NAMES || !len || len >= TLS_NAME_MAX ||
	    memchr(name, '\0', len))
		return;
	memcpy(p->name[p->nnames], name, len);
	p->name[p->nnames++][len] = '\0';
}

static void read_names(const struct tls_library *lib, gnutls_x509_crt_t crt,
		       struct tls_peer *p)
{
	char buf[TLS_NAME_MAX];
	size_t len = sizeof(p->dn);

	if (lib->x509_crt_get_dn(crt, p->dn, &len) < 0)
		strcpy(p->dn, "");
	len = sizeof(buf);
	if (lib->x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0,
					buf, &len) == 0)
		add_name(p, buf, len);
	for (unsigned int i = 0; ; i++) {
		int type;

		len = sizeof(buf);
		type = lib->x509_crt_get_subject_alt_name(crt, i, buf, &len,
							  NULL);
		if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		if (type == GNUTLS_SAN_DNSNAME)
			add_name(p, buf, len);
	}
	snprintf(p->id, sizeof(p->id), "%s", p->dn);
}

static int peer_certificate(struct tls *t, struct error *err)
{
	const struct tls_library *lib = &t->c->lib;
	unsigned int n = 0;
	const gnutls_datum_t *chain = lib->certificate_get_peers(t->session,
								 &n);
	gnutls_x509_crt_t crt;
	int ret = -1;

	if (!n || lib->x509_crt_init(&crt) < 0)
		return error_set(err, EACCES, "TLS: no certificate");
	if (lib->x509_crt_import(crt, chain, GNUTLS_X509_FMT_DER) == 0) {
		read_names(lib, crt, &t->peer);
		ret = 0;
	}
	lib->x509_crt_deinit(crt);
	return ret ? error_set(err, EACCES, "TLS: unreadable certificate") : 0;
}

/* A server learns its client's name; a client knows of its server that it has
 * the same key. */
static int peer_key(struct tls *t, struct error *err)
{
	const char *name = t->role == TLS_SERVER ?
		t->c->lib.psk_server_get_username(t->session) : "server";

	if (!name)
		return error_set(err, EACCES, "TLS: the other side showed no key");
	t->peer.psk = true;
	add_name(&t->peer, name, strlen(name));
	snprintf(t->peer.id, sizeof(t->peer.id), "psk:%s", name);
	return 0;
}

/* -- handshake ------------------------------------------------------------- */

/* Why, in words that help; the other side gets an alert. */
static int handshake_failed(struct channel *ch, int code, struct error *err)
{
	struct tls *t = ch->tls;
	const struct tls_library *lib = &t->c->lib;
	gnutls_datum_t text = { 0 };

	lib->alert_send_appropriate(t->session, code);
	if (code == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return error_set(err, ECONNREFUSED,
				 "TLS: the other side refused: %s",
				 lib->alert_get_name(lib->alert_get(t->session)));
	if (code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
	    lib->certificate_verification_status_print(
			lib->session_get_verify_cert_status(t->session),
			GNUTLS_CRT_X509, &text, 0) == 0) {
		if (t->role == TLS_CLIENT)
			error_set(err, EACCES, "TLS: the certificate of '%s': %s",
				  t->name, (char *)text.data);
		else
			error_set(err, EACCES, "TLS: the client's certificate: %s",
				  (char *)text.data);
		free(text.data);	/* GnuTLS allocates by malloc() */
		return -EACCES;
	}
	if (code == GNUTLS_E_UNEXPECTED_PACKET ||
	    code == GNUTLS_E_UNEXPECTED_PACKET_LENGTH ||
	    code == GNUTLS_E_UNSUPPORTED_VERSION_PACKET)
		return error_set(err, EPROTO,
				 "TLS: the other side does not speak it (%s)",
				 lib->strerror(code));
	if (code == GNUTLS_E_PREMATURE_TERMINATION ||
	    code == GNUTLS_E_PULL_ERROR || code == GNUTLS_E_PUSH_ERROR)
		return error_set(err, ECONNRESET,
				 "TLS: the other side closed the connection");
	return error_set(err, EACCES, "TLS: %s", lib->strerror(code));
}

int tls_handshake_step(struct channel *ch, short *events, struct error *err)
{
	struct tls *t = ch->tls;
	int code;

	do
		code = t->c->lib.handshake(t->session);
	while (code == GNUTLS_E_INTERRUPTED ||
	       (code < 0 && code != GNUTLS_E_AGAIN &&
		!t->c->lib.error_is_fatal(code)));
	if (code == GNUTLS_E_AGAIN) {
		*events = t->c->lib.record_get_direction(t->session) ?
			POLLOUT : POLLIN;
		return -EAGAIN;
	}
	if (code < 0)
		return handshake_failed(ch, code, err);
	t->done = true;
	return t->c->psk ? peer_key(t, err) : peer_certificate(t, err);
}

const struct tls_peer *tls_peer(const struct channel *ch)
{
	return &ch->tls->peer;
}

bool tls_in_kernel(const struct channel *ch)
{
	return ch->tls->c->lib.transport_is_ktls_enabled(ch->tls->session) ==
	       GNUTLS_KTLS_DUPLEX;
}

/* Valid now, signed by our CA, made for this purpose, and (of a server) for
 * this name. */
static void ask_certificate(struct tls *t)
{
	static const char client[] = GNUTLS_KP_TLS_WWW_CLIENT;
	static const char server[] = GNUTLS_KP_TLS_WWW_SERVER;
	const char *purpose = t->role == TLS_CLIENT ? server : client;
	const char *name = t->name;

	t->verify[0].type = GNUTLS_DT_KEY_PURPOSE_OID;
	memcpy(&t->verify[0].data, &purpose, sizeof(purpose));
	t->verify[1].type = GNUTLS_DT_DNS_HOSTNAME;
	memcpy(&t->verify[1].data, &name, sizeof(name));
	t->c->lib.session_set_verify_cert2(t->session, t->verify,
					   t->role == TLS_CLIENT ? 2 : 1, 0);
	if (t->role == TLS_SERVER)
		t->c->lib.certificate_server_set_request(t->session,
							 GNUTLS_CERT_REQUIRE);
}

static int set_credentials(struct tls *t, struct error *err)
{
	const struct tls_credentials *c = t->c;
	bool client = t->role == TLS_CLIENT;
	void *cert = client ? c->cert_client : c->cert_server;

	if (c->psk) {
		void *key = client ? (void *)c->psk_client : c->psk_server;

		return c->lib.credentials_set(t->session, GNUTLS_CRD_PSK, key);
	}
	if (!cert)
		return error_set(err, ENOENT, "TLS: %s has no %s-cert.pem",
				 c->spec, client ? "client" : "server");
	if (client && !t->name[0])
		return error_set(err, EINVAL,
				 "TLS: whose certificate is expected there? (--tls-name)");
	ask_certificate(t);
	return c->lib.credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, cert);
}

/* A name that is an address is not told to the server: RFC 6066, 3. */
static void tell_name(struct tls *t)
{
	size_t len = strlen(t->name);

	if (t->role == TLS_CLIENT && len && !strchr(t->name, ':') &&
	    strspn(t->name, "0123456789.") != len)
		t->c->lib.server_name_set(t->session, GNUTLS_NAME_DNS, t->name,
					  len);
}

static int configure(struct tls *t, int fd, struct error *err)
{
	const struct tls_library *lib = &t->c->lib;
	void *ptr;

	memcpy(&ptr, &t->c, sizeof(ptr));
	lib->session_set_ptr(t->session, ptr);
	if (lib->priority_set_direct(t->session, t->c->psk ? PRIORITY_PSK :
				     PRIORITY, NULL) < 0 ||
	    set_credentials(t, err) < 0)
		return err->code ? -err->code :
		       error_set(err, EINVAL, "TLS: GnuTLS refuses its settings");
	tell_name(t);
	lib->transport_set_int2(t->session, fd, fd);
	return 0;
}

int tls_start(struct channel *ch, const struct tls_credentials *c,
	      enum tls_role role, const char *name, struct error *err)
{
	struct tls *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return error_set(err, ENOMEM, "no memory for TLS");
	t->c = c;
	t->role = role;
	if (name)
		snprintf(t->name, sizeof(t->name), "%s", name);
	ret = c->lib.init(&t->session, GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
			  GNUTLS_NO_TICKETS |
			  (role == TLS_CLIENT ? GNUTLS_CLIENT : GNUTLS_SERVER));
	if (ret < 0) {
		free(t);
		return error_set(err, ENOMEM, "TLS: %s", c->lib.strerror(ret));
	}
	ret = configure(t, ch->fd, err);
	ch->tls = t;
	ch->ops = &tls_ops;
	return ret;
}
