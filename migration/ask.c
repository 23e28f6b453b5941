/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/ask.h"

#include <errno.h>

#include "migration/channel.h"
#include "migration/message.h"
#include "vmm/base/util.h"

#define ASK_NS (3 * NSEC_PER_SEC)

static const char *const texts[] = {
	[MIGRATION_NO_ANSWER] = "does not answer",
	[MIGRATION_STRANGER] = "answers, but knows no such job (any more)",
	[MIGRATION_HAS_NO_GO] =
		"is prepared, was not told to go, and will destroy its copy",
	[MIGRATION_RUNS_THERE] = "runs the VM",
	[MIGRATION_IS_DEAD_THERE] =
		"has destroyed its copy, which never ran",
};

const char *migration_answer_text(enum migration_answer answer)
{
	return texts[answer];
}

/* Both carry the job first; an answer about another one is none. */
static bool about(const struct message *m, const struct wire_job *job)
{
	char why[WIRE_MAX_TEXT + 1];
	struct wire_prepared prepared;
	struct wire_running running;
	struct error ignored = ERROR_INIT;
	struct wire_job got = { 0 };

	if (m->type == WIRE_PREPARED &&
	    wire_prepared_decode(m->payload, m->len, &prepared, &ignored) == 0)
		got = prepared.job;
	else if (m->type == WIRE_RUNNING &&
		 wire_running_decode(m->payload, m->len, &running,
				     &ignored) == 0)
		got = running.job;
	else if (m->type == WIRE_DEAD)
		(void)!wire_reason_decode(m->payload, m->len, &got, why,
					  &ignored);
	return wire_job_equal(&got, job);
}

static enum migration_answer judge(const struct message *m,
				   const struct wire_job *job,
				   struct error *err)
{
	if (m->type == WIRE_REFUSE)
		return MIGRATION_STRANGER;
	if (!about(m, job)) {
		error_set(err, EPROTO, "unexpected %s", wire_type_name(m->type));
		return MIGRATION_NO_ANSWER;
	}
	if (m->type == WIRE_RUNNING)
		return MIGRATION_RUNS_THERE;
	return m->type == WIRE_DEAD ? MIGRATION_IS_DEAD_THERE :
				      MIGRATION_HAS_NO_GO;
}

enum migration_answer migration_ask(const char *uri,
				    const struct channel_security *security,
				    const struct wire_job *job,
				    struct error *err)
{
	struct wire_hello hello = {
		.oldest = WIRE_VERSION,
		.newest = WIRE_VERSION,
		.role = WIRE_ROLE_QUERY,
		.job = *job,
	};
	enum migration_answer answer = MIGRATION_NO_ANSWER;
	uint64_t deadline = now_ns() + ASK_NS;
	struct channel ch;
	struct message m;

	if (channel_connect(&ch, uri, security, -1, deadline, err) == 0 &&
	    message_hello(&ch, &hello, deadline, err) == 0 &&
	    message_send_job(&ch, WIRE_QUERY, job, NULL, deadline, err) == 0) {
		if (message_recv(&ch, &m, deadline, err) == 0)
			answer = judge(&m, job, err);
		message_free(&m);
	}
	channel_close(&ch);
	return answer;
}
