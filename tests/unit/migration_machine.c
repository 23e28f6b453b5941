/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migration/destination_private.h"
#include "migration/machine.h"
#include "migration/source_private.h"

static const struct machine *const machines[] = {
	&source_machine,
	&destination_machine,
};

static unsigned int count_from(const struct machine *m, unsigned int state)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->nedges; i++)
		n += m->edges[i].state == state;
	return n;
}

static void every_working_state_has_a_way_out(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(machines); k++)
		for (unsigned int i = 1; i < machines[k]->nstates; i++)
			assert_int_equal(count_from(machines[k], i) != 0,
					 machines[k]->states[i].work != NULL);
}

static void no_state_has_two_edges_for_one_event(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(machines); k++) {
		const struct machine *m = machines[k];

		for (unsigned int i = 0; i < m->nedges; i++)
			assert_ptr_equal(machine_find(m, m->edges[i].state,
						      m->edges[i].event),
					 &m->edges[i]);
	}
}

static void reach(const struct machine *m, unsigned int from, bool *seen)
{
	if (seen[from])
		return;
	seen[from] = true;
	for (unsigned int i = 0; i < m->nedges; i++)
		if (m->edges[i].state == from)
			reach(m, m->edges[i].next, seen);
}

static void every_state_is_reached_and_reaches_an_end(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(machines); k++) {
		const struct machine *m = machines[k];
		bool from_start[32] = { false };

		reach(m, m->start, from_start);
		for (unsigned int i = 1; i < m->nstates; i++) {
			bool seen[32] = { false };
			bool ends = false;

			assert_true(from_start[i]);
			reach(m, i, seen);
			for (unsigned int j = 1; j < m->nstates; j++)
				ends |= seen[j] && !m->states[j].work;
			assert_true(ends);
		}
	}
}

static void every_state_and_event_has_a_name(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(machines); k++) {
		const struct machine *m = machines[k];

		for (unsigned int i = 1; i < m->nstates; i++) {
			assert_non_null(m->states[i].name);
			assert_non_null(m->states[i].doc);
			assert_in_range(m->states[i].disks, DISKS_FREE,
					DISKS_HELD);
		}
		for (unsigned int i = 1; i < m->nevents; i++)
			assert_non_null(m->events[i]);
	}
}

static void source_cancels_in_every_state_before_go(void **state)
{
	const struct machine *m = &source_machine;

	(void)state;
	for (unsigned int i = 1; i < m->nstates; i++)
		if (m->states[i].before_go)
			assert_non_null(machine_find(m, i, SOURCE_EV_CANCEL));
}

static void source_returns_after_go_only_by_dead(void **state)
{
	const struct machine *m = &source_machine;

	(void)state;
	for (unsigned int i = 0; i < m->nedges; i++) {
		const struct machine_edge *e = &m->edges[i];

		if ((e->state == SOURCE_COMMITTING ||
		     e->state == SOURCE_ASKING) &&
		    e->next == SOURCE_RETURNING)
			assert_int_equal(e->event, SOURCE_EV_DEAD);
	}
	/* nor by a way round through the states before GO */
	for (unsigned int i = 0; i < m->nedges; i++)
		if (m->states[m->edges[i].next].before_go)
			assert_true(m->states[m->edges[i].state].before_go);
}

static void source_bug_leaves_the_vm_paused(void **state)
{
	(void)state;
	assert_int_equal(source_machine.bug, SOURCE_UNKNOWN);
}

static void disks_change_hands_only_by_moving(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(machines); k++)
		for (unsigned int i = 0; i < machines[k]->nedges; i++) {
			const struct machine_edge *e = &machines[k]->edges[i];
			enum machine_disks from, to;

			from = machines[k]->states[e->state].disks;
			to = machines[k]->states[e->next].disks;
			assert_true(from == to || from == DISKS_MOVING ||
				    to == DISKS_MOVING);
		}
}

static void destination_runs_only_by_go(void **state)
{
	const struct machine *m = &destination_machine;

	(void)state;
	for (unsigned int i = 0; i < m->nedges; i++) {
		if (m->edges[i].next != DESTINATION_STARTING)
			continue;
		assert_int_equal(m->edges[i].state, DESTINATION_PREPARED);
		assert_int_equal(m->edges[i].event, DESTINATION_EV_GO);
	}
}

static void destination_destroys_its_copy_whatever_fails_before_go(
	void **state)
{
	const struct machine *m = &destination_machine;

	(void)state;
	for (unsigned int i = DESTINATION_NEGOTIATING;
	     i <= DESTINATION_ORPHANED; i++) {
		const struct machine_edge *e =
			machine_find(m, i, i == DESTINATION_ORPHANED ?
					     DESTINATION_EV_EXPIRED :
					     DESTINATION_EV_FAILED);

		assert_non_null(e);
		assert_int_equal(e->next, DESTINATION_DISCARDING);
	}
}

/* The text between the page's markers for @name; NULL if it is not there. */
static char *section(const char *page, const char *name)
{
	char mark[64];
	const char *start, *end;

	snprintf(mark, sizeof(mark), "<!-- generated: %s -->\n", name);
	start = strstr(page, mark);
	end = start ? strstr(start, "<!-- end -->") : NULL;
	if (!end)
		return NULL;
	start += strlen(mark);
	return strndup(start, (size_t)(end - start));
}

static void protocol_page_shows_the_tables_as_they_are(void **state)
{
	FILE *f = fopen("migration/PROTOCOL.md", "r");
	static char page[65536];

	(void)state;
	if (!f) {
		print_message("SKIP run outside of the source tree\n");
		skip();
	}
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	fclose(f);
	for (size_t k = 0; k < ARRAY_SIZE(machines); k++) {
		char *shown = section(page, machines[k]->name);
		char *want = NULL;
		size_t len;
		FILE *out = open_memstream(&want, &len);

		machine_print(out, machines[k]);
		fclose(out);
		assert_non_null(shown);
		assert_string_equal(shown, want);
		free(shown);
		free(want);
	}
}

/* With an argument: print that table for PROTOCOL.md; "disks" behind it: for
 * OWNERSHIP.md. */
int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_working_state_has_a_way_out),
		cmocka_unit_test(no_state_has_two_edges_for_one_event),
		cmocka_unit_test(every_state_is_reached_and_reaches_an_end),
		cmocka_unit_test(every_state_and_event_has_a_name),
		cmocka_unit_test(source_cancels_in_every_state_before_go),
		cmocka_unit_test(source_returns_after_go_only_by_dead),
		cmocka_unit_test(source_bug_leaves_the_vm_paused),
		cmocka_unit_test(disks_change_hands_only_by_moving),
		cmocka_unit_test(destination_runs_only_by_go),
		cmocka_unit_test(
			destination_destroys_its_copy_whatever_fails_before_go),
		cmocka_unit_test(protocol_page_shows_the_tables_as_they_are),
	};

	if (argc < 2)
		return cmocka_run_group_tests(tests, NULL, NULL);
	for (size_t k = 0; k < ARRAY_SIZE(machines); k++)
		if (strcmp(argv[1], machines[k]->name))
			continue;
		else if (argc > 2 && !strcmp(argv[2], "disks"))
			machine_print_disks(stdout, machines[k]);
		else
			machine_print(stdout, machines[k]);
	return 0;
}
