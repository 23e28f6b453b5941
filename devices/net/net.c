/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network backends by name: finds the driver of "SCHEME" or "SCHEME:REST". */
#include "devices/net/net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A build may have no driver at all, then the linker makes no section. */
extern const struct net_driver *const __start_net_drivers[]
	__attribute__((weak));
extern const struct net_driver *const __stop_net_drivers[]
	__attribute__((weak));

static const struct net_driver *driver_find(const char *scheme, size_t len)
{
	const struct net_driver *const *d;

	for (d = __start_net_drivers; d < __stop_net_drivers; d++)
		if (strlen((*d)->scheme) == len &&
		    !memcmp((*d)->scheme, scheme, len))
			return *d;
	return NULL;
}

static void list_schemes(char *buf, size_t size)
{
	const struct net_driver *const *d;
	size_t n = 0;

	buf[0] = '\0';
	for (d = __start_net_drivers; d < __stop_net_drivers; d++)
		if (n < size)
			n += (size_t)snprintf(buf + n, size - n, "%s%s",
					      n ? ", " : "", (*d)->scheme);
}

int net_check(const char *backend, struct error *err)
{
	char known[256];

	if (driver_find(backend, strcspn(backend, ":")))
		return 0;
	list_schemes(known, sizeof(known));
	return error_set(err, EINVAL, "no such backend; this binary knows %s",
			 known[0] ? known : "none");
}

int net_open(struct net **out, const char *backend, struct loop *loop,
	     const struct log *log, struct error *err)
{
	const struct net_driver *drv;
	int ret = net_check(backend, err);

	drv = driver_find(backend, strcspn(backend, ":"));
	if (!ret)
		ret = drv->open(out, backend, loop, log, err);
	if (ret) {
		error_prefix(err, "network %s", backend);
		return ret;
	}
	(*out)->driver = drv;
	return 0;
}

void net_close(struct net *net)
{
	if (net)
		net->driver->close(net);
}
