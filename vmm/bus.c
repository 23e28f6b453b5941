/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/byteorder.h"
#include "vmm/base/util.h"
#include "vmm/device.h"

void bus_init(struct bus *bus)
{
	memset(bus, 0, sizeof(*bus));
}

/* First region that ends above @addr. */
static unsigned int upper(const struct bus *bus, uint64_t addr)
{
	unsigned int lo = 0, hi = bus->nregions;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;
		const struct bus_region *r = &bus->region[mid];

		if (r->base + (r->size - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t size, struct device *dev,
	    bus_access_fn access, struct error *err)
{
	unsigned int i;
	uint64_t last;

	if (!size || add_overflows(base, size - 1, &last))
		return error_set(err, EINVAL, "%s: no such range %#llx+%#llx",
				 dev->name, (unsigned long long)base,
				 (unsigned long long)size);
	if (bus->nregions == BUS_MAX_REGIONS)
		return error_set(err, ENOSPC, "%s: more than %d address ranges",
				 dev->name, BUS_MAX_REGIONS);
	i = upper(bus, base);
	if (i < bus->nregions && bus->region[i].base <= last)
		return error_set(err, EEXIST, "%s: range %#llx+%#llx overlaps that of %s",
				 dev->name, (unsigned long long)base,
				 (unsigned long long)size,
				 bus->region[i].dev->name);
	memmove(&bus->region[i + 1], &bus->region[i],
		(bus->nregions - i) * sizeof(bus->region[0]));
	bus->region[i] = (struct bus_region){
		.base = base, .size = size, .dev = dev, .access = access
	};
	bus->nregions++;
	return 0;
}

static const struct bus_region *find(const struct bus *bus, uint64_t addr,
				     unsigned int len)
{
	unsigned int i = upper(bus, addr);

	if (i == bus->nregions || bus->region[i].base > addr ||
	    !range_within(addr - bus->region[i].base, len, bus->region[i].size))
		return NULL;
	return &bus->region[i];
}

static uint64_t load(const void *data, unsigned int len)
{
	uint64_t v = 0;

	memcpy(&v, data, len);
	return le64toh(v);
}

static void store(void *data, unsigned int len, uint64_t v)
{
	v = htole64(v);
	memcpy(data, &v, len);
}

enum bus_result bus_dispatch(struct bus *bus, uint64_t addr, void *data,
			     unsigned int len, bool is_write)
{
	const struct bus_region *r = NULL;
	enum bus_result res = BUS_UNHANDLED;
	struct bus_access access = { .len = (uint8_t)len, .is_write = is_write };

	if (len == 1 || len == 2 || len == 4 || len == 8)
		r = find(bus, addr, len);
	if (r) {
		access.offset = addr - r->base;
		if (is_write)
			access.value = load(data, len);
		device_lock(r->dev);
		res = r->access(r->dev, &access);
		device_unlock(r->dev);
	}
	if (res == BUS_UNHANDLED)
		atomic_fetch_add(&bus->unhandled, 1);
	if (!is_write) {
		if (res == BUS_OK)
			store(data, len, access.value);
		else
			memset(data, 0xff, len);
	}
	return res;
}
