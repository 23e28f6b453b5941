/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/block/drbd.h"
#include "vmm/base/util.h"

#define LIMIT_NS (30 * NSEC_PER_SEC)

extern char **environ;

static int spawn(pid_t *pid, const char *const argv[], int in, int out)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char *const *words;
	sigset_t none;
	int ret;

	/* POSIX: the strings are left as they are */
	memcpy(&words, &argv, sizeof(words));
	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	if (in < 0)
		posix_spawn_file_actions_addopen(&files, 0, "/dev/null",
						 O_RDONLY, 0);
	else
		posix_spawn_file_actions_adddup2(&files, in, 0);
	posix_spawn_file_actions_adddup2(&files, out, 1);
	posix_spawn_file_actions_adddup2(&files, out, 2);
	posix_spawnattr_setsigmask(&attr, &none);
	/* away from the terminal, where ^C is for the VM */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
					POSIX_SPAWN_SETSID);
	ret = posix_spawnp(pid, argv[0], &files, &attr, words, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return ret;
}

int drbd_spawn(pid_t *pid, const char *const argv[], int in, int out,
	       struct error *err)
{
	int ret = spawn(pid, argv, in, out);

	if (ret)
		return error_set(err, ret,
				 "cannot run %s: %s (is drbd-utils installed?)",
				 argv[0], strerror(ret));
	return 0;
}

static bool ends_with(const char *text, size_t len, const char *last)
{
	size_t n = last ? strlen(last) : 0;

	return n && len >= n && !memcmp(text + len - n, last, n);
}

int drbd_hear(int fd, char *out, size_t size, const char *last,
	      uint64_t limit_ns)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t end = now_ns() + limit_ns, now;
	size_t len = 0;

	out[0] = '\0';
	while ((now = now_ns()) < end) {
		char spill[512];
		bool full = len + 1 >= size;
		ssize_t n;

		if (poll(&p, 1, (int)((end - now) / NSEC_PER_MSEC) + 1) <= 0)
			continue;
		n = read(fd, full ? spill : out + len,
			 full ? sizeof(spill) : size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 1;
		len += full ? 0 : (size_t)n;
		out[len] = '\0';
		if (ends_with(out, len, last))
			return 0;
	}
	return -ETIMEDOUT;
}

int drbd_reap(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static const struct {
	const char *said, *means;
} hints[] = {
	{ "drbdadm: not found", "is drbd-utils installed?" },
	{ "no resources defined", "this host has no DRBD resource configured" },
	{ "not defined in your config",
	  "this host's DRBD configuration has no such resource" },
	{ "Module drbd not found", "the kernel module is missing: modprobe drbd" },
	{ "modprobe drbd", "the kernel module is missing: modprobe drbd" },
	{ "generic netlink", "the kernel module is missing: modprobe drbd" },
	{ "No such resource", "it is not up here: drbdadm up" },
	{ "Unknown resource", "it is not up here: drbdadm up" },
	{ "held open", "another program has its device open: fuser -v" },
	{ "Need access to UpToDate data", "no side has data up to date" },
	{ "Multiple primaries", "the other side is primary" },
};

/* On one line, without white space at the end. */
static void flatten(char *text)
{
	size_t n = strlen(text);

	while (n && strchr(" \n\t", text[n - 1]))
		text[--n] = '\0';
	for (; *text; text++)
		if (*text == '\n')
			*text = ' ';
}

int drbd_explain(const char *what, char *text, struct error *err)
{
	char means[512] = "";
	size_t n = 0;

	flatten(text);
	for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
		if (strstr(text, hints[i].said) &&
		    !strstr(means, hints[i].means) && n < sizeof(means))
			n += (size_t)snprintf(means + n, sizeof(means) - n,
					      "%s%s", n ? "; " : "",
					      hints[i].means);
	return error_set(err, EIO, "`%s` failed: %s%s%s%s", what,
			 *text ? text : "it does not say why",
			 n ? " (" : "", means, n ? ")" : "");
}

int drbd_tool(const char *const argv[], char *out, size_t size,
	      struct error *err)
{
	int pipes[2], ret;
	char what[64];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return error_set(err, errno, "pipe: %s", strerror(errno));
	ret = drbd_spawn(&pid, argv, -1, pipes[1], err);
	close(pipes[1]);
	if (!ret) {
		ret = drbd_hear(pipes[0], out, size, NULL, LIMIT_NS);
		if (ret < 0)
			kill(pid, SIGKILL);
		snprintf(what, sizeof(what), "%s %s", argv[0], argv[1]);
		if (drbd_reap(pid) && ret > 0)
			ret = drbd_explain(what, out, err);
		else if (ret < 0)
			error_set(err, ETIMEDOUT, "`%s` did not end", what);
	}
	close(pipes[0]);
	return ret < 0 ? ret : 0;
}
