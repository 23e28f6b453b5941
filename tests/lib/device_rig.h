/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine with one device on a board's bus: a test's state. */
#ifndef GODWIT_TESTS_DEVICE_RIG_H
#define GODWIT_TESTS_DEVICE_RIG_H

#include <stdlib.h>

#include "tests/lib/fake_env.h"
#include "vmm/base/util.h"

struct rig {
	struct fake_env env;
	struct device *dev;
};

/* As fake_device(). */
static inline struct rig *rig_new(const char *bus, const char *compatible,
				  uint64_t base, uint64_t size,
				  unsigned int gsi)
{
	struct rig *r = calloc(1, sizeof(*r));

	fake_env_init(&r->env, MIB);
	r->dev = fake_device(&r->env, bus, compatible, base, size, gsi, NULL,
			     NULL);
	return r;
}

static inline int teardown(void **state)
{
	struct rig *r = *state;

	fake_device_destroy(r->dev);
	fake_env_exit(&r->env);
	free(r);
	return 0;
}

#endif
