/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Starts passt with one end of a socket pair, in the foreground: it ends when
 * the other end closes, whatever happens to us.
 */
#include "devices/net/passt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/fd.h"

#define CHILD_FD 3

extern char **environ;

/*
 * passt's version in Debian 12 takes a connected socket by --fd. The guest has
 * no mergeable buffers to take more than an Ethernet frame, hence the MTU.
 */
static int run(pid_t *pid, posix_spawn_file_actions_t *files,
	       posix_spawnattr_t *attr)
{
	char *argv[] = {
		(char[]){ "passt" }, (char[]){ "--foreground" },
		(char[]){ "--quiet" }, (char[]){ "--mtu" },
		(char[]){ "1500" }, (char[]){ "--fd" }, (char[]){ "3" }, NULL
	};
	sigset_t none;

	sigemptyset(&none);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK);
	return posix_spawnp(pid, "passt", files, attr, argv, environ);
}

static int spawn(pid_t *pid, int socket, int messages)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int ret;

	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&files, messages, 2);
	posix_spawn_file_actions_adddup2(&files, socket, CHILD_FD);
	ret = run(pid, &files, &attr);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return ret;
}

/* A number above CHILD_FD, so that dup2() makes a copy without FD_CLOEXEC. */
static int above_child(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_FD + 1);

	close(fd);
	return high;
}

int passt_spawn(struct passt_process *p, struct error *err)
{
	int pair[2], pipes[2], ret;

	*p = (struct passt_process){ .socket = -1, .messages = -1 };
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(err, errno, "pipe: %s", strerror(errno));
	p->messages = pipes[0];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		close(pipes[1]);
		return error_set(err, errno, "socket: %s", strerror(errno));
	}
	p->socket = pair[0];
	fd_set_nonblock(p->socket);
	pair[1] = above_child(pair[1]);
	pipes[1] = above_child(pipes[1]);
	ret = spawn(&p->pid, pair[1], pipes[1]);
	close(pair[1]);
	close(pipes[1]);
	if (!ret)
		return 0;
	p->pid = 0;
	return error_set(err, ret,
			 "cannot run passt: %s (install it, or use tap:NAME)",
			 strerror(ret));
}

int passt_connect(struct passt_process *p, const char *path,
		  struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	*p = (struct passt_process){ .socket = -1, .messages = -1 };
	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, ENAMETOOLONG,
				 "paths of sockets have at most %zu characters",
				 sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	p->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->socket < 0)
		return error_set(err, errno, "socket: %s", strerror(errno));
	if (connect(p->socket, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return error_set(err, errno,
				 "cannot connect to %s: %s (run `passt --socket %s`)",
				 path, strerror(errno), path);
	fd_set_nonblock(p->socket);
	return 0;
}

/* Its log on a host without syslogd complains of that; not worth telling. */
static bool worth_telling(const char *line)
{
	return line[0] && !strstr(line, "bytes to syslog");
}

void passt_last_words(struct passt_process *p, char *buf, size_t size)
{
	char text[4096], *line, *save = NULL;
	ssize_t n = p->messages < 0 ? 0 : read(p->messages, text,
					       sizeof(text) - 1);

	buf[0] = '\0';
	text[n < 0 ? 0 : n] = '\0';
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		if (worth_telling(line)) {
			strncpy(buf, line, size - 1);
			buf[size - 1] = '\0';
		}
}

void passt_end(struct passt_process *p)
{
	fd_close(&p->socket);
	fd_close(&p->messages);
	if (p->pid) {
		kill(p->pid, SIGTERM);
		waitpid(p->pid, NULL, 0);
	}
	p->pid = 0;
}
