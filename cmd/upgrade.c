/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * godwit upgrade: a VM goes on in a new process, of another godwit. That one is
 * started here, for the VM's own process may start none, and waits in a
 * directory of its own until the VM comes; then it takes the name of its control
 * socket over. Until GO nothing of the old process is touched.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/client.h"
#include "cmd/commands.h"
#include "cmd/migrate_report.h"
#include "cmd/runtime.h"
#include "cmd/upgrade_spawn.h"
#include "cmd/watch.h"
#include "migration/channel.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define FILES_NS (2 * NSEC_PER_SEC)
#define START_NS (20 * NSEC_PER_SEC)
#define END_MS 20000
#define LOOK_NS (10 * NSEC_PER_MSEC)

struct upgrade_config {
	const char *binary;
	uint32_t max_pause_ms;
	bool json, quiet;
};

#define FIELD(member) .offset = offsetof(struct upgrade_config, member)

static const struct option_spec options[] = {
	{ "binary", "PATH", "The godwit to go on with (default: this one)",
	  .parse = option_string, FIELD(binary) },
	{ "max-pause", "MS", "Hard cap: a longer pause, and the VM goes on as it was\n"
	  "(default 500)",
	  .parse = option_u32, .min = 1, .max = 2000000,
	  FIELD(max_pause_ms) },
	{ "json", NULL, "The report as JSON on standard output",
	  .parse = option_bool, FIELD(json) },
	{ "quiet", NULL, "No stages and no progress",
	  .parse = option_bool, FIELD(quiet) },
};

struct upgrade {
	const struct upgrade_config *config;
	const char *vm;
	char binary[PATH_MAX];
	char dir[PATH_MAX];		/* "": not made */
	struct client *old;		/* keeps the old process waiting */
	json_t *about;			/* what it said of itself */
	int old_fd;			/* pidfd */
	int files[3];
	pid_t pid;			/* the new process; 0: none */
	bool asked;			/* the old one, to hand over */
};

static void in_dir(const struct upgrade *u, const char *prefix,
		   const char *name, char out[PATH_MAX + 64])
{
	snprintf(out, PATH_MAX + 64, "%s%s/%s", prefix, u->dir, name);
}

static int find_binary(struct upgrade *u, struct error *err)
{
	const char *given = u->config->binary;

	if (!realpath(given ? given : "/proc/self/exe", u->binary))
		return error_set(err, errno, "%s: %s",
				 given ? given : "this godwit's own file",
				 strerror(errno));
	if (access(u->binary, X_OK))
		return error_set(err, errno, "%s: %s", u->binary,
				 strerror(errno));
	return 0;
}

static int make_dir(struct upgrade *u, struct error *err)
{
	char base[PATH_MAX - 32];
	int ret = runtime_make_dir(err);

	if (ret)
		return ret;
	runtime_dir(base, sizeof(base));
	snprintf(u->dir, sizeof(u->dir), "%s/upgrade-XXXXXX", base);
	if (mkdtemp(u->dir))
		return 0;
	u->dir[0] = '\0';
	return error_set(err, errno, "can't make a directory in %s: %s", base,
			 strerror(errno));
}

static int take_files(struct upgrade *u, struct listener *l, struct error *err)
{
	uint64_t deadline = now_ns() + FILES_NS;
	struct channel ch;
	int ret = channel_accept(l, &ch, err);
	char byte;

	for (int i = 0; !ret && i < 3; i++) {
		ret = channel_read(&ch, &byte, 1, deadline, err);
		u->files[i] = ret ? -1 : channel_take_fd(&ch, err);
		if (u->files[i] < 0)
			ret = -err->code;
	}
	channel_close(&ch);
	return ret;
}

