/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bus: address ranges, and the devices that answer there. A VM has two,
 * port I/O and memory-mapped I/O.
 *
 * The bus alone checks bounds and widths, takes the device's lock around each
 * access, and counts accesses that nobody answered (they read as all ones).
 *
 * Threads: bus_dispatch() may run on every vCPU thread at once. Regions are
 * added before the first dispatch.
 */
#ifndef GODWIT_BUS_H
#define GODWIT_BUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"

struct device;

#define BUS_MAX_REGIONS 96

struct bus_access {
	uint64_t offset;	/* from the region's base */
	uint64_t value;		/* in for a write, out for a read */
	uint8_t len;		/* 1, 2, 4 or 8 bytes, within the region */
	bool is_write;
};

enum bus_result {
	BUS_OK = 1,
	BUS_UNHANDLED,		/* no such register or width: counted */
	BUS_ERROR,		/* the device could not; it says why in its log */
};

typedef enum bus_result (*bus_access_fn)(struct device *dev,
					 struct bus_access *access);

struct bus_region {
	uint64_t base;
	uint64_t size;
	struct device *dev;
	bus_access_fn access;
};

struct bus {
	struct bus_region region[BUS_MAX_REGIONS];	/* sorted by base */
	unsigned int nregions;
	atomic_ulong unhandled;		/* accesses that nobody answered */
};

void bus_init(struct bus *bus);
/* Fails with EEXIST if the range overlaps another, ENOSPC if too many. */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, struct device *dev,
	    bus_access_fn access, struct error *err) __must_check;
/*
 * One access of @len bytes at @addr; @data is little-endian and holds the
 * value to write or receives the one read (all ones if nobody answers).
 */
enum bus_result bus_dispatch(struct bus *bus, uint64_t addr, void *data,
			     unsigned int len, bool is_write);

#endif
