/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/machine.h"

#include <string.h>

const struct machine_edge *machine_find(const struct machine *m,
					unsigned int state,
					unsigned int event)
{
	for (unsigned int i = 0; i < m->nedges; i++)
		if (m->edges[i].state == state && m->edges[i].event == event)
			return &m->edges[i];
	return NULL;
}

unsigned int machine_run(const struct machine *m, void *ctx,
			 void (*entered)(void *ctx, unsigned int state))
{
	unsigned int state = m->start;

	for (;;) {
		const struct machine_edge *edge;

		entered(ctx, state);
		if (!m->states[state].work)
			return state;
		edge = machine_find(m, state, m->states[state].work(ctx));
		if (edge && edge->action)
			edge->action(ctx);
		state = edge ? edge->next : m->bug;
	}
}

void machine_print(FILE *out, const struct machine *m)
{
	fprintf(out, "| state | stage shown | meaning |\n|---|---|---|\n");
	for (unsigned int i = 1; i < m->nstates; i++)
		fprintf(out, "| %s%s | %s | %s |\n", m->states[i].name,
			m->states[i].work ? "" : " (final)",
			migration_stage_name(m->states[i].stage),
			m->states[i].doc);
	fprintf(out, "\n```mermaid\nstateDiagram-v2\n    [*] --> %s\n",
		m->states[m->start].name);
	for (unsigned int i = 0; i < m->nedges; i++) {
		const struct machine_edge *e = &m->edges[i];

		fprintf(out, "    %s --> %s: %s", m->states[e->state].name,
			m->states[e->next].name, m->events[e->event]);
		if (e->action)
			fprintf(out, " / %s", e->action_name);
		fputc('\n', out);
	}
	fprintf(out, "```\n");
}