/* What the new process needs of the old one. */
static int ask_old(struct upgrade *u, struct error *err)
{
	char uri[PATH_MAX + 64];
	struct listener l;
	int ret;

	in_dir(u, "unix:", "files", uri);
	ret = channel_listen(&l, uri, NULL, err);
	if (ret)
		return ret;
	ret = client_call(u->old, "x-hand-files", json_pack("{s:s}", "uri", uri),
			  &u->about, err);
	if (!ret)
		ret = take_files(u, &l, err);
	listener_close(&l);
	if (ret)
		return ret;
	u->old_fd = (int)syscall(SYS_pidfd_open,
				 (pid_t)client_num(u->about, "pid"), 0);
	return 0;
}

static int start_new(struct upgrade *u, struct error *err)
{
	const char *tls = client_str(u->about, "tls");
	char incoming[PATH_MAX + 64], control[PATH_MAX + 64];
	const char *words[20] = {
		u->binary, "run", "--incoming", incoming, "--control", control,
		"--take-over", client_str(u->about, "control"),
		"--name", client_str(u->about, "name"),
		"--log", client_str(u->about, "log"),
		"--seccomp",
		json_is_true(json_object_get(u->about, "seccomp")) ? "on" :
								     "off",
	};
	struct upgrade_spawn s = {
		.binary = u->binary,
		.like = (pid_t)client_num(u->about, "pid"),
		.directory = client_str(u->about, "directory"),
		.files = { u->files[0], u->files[1], u->files[2] },
	};
	char *argv[ARRAY_SIZE(words) + 1] = { NULL };
	size_t n = 14;

	in_dir(u, "unix:", "memory", incoming);
	in_dir(u, "", "control", control);
	if (*tls) {
		words[n++] = "--tls";
		words[n++] = tls;
	} else if (json_is_true(json_object_get(u->about, "plain"))) {
		words[n++] = "--plain";
	}
	/* argv has no const; it is only read */
	memcpy(argv, words, n * sizeof(*argv));
	s.argv = argv;
	return upgrade_spawn(&s, &u->pid, err);
}

/* Has the new process ended? Then it is nobody's child any more. */
static bool new_ended(struct upgrade *u, struct error *err)
{
	int status;

	if (waitpid(u->pid, &status, WNOHANG) != u->pid)
		return false;
	u->pid = 0;
	error_set(err, ECHILD, "the new godwit (%s) ended with status %d: the VM's log tells why",
		  u->binary, WIFEXITED(status) ? WEXITSTATUS(status) :
						 128 + WTERMSIG(status));
	return true;
}

/* Until the process behind @path is the new one. */
static int await_new(struct upgrade *u, const char *path, struct error *err)
{
	uint64_t deadline = now_ns() + START_NS;
	bool there = false;

	while (!there && now_ns() < deadline) {
		struct error why = ERROR_INIT;
		struct client *c = NULL;
		json_t *vm = NULL;

		if (new_ended(u, err))
			return -err->code;
		if (!client_open(&c, path, &why) &&
		    !client_call(c, "x-query-vm", NULL, &vm, &why))
			there = (pid_t)client_num(vm, "pid") == u->pid;
		json_decref(vm);
		client_close(c);
		if (!there)
			channel_wait_fd(-1, 0, -1, now_ns() + LOOK_NS);
	}
	return there ? 0 : error_set(err, ETIMEDOUT, "the new godwit (%s) does not answer at %s",
				     u->binary, path);
}

static int hand_over(struct upgrade *u, json_t **report, struct error *err)
{
	char uri[PATH_MAX + 64];
	int ret;

	in_dir(u, "unix:", "memory", uri);
	u->asked = true;
	ret = watch_job(u->vm, "migrate",
			json_pack("{s:s, s:b, s:I}", "uri", uri, "x-local", 1,
				  "max-pause",
				  (json_int_t)u->config->max_pause_ms),
			u->config->quiet, report, err);
	if (!ret && strcmp(client_str(*report, "status"), "completed"))
		ret = error_set(err, EREMOTEIO, "%s: not upgraded: %s", u->vm,
				client_str(*report, "error-desc"));
	return ret;
}

