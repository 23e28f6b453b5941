/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may come in: a list of patterns. Two kinds ask where somebody comes from:
 *
 *   192.0.2.7, 2001:db8::1, 192.0.2.0/24	an address or network
 *   host.example		a host's addresses, looked up when it is added
 *
 * and two who somebody is:
 *
 *   cert:PATTERN	fnmatch(3) of the certificate's CN or DNS names; with a
 *			"=" in it, of its subject as RFC 4514 writes it
 *   psk:PATTERN	of the name of the key
 *
 * If there are patterns of a kind of question, one of them must match: both
 * kinds narrow each other. Without any pattern everybody may come in.
 */
#ifndef GODWIT_MIGRATION_ALLOW_H
#define GODWIT_MIGRATION_ALLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "vmm/base/error.h"

#define ALLOW_MAX 64

struct tls_peer;

enum allow_kind { ALLOW_NETWORK = 1, ALLOW_CERTIFICATE, ALLOW_KEY };

struct allow_entry {
	enum allow_kind kind;
	int family;			/* of a network */
	unsigned int bits;
	uint8_t addr[16];
	const char *pattern;		/* borrowed */
};

struct allow {
	unsigned int n;
	struct allow_entry entry[ALLOW_MAX];
};

/* @pattern is borrowed. A host's name is looked up here, and may wait. */
int allow_add(struct allow *a, const char *pattern, struct error *err)
	__must_check;
/* Is there an entry of this kind? */
bool allow_has(const struct allow *a, enum allow_kind kind);
/* May somebody knock who comes from there? */
bool allow_address(const struct allow *a, const struct sockaddr *addr);
/* May somebody come in who has proved this? NULL: nothing was proved. */
bool allow_peer(const struct allow *a, const struct tls_peer *peer);

#endif
