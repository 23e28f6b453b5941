/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * godwit resolve: after a migration whose end nobody knows. Shows what each
 * side can prove; with --here or --there acts on it, unless it is disproved.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cmd/client.h"
#include "cmd/commands.h"
#include "cmd/runtime.h"
#include "migration/ask.h"
#include "migration/record.h"
#include "migration/tls.h"

struct resolve_config {
	bool here, there;
};

static const struct option_spec options[] = {
	{ "here", NULL, "Run the VM here: its disks' locks are taken first. Without\n"
	  "locks (NBD, a disk that was copied) nothing but you knows that\n"
	  "it does not run there.",
	  .parse = option_bool, .offset = offsetof(struct resolve_config, here) },
	{ "there", NULL, "Give the VM up here: it runs on the other side.",
	  .parse = option_bool, .offset = offsetof(struct resolve_config, there) },
};

/* What is known of the job. */
struct case_file {
	const char *vm;
	char dir[PATH_MAX];
	struct record_info record;
	struct client *client;		/* NULL: its process has ended */
	enum migration_answer answer;
};

/* As the migration did: with its credentials, or in plain TCP. */
static enum migration_answer ask(const struct record_info *r,
				 struct error *why)
{
	struct channel_security security = {
		.plain = r->plain,
		.tls_name = r->tls_name[0] ? r->tls_name : NULL,
	};
	enum migration_answer answer = MIGRATION_NO_ANSWER;
	struct tls_credentials *tls = NULL;

	if (!r->tls[0] ||
	    tls_credentials_load(&tls, r->tls, TLS_CLIENT, why) == 0) {
		security.tls = tls;
		answer = migration_ask(r->uri, &security, &r->job, why);
	}
	tls_credentials_free(tls);
	return answer;
}

static void show(struct case_file *f)
{
	const struct record_info *r = &f->record;
	struct error why = ERROR_INIT;

	f->answer = ask(r, &why);
	printf("record here: the VM %s given to %s\n",
	       r->going ? "may have been" : "was not", r->uri);
	printf("process here: %s\n", f->client ?
		"lives, and holds the VM as it was when it was paused" :
		"has ended, and the memory of the VM with it");
	printf("other side: %s%s%s\n", migration_answer_text(f->answer),
	       f->answer == MIGRATION_NO_ANSWER ? ": " : "",
	       f->answer == MIGRATION_NO_ANSWER ? why.msg : "");
	fflush(stdout);
}

/* The record of the side that this host was; the source's tells more. */
static int look_up(struct case_file *f, struct error *err)
{
	int ret;

	runtime_state_dir(f->dir, sizeof(f->dir));
	ret = record_find(f->dir, f->vm, RECORD_SOURCE, &f->record, err);
	if (ret == 0)
		return 0;
	if (record_find(f->dir, f->vm, RECORD_DESTINATION, &f->record,
			err) == 0)
		return error_set(err, EINVAL, "'%s' came here by a migration that %s; `godwit resolve %s` belongs on the host where it came from",
				 f->vm, f->record.going ?
				 "may have run it" : "was never told to go, so it did not run",
				 f->vm);
	error_prefix(err, "nothing to settle");
	return ret;
}

static int end_here(struct case_file *f, struct error *err)
{
	if (f->answer == MIGRATION_IS_DEAD_THERE)
		return error_set(err, EINVAL, "the copy on the other side was destroyed: the VM would be lost; use --here");
	if (f->client && client_call(f->client, "quit", NULL, NULL, err) < 0)
		return -err->code;
	printf("'%s' is given up here.\n", f->vm);
	return record_remove(f->dir, &f->record, err);
}

static int run_here(struct case_file *f, struct error *err)
{
	if (f->answer == MIGRATION_RUNS_THERE)
		return error_set(err, EINVAL, "it runs on the other side, which says so itself; use --there");
	if (f->answer == MIGRATION_HAS_NO_GO)
		return error_set(err, EAGAIN, "the other side still has its copy; ask again in some seconds");
	if (f->client) {
		/* the process removes its record itself */
		if (client_call(f->client, "cont",
				json_pack("{s:b}", "x-force", 1), NULL, err) < 0)
			return -err->code;
		fprintf(stderr, "WARNING: '%s' runs HERE now. See that it does not run at %s as well: a disk without locks is written twice then.\n",
			f->vm, f->record.uri);
		return 0;
	}
	printf("'%s' may be booted from its disks here: `godwit run --name %s ...`\n",
	       f->vm, f->vm);
	return record_remove(f->dir, &f->record, err);
}

/* Has it been started there without all of its memory? */
static bool follows(const struct case_file *f, const json_t *now)
{
	const json_t *job = json_object_get(now, "x-job");

	return !strncmp(client_str(now, "status"), "postcopy", 8) ||
	       (f->answer == MIGRATION_RUNS_THERE &&
		!strcmp(client_str(job, "type"), "post-copy") &&
		!strcmp(client_str(job, "outcome"), "unknown"));
}

/* In post-copy there is nothing to settle: it runs there, and needs this side. */
static int check_following(struct case_file *f, struct error *err)
{
	json_t *now = NULL;
	bool following = f->client &&
		!client_call(f->client, "query-migrate", NULL, &now, err) &&
		follows(f, now);

	json_decref(now);
	error_clear(err);
	return following ? error_set(err, EBUSY, "'%s' runs on the other side, and memory that it needs is still here: `godwit migrate --recover %s` if the link was lost",
				     f->vm, f->vm) : 0;
}

static int settle(struct case_file *f, const struct resolve_config *c,
		  struct error *err)
{
	struct error gone = ERROR_INIT;
	int ret = look_up(f, err);

	if (ret < 0)
		return ret;
	if (f->record.alive && client_open(&f->client, f->vm, &gone) < 0)
		return error_set(err, gone.code, "a process of '%s' lives, but does not answer: %s",
				 f->vm, gone.msg);
	show(f);
	if (c->here || c->there)
		ret = check_following(f, err);
	if (ret < 0)
		return ret;
	if (c->here)
		return run_here(f, err);
	if (c->there)
		return end_here(f, err);
	printf("then: `godwit resolve %s --here` or `--there`\n", f->vm);
	return 0;
}

static int resolve_main(const struct command *cmd, int argc, char **argv)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct resolve_config config = { .here = false };
	struct error err = ERROR_INIT;
	struct case_file f = { 0 };
	int status;

	if (!command_parse(cmd, argc, argv, &config, args, &status))
		return status;
	f.vm = args[0];
	if (config.here && config.there)
		error_set(&err, EINVAL, "options --here and --there: only one of them can be true");
	else
		(void)!settle(&f, &config, &err);
	client_close(f.client);
	return err.code ? command_fail(&err) : 0;
}

const struct command cmd_resolve = {
	.name = "resolve",
	.args = "VM",
	.summary = "Settle where a VM runs after a migration with unknown end.",
	.about = "Without an option it only shows what each side can prove.",
	COMMAND_OPTIONS(options),
	.min_args = 1, .max_args = 1,
	.run = resolve_main,
};