/* The VM runs in the new process, whatever comes now. */
static int let_go(struct upgrade *u, struct error *err)
{
	struct pollfd p = { .fd = u->old_fd, .events = POLLIN };
	int ret = await_new(u, u->vm, err);

	u->pid = 0;
	client_close(u->old);
	u->old = NULL;
	if (ret) {
		error_prefix(err, "the VM runs in the new process, see %s",
			     u->dir);
		u->dir[0] = '\0';
	} else if (u->old_fd >= 0 && poll(&p, 1, END_MS) != 1) {
		fprintf(stderr, "godwit: the old process (%llu) waits for another client that is connected to it\n",
			client_num(u->about, "pid"));
	}
	return ret;
}

static int upgrade(struct upgrade *u, json_t **report, struct error *err)
{
	char control[PATH_MAX + 64];
	int ret = find_binary(u, err);

	if (!ret)
		ret = client_open(&u->old, u->vm, err);
	if (!ret)
		ret = make_dir(u, err);
	if (!ret)
		ret = ask_old(u, err);
	if (!ret)
		ret = start_new(u, err);
	in_dir(u, "", "control", control);
	if (!ret)
		ret = await_new(u, control, err);
	if (!ret)
		ret = hand_over(u, report, err);
	return ret ? ret : let_go(u, err);
}

/*
 * Of an upgrade that failed nothing is left. Where no report says that it did,
 * the VM may run there: a new process to which none came ends with this one.
 */
static void end_new(struct upgrade *u, const json_t *report)
{
	const json_t *job = json_object_get(report, "x-job");
	const char *outcome = client_str(job, "outcome");

	if (!u->pid || (u->asked && strcmp(outcome, "failed") &&
			strcmp(outcome, "cancelled")))
		return;
	kill(u->pid, SIGTERM);
	waitpid(u->pid, NULL, 0);
}

static void clean_up(struct upgrade *u, const json_t *report)
{
	static const char *const names[] = { "files", "memory", "control" };
	char path[PATH_MAX + 64];

	end_new(u, report);
	client_close(u->old);
	json_decref(u->about);
	fd_close(&u->old_fd);
	for (int i = 0; i < 3; i++)
		fd_close(&u->files[i]);
	for (size_t i = 0; *u->dir && i < ARRAY_SIZE(names); i++) {
		in_dir(u, "", names[i], path);
		unlink(path);
	}
	if (*u->dir)
		rmdir(u->dir);
}

static void print(const struct upgrade_config *config, const char *vm,
		  const json_t *report)
{
	if (config->json)
		client_print(report);
	else
		migrate_report_print(stdout, vm, "a new process", report);
}

static int upgrade_main(const struct command *cmd, int argc, char **argv)
{
	struct upgrade_config config = { .max_pause_ms = 500 };
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct error err = ERROR_INIT;
	struct upgrade u = {
		.config = &config, .old_fd = -1, .files = { -1, -1, -1 },
	};
	json_t *report = NULL;
	sigset_t set;
	int status, ret;

	if (!command_parse(cmd, argc, argv, &config, args, &status))
		return status;
	/* they cancel: watch_job() looks for them */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	u.vm = args[0];
	ret = upgrade(&u, &report, &err);
	if (!ret)
		print(&config, u.vm, report);
	clean_up(&u, report);
	json_decref(report);
	return ret ? command_fail(&err) : 0;
}

const struct command cmd_upgrade = {
	.name = "upgrade",
	.args = "VM",
	.summary = "Let a running VM go on in a new godwit.",
	.about = "The VM's memory is handed over: as it is where it is shared (run --memory\n"
		 "SIZE,shared=on), else copied. The new process has the old one's standard input,\n"
		 "output and error, its directory, environment and control socket, and is a child\n"
		 "of init, in the control group of who said `upgrade`. If anything fails before\n"
		 "the hand-over the VM runs on as it was.",
	COMMAND_OPTIONS(options),
	.min_args = 1, .max_args = 1,
	.run = upgrade_main,
};
