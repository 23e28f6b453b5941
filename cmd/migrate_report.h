/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What people see of a migration: stages, a progress line, the job report. */
#ifndef GODWIT_CMD_MIGRATE_REPORT_H
#define GODWIT_CMD_MIGRATE_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* What was shown last; starts as zeroes. Goes to standard error. */
struct migrate_progress {
	char stage[32];
	bool line_open;		/* a progress line stands without its end */
};

void migrate_progress_stage(struct migrate_progress *p, const char *stage);
/* @report is an answer of query-migrate. */
void migrate_progress_show(struct migrate_progress *p, const json_t *report);
void migrate_progress_end(struct migrate_progress *p);
/* A dry run's: would the VM move? */
bool migrate_would_go(const json_t *report);
void migrate_forecast_print(FILE *out, const char *vm, const char *uri,
			    const json_t *report);
void migrate_report_print(FILE *out, const char *vm, const char *uri,
			  const json_t *report);

#endif
