/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State machines as tables. A state has work, which blocks until something
 * happened and says which event that was; an edge {state, event, next, action}
 * says what follows. From the same tables come the names, the pages in
 * PROTOCOL.md and the test that walks every edge.
 */
#ifndef GODWIT_MIGRATION_MACHINE_H
#define GODWIT_MIGRATION_MACHINE_H

#include <stdbool.h>
#include <stdio.h>

#include "migration/stats.h"

/* What a side holds, in a state, of what only one may have of the disks. */
enum machine_disks {
	DISKS_FREE = 1,		/* nothing, and the VM does not run */
	DISKS_MOVING,		/* it gives them up, or takes them */
	DISKS_HELD,		/* every lock; only here may it run */
};

/* 0 is no state and no event. */
struct machine_state {
	const char *name;
	const char *doc;
	enum migration_stage stage;	/* shown to users */
	unsigned int (*work)(void *ctx);	/* NULL: a final state */
	bool before_go;			/* cancelling is possible */
	enum machine_disks disks;
};

struct machine_edge {
	unsigned int state, event, next;
	void (*action)(void *ctx);	/* may be NULL */
	const char *action_name;
};

struct machine {
	const char *name;
	const struct machine_state *states;	/* by state number */
	unsigned int nstates;			/* with the invalid 0 */
	const char *const *events;		/* names by event number */
	unsigned int nevents;
	const struct machine_edge *edges;
	unsigned int nedges;
	unsigned int start;
	/* taken where the table has no edge: our own error, never run on */
	unsigned int bug;
};

#define MACHINE_EDGE(s, e, n, act) \
	{ .state = (s), .event = (e), .next = (n), .action = (act), \
	  .action_name = #act }

/* The edge for @event in @state, or NULL. */
const struct machine_edge *machine_find(const struct machine *m,
					unsigned int state,
					unsigned int event);
/*
 * Run from m->start to a final state, which is returned. entered() is called
 * for every state, before its work.
 */
unsigned int machine_run(const struct machine *m, void *ctx,
			 void (*entered)(void *ctx, unsigned int state));
/* The section of PROTOCOL.md: states, and edges. */
void machine_print(FILE *out, const struct machine *m);
/* The section of OWNERSHIP.md: of the states from the pause on, who holds. */
void machine_print_disks(FILE *out, const struct machine *m);

extern const struct machine source_machine;
extern const struct machine destination_machine;

#endif
