/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens character devices of the host by name. */
#include "devices/char/char.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "devices/char/host.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

static int open_null(struct host_char *c, const char *rest, struct error *err)
{
	return 0;		/* no far end at all */
}

/* Appends: the log of a machine goes on when it is started again. */
static int open_file(struct host_char *c, const char *path, struct error *err)
{
	c->io.fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (c->io.fd < 0)
		return error_set(err, errno, "cannot open %s: %s", path,
				 strerror(errno));
	return 0;
}

static void accept_client(void *arg, uint32_t events)
{
	struct host_char *c = arg;
	struct error err = ERROR_INIT;
	int fd = accept4(c->listener.fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	pthread_mutex_lock(&c->lock);
	c->io.fd = fd;
	pthread_mutex_unlock(&c->lock);
	/* one at a time: the next waits until this one leaves */
	loop_mod(c->loop, &c->listener, 0);
	if (host_char_listen(c, &err))
		log_error(c->log, "chardev: %s", err.msg);
}

static int bind_socket(int fd, const char *path, struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st;

	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, ENAMETOOLONG,
				 "%s: paths of sockets have at most %zu characters",
				 path, sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	/* Left by a VM that died: nobody answers there. */
	if (!lstat(path, &st) && S_ISSOCK(st.st_mode) &&
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, 1) < 0)
		return error_set(err, errno, "cannot listen on %s: %s", path,
				 strerror(errno));
	return 0;
}

static int open_unix(struct host_char *c, const char *path, struct error *err)
{
	int ret;

	c->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->listener.fd < 0)
		return error_set(err, errno, "socket: %s", strerror(errno));
	ret = bind_socket(c->listener.fd, path, err);
	if (ret)
		return ret;
	c->path = strdup(path);
	c->listener.events = EPOLLIN;
	c->listener.fn = accept_client;
	c->listener.arg = c;
	fd_set_nonblock(c->listener.fd);
	return loop_add(c->loop, &c->listener, err);
}

static int open_pty(struct host_char *c, const char *rest, struct error *err)
{
	struct termios mode;
	char name[64];

	c->io.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->io.fd < 0 || grantpt(c->io.fd) < 0 || unlockpt(c->io.fd) < 0 ||
	    ptsname_r(c->io.fd, name, sizeof(name)))
		return error_set(err, errno, "no pseudo-terminal: %s",
				 strerror(errno));
	c->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->slave < 0 || tcgetattr(c->slave, &mode) < 0)
		return error_set(err, errno, "%s: %s", name, strerror(errno));
	cfmakeraw(&mode);
	tcsetattr(c->slave, TCSANOW, &mode);
	log_info(c->log, "chardev: pty is %s", name);
	return host_char_listen(c, err);
}

static const struct kind {
	const char *name;
	bool has_path;
	int (*open)(struct host_char *c, const char *path, struct error *err);
} kinds[] = {
	{ "null", false, open_null },
	{ "file", true, open_file },
	{ "unix", true, open_unix },
	{ "pty", false, open_pty },
};

static const struct kind *find_kind(const char *name)
{
	size_t len = strcspn(name, ":");

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *k = &kinds[i];

		if (strlen(k->name) == len && !memcmp(k->name, name, len) &&
		    k->has_path == (name[len] == ':' && name[len + 1]))
			return k;
	}
	return NULL;
}

int char_check(const char *name, struct error *err)
{
	if (find_kind(name))
		return 0;
	return error_set(err, EINVAL, "neither stdio, null, file:PATH, unix:PATH nor pty");
}

struct chardev *char_open(const char *name, struct loop *loop,
			  const struct log *log, struct error *err)
{
	const struct kind *k = find_kind(name);
	struct host_char *c;

	if (char_check(name, err)) {
		error_prefix(err, "chardev %s", name);
		return NULL;
	}
	c = host_char_new(loop, log);
	if (!c) {
		error_set(err, ENOMEM, "no memory");
		return NULL;
	}
	if (k->open(c, name + strlen(k->name) + k->has_path, err)) {
		error_prefix(err, "chardev %s", name);
		host_char_destroy(&c->chr);
		return NULL;
	}
	return &c->chr;
}
