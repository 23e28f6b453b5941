/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A question from outside of a migration: what became of this job? */
#ifndef GODWIT_MIGRATION_ASK_H
#define GODWIT_MIGRATION_ASK_H

#include "migration/channel.h"
#include "migration/wire.h"
#include "vmm/base/error.h"

enum migration_answer {
	MIGRATION_NO_ANSWER = 1,	/* @err says why */
	MIGRATION_STRANGER,		/* it knows no such job */
	MIGRATION_HAS_NO_GO,		/* prepared, and waits for GO */
	MIGRATION_RUNS_THERE,
	MIGRATION_IS_DEAD_THERE,	/* the copy was destroyed, never ran */
};

/* QUERY the destination at @uri; blocks for 3 s at most. */
enum migration_answer migration_ask(const char *uri,
				    const struct channel_security *security,
				    const struct wire_job *job,
				    struct error *err);
/* What it says, as half a sentence: "the other side ...". */
const char *migration_answer_text(enum migration_answer answer);

#endif
