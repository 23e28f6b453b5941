/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/move.h"

#include <stdio.h>
#include <stdlib.h>

static void must(int ret, const struct error *err)
{
	if (!ret)
		return;
	fprintf(stderr, "move_state: %s\n", err->msg);
	abort();
}

void move_state(struct device *from, struct device *to)
{
	const struct state_table *table = from->class->state;
	struct error err = ERROR_INIT;
	struct state_writer w;
	size_t len;
	void *fdt;

	if (from->class->stop)
		from->class->stop(from);
	must(state_writer_init(&w, &err), &err);
	must(state_save(&w, "device", table, from, &err), &err);
	must(state_writer_finish(&w, &fdt, &len, &err), &err);
	must(state_check(fdt, len, &err), &err);
	must(state_load(fdt, "device", table, to, &err), &err);
	if (to->class->start)
		must(to->class->start(to, &err), &err);
	free(fdt);
}
