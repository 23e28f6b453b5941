/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process gives to the one that takes its place. It is confined and can't
 * start that one: `godwit upgrade` does.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "cmd/instance.h"

#define SEND_NS (2 * NSEC_PER_SEC)

static int send_file(struct channel *ch, int fd, struct error *err)
{
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	int ret = channel_attach_fd(ch, fd, err);

	return ret ? ret : channel_writev(ch, &iov, 1, now_ns() + SEND_NS, err);
}

static int send_files(const char *uri, struct error *err)
{
	struct channel ch;
	int ret = channel_connect(&ch, uri, NULL, -1, now_ns() + SEND_NS, err);

	for (int fd = STDIN_FILENO; !ret && fd <= STDERR_FILENO; fd++)
		ret = send_file(&ch, fd, err);
	channel_close(&ch);
	return ret;
}

/* The shell that started it takes a terminal back when it ends. */
static int check_terminal(const struct instance *inst, struct error *err)
{
	if (!inst->terminal || !isatty(STDIN_FILENO))
		return 0;
	return error_set(err, EBUSY, "the guest's console is the terminal that this process was started in, whose shell takes it back when it ends; run VMs that stay with --serial unix:PATH, pty or file:PATH, or without a terminal");
}

static json_t *describe(const struct instance *inst, const char *dir)
{
	static const char *const levels[] = {
		[LOG_ERROR] = "error", [LOG_WARN] = "warn",
		[LOG_INFO] = "info", [LOG_DEBUG] = "debug",
	};
	const struct run_config *c = inst->config;

	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s*, s:b, s:b}",
			 "pid", (int)getpid(), "name", inst->name,
			 "control", control_path(inst->control),
			 "directory", dir, "log", levels[c->log_level],
			 "tls", c->tls, "plain", (int)c->plain,
			 "seccomp", (int)!c->no_seccomp);
}

int instance_hand_files(struct instance *inst, const char *uri,
			json_t **result, struct error *err)
{
	char dir[PATH_MAX];
	int ret = instance_check_can_leave(inst, err);

	if (!ret)
		ret = check_terminal(inst, err);
	if (!ret && !getcwd(dir, sizeof(dir)))
		ret = error_set(err, errno, "no working directory: %s",
				strerror(errno));
	if (!ret)
		ret = send_files(uri, err);
	if (!ret)
		*result = describe(inst, dir);
	return ret;
}
