/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pre-shared keys: the file, as psktool(1) writes it, and both roles. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "migration/tls_private.h"
#include "vmm/base/util.h"

/* RFC 8446 wants no more entropy than a hash; less than this is a password. */
#define KEY_LEAST 16

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* "NAME:KEY"; never is a part of the line in the error. */
static int parse_key(const char *line, struct tls_key *key)
{
	const char *colon = strchr(line, ':');
	size_t name = colon ? (size_t)(colon - line) : 0;
	size_t digits = colon ? strlen(colon + 1) : 0;

	if (!name || name >= sizeof(key->name) || digits % 2 ||
	    digits < 2 * KEY_LEAST || digits > 2 * sizeof(key->key))
		return -EINVAL;
	memcpy(key->name, line, name);
	key->name[name] = '\0';
	key->len = (unsigned int)(digits / 2);
	for (size_t i = 0; i < key->len; i++) {
		int high = hex_digit(colon[1 + 2 * i]);
		int low = hex_digit(colon[2 + 2 * i]);

		if (high < 0 || low < 0)
			return -EINVAL;
		key->key[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int parse_file(struct tls_credentials *c, const char *path, char *text,
		      struct error *err)
{
	unsigned int number = 0;
	char *line;

	while ((line = strsep(&text, "\n"))) {
		number++;
		if (!*line || *line == '#')
			continue;
		if (c->nkeys == TLS_MAX_KEYS)
			return error_set(err, E2BIG, "%s: more than %d keys",
					 path, TLS_MAX_KEYS);
		if (parse_key(line, &c->keys[c->nkeys]) < 0)
			return error_set(err, EINVAL,
					 "%s: line %u is not NAME:KEY, with a key of %d to %zu bytes in hexadecimal",
					 path, number, KEY_LEAST,
					 sizeof(c->keys->key));
		c->nkeys++;
	}
	if (!c->nkeys)
		return error_set(err, EINVAL, "%s: no key in it", path);
	return 0;
}

static const struct tls_key *find_key(const struct tls_credentials *c,
				      const void *name, size_t len)
{
	for (unsigned int i = 0; i < c->nkeys; i++)
		if (strlen(c->keys[i].name) == len &&
		    !memcmp(c->keys[i].name, name, len))
			return &c->keys[i];
	return NULL;
}

/* A client gave its name: GnuTLS frees what it gets here. Nothing but the
 * session is handed in, so the way to the library is looked up again. */
static int on_username(gnutls_session_t session, const gnutls_datum_t *name,
		       gnutls_datum_t *out)
{
	struct error ignored = ERROR_INIT;
	const struct tls_key *key;
	struct tls_library lib;

	if (tls_library_load(&lib, &ignored) < 0)
		return -1;
	key = find_key(lib.session_get_ptr(session), name->data, name->size);
	out->data = key ? malloc(key->len) : NULL;
	if (!out->data)
		return -1;
	memcpy(out->data, key->key, key->len);
	out->size = key->len;
	return 0;
}

static int set_server(struct tls_credentials *c, struct error *err)
{
	if (c->lib.psk_allocate_server_credentials(&c->psk_server) < 0)
		return error_set(err, ENOMEM, "no memory for keys");
	c->lib.psk_set_server_credentials_function2(c->psk_server, on_username);
	return 0;
}

static int set_client(struct tls_credentials *c, const struct tls_key *key,
		      struct error *err)
{
	gnutls_datum_t name, secret = { .size = key->len };
	const uint8_t *bytes = key->key;
	const char *text = key->name;

	name.size = (unsigned int)strlen(key->name);
	memcpy(&name.data, &text, sizeof(text));
	memcpy(&secret.data, &bytes, sizeof(bytes));
	if (c->lib.psk_allocate_client_credentials(&c->psk_client) < 0 ||
	    c->lib.psk_set_client_credentials2(c->psk_client, &name, &secret,
					       GNUTLS_PSK_KEY_RAW) < 0)
		return error_set(err, ENOMEM, "no memory for a key");
	return 0;
}

/* psk=FILE[,id=NAME]; FILE may be the directory of keys.psk. */
static void split_spec(const char *spec, char path[2 * PATH_MAX],
		       const char **id)
{
	const char *rest = spec + strlen("psk=");
	const char *comma = strstr(rest, ",id=");
	int len = comma ? (int)(comma - rest) : (int)strlen(rest);
	struct stat st;

	*id = comma ? comma + strlen(",id=") : NULL;
	snprintf(path, PATH_MAX, "%.*s", len, rest);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		strcat(path, "/keys.psk");
}

static const struct tls_key *choose(const struct tls_credentials *c,
				    const char *path, const char *id,
				    struct error *err)
{
	const struct tls_key *key = id ? find_key(c, id, strlen(id)) : c->keys;

	if (!key)
		error_set(err, ENOENT, "%s: no key of the name '%s'", path, id);
	return key;
}

/* As a client this side is who its first key says, or the one with the id. */
int tls_load_keys(struct tls_credentials *c, struct error *err)
{
	const struct tls_key *key;
	char path[2 * PATH_MAX];
	gnutls_datum_t file;
	const char *id;
	int ret;

	split_spec(c->spec, path, &id);
	ret = tls_file_read(path, true, &file, err);
	if (ret < 0)
		return ret;
	c->keys = calloc(TLS_MAX_KEYS, sizeof(*c->keys));
	if (!c->keys)
		ret = error_set(err, ENOMEM, "no memory for keys");
	else
		ret = parse_file(c, path, (char *)file.data, err);
	tls_file_free(&file);
	if (ret < 0)
		return ret;
	key = choose(c, path, id, err);
	if (!key)
		return -err->code;
	ret = set_client(c, key, err);
	return ret < 0 ? ret : set_server(c, err);
}
