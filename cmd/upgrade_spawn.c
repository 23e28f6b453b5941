/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/upgrade_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define MAX_ENVIRON (4 * MIB)

/* All of a file of /proc, and NULs behind it; malloc'ed. */
static char *read_all(const char *path, size_t *len, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *buf = fd < 0 ? NULL : calloc(1, MAX_ENVIRON + 2);
	ssize_t n = 1;

	*len = 0;
	while (buf && n > 0 && *len < MAX_ENVIRON) {
		n = read(fd, buf + *len, MAX_ENVIRON - *len);
		*len += n > 0 ? (size_t)n : 0;
	}
	if (!buf || n < 0) {
		error_set(err, errno, "can't read %s: %s (run this as the VM's user)",
			  path, strerror(errno));
		free(buf);
		buf = NULL;
	}
	fd_close(&fd);
	return buf;
}

/* "A=1\0B=2\0" as a vector into it; malloc'ed. */
static char **split(char *text, size_t len)
{
	size_t n = 0, i = 0;
	char **v;

	for (size_t at = 0; at < len; at++)
		n += !text[at];
	v = calloc(n + 2, sizeof(*v));
	for (size_t at = 0; v && at < len; at += strlen(text + at) + 1)
		v[i++] = text + at;
	return v;
}

/* A tap, a disk's path, a server's name: they are others in another one. */
static int check_namespaces(pid_t like, struct error *err)
{
	static const char *const kinds[] = { "net", "mnt", "user", "pid" };
	struct stat mine, theirs;
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", like, kinds[i]);
		if (stat(path, &theirs))
			return error_set(err, errno, "%s: %s (run this as the VM's user)",
					 path, strerror(errno));
		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
		if (!stat(path, &mine) && (mine.st_ino != theirs.st_ino ||
					   mine.st_dev != theirs.st_dev))
			return error_set(err, EINVAL, "the VM is in another %s namespace: run this there (nsenter -t %d --all)",
					 kinds[i], like);
	}
	return 0;
}

/* In the child: nothing but system calls until it is another program. */
static void become(const struct upgrade_spawn *s, char **env, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	for (int i = 0; i < 3; i++)
		if (dup2(s->files[i], i) < 0)
			return;
	if (chdir(s->directory) || prctl(PR_SET_PDEATHSIG, SIGTERM) ||
	    getppid() != parent)
		return;
	execve(s->binary, s->argv, env);
}

int upgrade_spawn(const struct upgrade_spawn *s, pid_t *pid, struct error *err)
{
	char path[64], *text, **env;
	pid_t parent = getpid();
	size_t len;
	int ret = check_namespaces(s->like, err);

	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/proc/%d/environ", s->like);
	text = read_all(path, &len, err);
	if (!text)
		return -err->code;
	env = split(text, len);
	*pid = env ? fork() : -1;
	if (*pid == 0) {
		become(s, env, parent);
		syscall(SYS_exit_group, 127);	/* of the child alone */
	}
	if (*pid < 0)
		ret = error_set(err, EAGAIN, "can't start a process: %s",
				strerror(errno));
	free(env);
	free(text);
	return ret;
}
