/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine for one device under test: real memory, loop and buses, counting
 * interrupt lines, and no KVM. ioeventfd answers -ENOTSUP, so that notifies
 * arrive through the bus.
 */
#ifndef GODWIT_TESTS_FAKE_ENV_H
#define GODWIT_TESTS_FAKE_ENV_H

#include "vmm/device.h"

#define FAKE_GSIS 32

struct fake_chardev {
	struct chardev chr;
	char out[65536];		/* what the device wrote */
	size_t out_len;
	unsigned int accepts;		/* accept_input() calls */
};

struct fake_env {
	struct device_env env;
	struct log log;
	struct memory mem;
	struct loop loop;
	struct bus pio, mmio;
	void *tree;			/* the device is its node /soc/... */
	struct irq_line line[FAKE_GSIS];
	int level[FAKE_GSIS];		/* as last set */
	unsigned int pulses[FAKE_GSIS];
	struct fake_chardev chr;	/* every chardev name gives this one */
	enum vm_request last_request;	/* 0 if none */
	int last_value;
	unsigned int idles;
	unsigned int io_errors;
	struct io_error last_io_error;	/* its strings may be gone */
};

/* @mem_bytes of RAM at 0. Aborts the test on failure. */
void fake_env_init(struct fake_env *f, uint64_t mem_bytes);
void fake_env_exit(struct fake_env *f);

/*
 * Create the device of a tree that has one node. @bus is "isa" (reg one cell
 * each) or "soc" (two cells each). @add_props adds properties of its own by
 * fdt_property*() and may be NULL. Fails the test on error.
 */
struct device *fake_device(struct fake_env *f, const char *bus,
			   const char *compatible, uint64_t base,
			   uint64_t size, unsigned int gsi,
			   void (*add_props)(void *fdt, void *arg), void *arg);
void fake_device_destroy(struct device *dev);

/* Access by address, as a vCPU would. */
uint64_t fake_read(struct bus *bus, uint64_t addr, unsigned int len);
void fake_write(struct bus *bus, uint64_t addr, unsigned int len,
		uint64_t value);

/* Run the loop until @cond() is true; fails the test after 20 s. */
void fake_run_until(struct fake_env *f, bool (*cond)(void *arg), void *arg);

#endif
