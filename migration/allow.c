/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/allow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "migration/tls.h"

#define V4_BITS 32
#define V6_BITS 128

static int add(struct allow *a, const struct allow_entry *e, struct error *err)
{
	if (a->n == ALLOW_MAX)
		return error_set(err, E2BIG, "more than %d addresses and patterns",
				 ALLOW_MAX);
	a->entry[a->n++] = *e;
	return 0;
}

/* An address as an entry of itself alone; IPv4 in IPv6 (RFC 4291, 2.5.5.2) is
 * taken for what it is. */
static bool from_sockaddr(const struct sockaddr *addr, struct allow_entry *e)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	*e = (struct allow_entry){ .kind = ALLOW_NETWORK };
	if (addr->sa_family == AF_INET) {
		memcpy(&v4, addr, sizeof(v4));
		memcpy(e->addr, &v4.sin_addr, 4);
	} else if (addr->sa_family == AF_INET6) {
		memcpy(&v6, addr, sizeof(v6));
		if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
			memcpy(e->addr, &v6.sin6_addr.s6_addr[12], 4);
		else
			memcpy(e->addr, &v6.sin6_addr, 16);
		e->family = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) ? AF_INET :
								  AF_INET6;
		e->bits = e->family == AF_INET ? V4_BITS : V6_BITS;
		return true;
	} else {
		return false;
	}
	e->family = AF_INET;
	e->bits = V4_BITS;
	return true;
}

/* 0, -EINVAL for a wrong length, -ENOENT if it is no address at all. */
static int parse_network(const char *pattern, struct allow_entry *e,
			 struct error *err)
{
	const char *slash = strchr(pattern, '/');
	size_t len = slash ? (size_t)(slash - pattern) : strlen(pattern);
	char text[INET6_ADDRSTRLEN];
	unsigned long bits;
	char *end;

	*e = (struct allow_entry){ .kind = ALLOW_NETWORK };
	if (len >= sizeof(text))
		return -ENOENT;
	memcpy(text, pattern, len);
	text[len] = '\0';
	e->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(e->family, text, e->addr) != 1)
		return -ENOENT;
	e->bits = e->family == AF_INET ? V4_BITS : V6_BITS;
	if (!slash)
		return 0;
	bits = strtoul(slash + 1, &end, 10);
	if (slash[1] < '0' || slash[1] > '9' || *end || bits > e->bits)
		return error_set(err, EINVAL, "'%s': a network is ADDRESS/BITS, with 0 to %u bits",
				 pattern, e->bits);
	e->bits = (unsigned int)bits;
	return 0;
}

static int add_host(struct allow *a, const char *name, struct error *err)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list;
	struct allow_entry e;
	int ret;

	if (strpbrk(name, "*?[]/=") || !*name)
		return error_set(err, EINVAL, "'%s' is neither an address, a network, nor the name of a host; patterns are for certificates (cert:PATTERN) and keys (psk:PATTERN)",
				 name);
	ret = getaddrinfo(name, NULL, &hint, &list);
	if (ret)
		return error_set(err, EHOSTUNREACH, "'%s': %s", name,
				 gai_strerror(ret));
	for (struct addrinfo *ai = list; ai && ret == 0; ai = ai->ai_next)
		if (from_sockaddr(ai->ai_addr, &e))
			ret = add(a, &e, err);
	freeaddrinfo(list);
	return ret;
}

int allow_add(struct allow *a, const char *pattern, struct error *err)
{
	struct allow_entry e = { .pattern = strchr(pattern, ':') };
	int ret;

	if (!strncmp(pattern, "cert:", 5) || !strncmp(pattern, "psk:", 4)) {
		e.kind = *pattern == 'c' ? ALLOW_CERTIFICATE : ALLOW_KEY;
		e.pattern++;
		return *e.pattern ? add(a, &e, err) :
		       error_set(err, EINVAL, "'%s' has no pattern", pattern);
	}
	ret = parse_network(pattern, &e, err);
	if (ret == -ENOENT)
		return add_host(a, pattern, err);
	return ret < 0 ? ret : add(a, &e, err);
}

bool allow_has(const struct allow *a, enum allow_kind kind)
{
	for (unsigned int i = 0; a && i < a->n; i++)
		if (a->entry[i].kind == kind)
			return true;
	return false;
}

static bool within(const struct allow_entry *net, const struct allow_entry *e)
{
	unsigned int bytes = net->bits / 8, rest = net->bits % 8;
	uint8_t mask = (uint8_t)(0xff00 >> rest);

	if (net->family != e->family || memcmp(net->addr, e->addr, bytes))
		return false;
	return !rest || !((net->addr[bytes] ^ e->addr[bytes]) & mask);
}

bool allow_address(const struct allow *a, const struct sockaddr *addr)
{
	struct allow_entry from;

	if (!allow_has(a, ALLOW_NETWORK))
		return true;
	if (!from_sockaddr(addr, &from))
		return false;
	for (unsigned int i = 0; i < a->n; i++)
		if (a->entry[i].kind == ALLOW_NETWORK &&
		    within(&a->entry[i], &from))
			return true;
	return false;
}

static bool matches(const struct allow_entry *e, const struct tls_peer *p)
{
	if (p->psk)
		return e->kind == ALLOW_KEY &&
		       fnmatch(e->pattern, p->name[0], 0) == 0;
	if (e->kind != ALLOW_CERTIFICATE)
		return false;
	if (strchr(e->pattern, '='))
		return fnmatch(e->pattern, p->dn, 0) == 0;
	for (unsigned int i = 0; i < p->nnames; i++)
		if (fnmatch(e->pattern, p->name[i], FNM_CASEFOLD) == 0)
			return true;
	return false;
}

bool allow_peer(const struct allow *a, const struct tls_peer *peer)
{
	if (!allow_has(a, ALLOW_CERTIFICATE) && !allow_has(a, ALLOW_KEY))
		return true;
	for (unsigned int i = 0; peer && i < a->n; i++)
		if (matches(&a->entry[i], peer))
			return true;
	return false;
}
