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

static const char *const disks[] = {
	[DISKS_FREE] = "free",
	[DISKS_MOVING] = "moving",
	[DISKS_HELD] = "held",
};

static void print_edge(FILE *out, const struct machine *m,
		       const struct machine_edge *e)
{
	fprintf(out, "    %s --> %s: %s", m->states[e->state].name,
		m->states[e->next].name, m->events[e->event]);
	if (e->action)
		fprintf(out, " / %s", e->action_name);
	fputc('\n', out);
}

void machine_print(FILE *out, const struct machine *m)
{
	fprintf(out, "| state | stage shown | disks | meaning |\n"
		     "|---|---|---|---|\n");
	for (unsigned int i = 1; i < m->nstates; i++)
		fprintf(out, "| %s%s | %s | %s | %s |\n", m->states[i].name,
			m->states[i].work ? "" : " (final)",
			migration_stage_name(m->states[i].stage),
			disks[m->states[i].disks], m->states[i].doc);
	fprintf(out, "\n```mermaid\nstateDiagram-v2\n    [*] --> %s\n",
		m->states[m->start].name);
	for (unsigned int i = 0; i < m->nedges; i++)
		print_edge(out, m, &m->edges[i]);
	fprintf(out, "```\n");
}

/* An edge into the pause, or from a state in it or behind it. */
static bool in_handover(const struct machine *m, const struct machine_edge *e)
{
	return m->states[e->state].stage >= MIGRATION_STAGE_STOP_AND_COPY ||
	       m->states[e->next].stage == MIGRATION_STAGE_STOP_AND_COPY;
}

static bool is_shown(const struct machine *m, unsigned int state)
{
	for (unsigned int i = 0; i < m->nedges; i++)
		if (in_handover(m, &m->edges[i]) &&
		    (m->edges[i].state == state || m->edges[i].next == state))
			return true;
	return false;
}

void machine_print_disks(FILE *out, const struct machine *m)
{
	fprintf(out, "```mermaid\nstateDiagram-v2\n"
		     "    classDef held fill:#2b6,color:#fff\n"
		     "    classDef moving fill:#fc3,color:#000\n"
		     "    classDef free fill:#fff,color:#000\n");
	for (unsigned int i = 0; i < m->nedges; i++)
		if (in_handover(m, &m->edges[i]))
			print_edge(out, m, &m->edges[i]);
	for (unsigned int i = 1; i < m->nstates; i++)
		if (is_shown(m, i))
			fprintf(out, "    class %s %s\n", m->states[i].name,
				disks[m->states[i].disks]);
	fprintf(out, "```\n");
}
