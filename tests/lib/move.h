/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of one device into another, as a migration would bring it. */
#ifndef GODWIT_TESTS_MOVE_H
#define GODWIT_TESTS_MOVE_H

#include "vmm/device.h"

/* Stops @from, starts @to. Fails the test on error. */
void move_state(struct device *from, struct device *to);

#endif
