/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/fd.h"
#include "vmm/base/list.h"
#include "vmm/base/util.h"

#define MAX_CLIENTS 32
#define MAX_UNSENT (4 * MIB)	/* then the client is dropped */
#define PAUSE_UNSENT (256 * KIB)	/* then it isn't read from */

struct control {
	struct control_config cfg;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t dev;			/* which socket is ours, */
	ino_t ino;			/* whatever path it has */
	struct loop_fd listener;
	struct loop_timer reaper;	/* frees dead clients, outside of them */
	struct list clients;
	unsigned int nclients;
};

struct client {
	struct list link;
	struct control *ctl;
	struct qmp_conn qmp;
	struct loop_fd io;
	bool ended;		/* sends no more; still gets its answers */
	bool dead;
	char *unsent;
	size_t nunsent, room;
};

static void bury(struct client *c)
{
	if (c->dead)
		return;
	c->dead = true;
	loop_del(c->ctl->cfg.loop, &c->io);
	fd_close(&c->io.fd);
	loop_timer_set(c->ctl->cfg.loop, &c->ctl->reaper, 0);
}

static void free_client(struct client *c)
{
	loop_del(c->ctl->cfg.loop, &c->io);
	fd_close(&c->io.fd);
	list_del(&c->link);
	c->ctl->nclients--;
	qmp_conn_exit(&c->qmp);
	free(c->unsent);
	free(c);
}

static void on_reap(void *arg)
{
	struct control *ctl = arg;
	struct client *c, *tmp;

	list_for_each_safe(c, tmp, &ctl->clients, link)
		if (c->dead)
			free_client(c);
	if (!ctl->nclients && ctl->cfg.deserted)
		ctl->cfg.deserted(ctl->cfg.arg);
}

static bool keep_unsent(struct client *c, const char *buf, size_t len)
{
	size_t need = c->nunsent + len;
	char *grown;

	if (need > MAX_UNSENT)
		return false;
	if (need > c->room) {
		grown = realloc(c->unsent, need);
		if (!grown)
			return false;
		c->unsent = grown;
		c->room = need;
	}
	memcpy(c->unsent + c->nunsent, buf, len);
	c->nunsent = need;
	return true;
}

static void choose_events(struct client *c)
{
	uint32_t events = c->nunsent ? EPOLLOUT : 0;

	if (c->nunsent < PAUSE_UNSENT && !c->ended)
		events |= EPOLLIN;
	if (!c->dead)
		loop_mod(c->ctl->cfg.loop, &c->io, events);
}

/* Bytes that the socket took, or -1 if the client is gone. */
static ssize_t try_send(struct client *c, const char *buf, size_t len)
{
	ssize_t n = send(c->io.fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n;
}

static void client_send(void *arg, const char *buf, size_t len)
{
	struct client *c = arg;
	ssize_t n = 0;

	if (c->dead)
		return;
	if (!c->nunsent)
		n = try_send(c, buf, len);
	if (n < 0 || (n < (ssize_t)len &&
		      !keep_unsent(c, buf + n, len - (size_t)n)))
		bury(c);
	choose_events(c);
}

static void flush(struct client *c)
{
	ssize_t n = try_send(c, c->unsent, c->nunsent);

	if (n < 0) {
		bury(c);
		return;
	}
	c->nunsent -= (size_t)n;
	memmove(c->unsent, c->unsent + n, c->nunsent);
	if (!c->nunsent) {
		free(c->unsent);
		c->unsent = NULL;
		c->room = 0;
		if (c->ended)
			bury(c);
	}
}

static void end_of_input(struct client *c)
{
	c->ended = true;
	if (!c->nunsent)
		bury(c);
}

static void on_client(void *arg, uint32_t events)
{
	struct client *c = arg;
	char buf[4096];
	ssize_t n;

	if (c->nunsent && (events & EPOLLOUT))
		flush(c);
	if (!c->dead && (events & EPOLLIN)) {
		n = recv(c->io.fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n > 0)
			qmp_feed(&c->qmp, buf, (size_t)n);
		else if (!n)
			end_of_input(c);
		else if (errno != EAGAIN && errno != EINTR)
			bury(c);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		bury(c);
	}
	choose_events(c);
}

int control_adopt(struct control *ctl, int fd, struct error *err)
{
	struct client *c = calloc(1, sizeof(*c));
	int ret = 0;

	if (!c)
		ret = error_set(err, ENOMEM, "no memory for a client");
	else if (ctl->nclients >= MAX_CLIENTS)
		ret = error_set(err, EMFILE, "more than %d clients",
				MAX_CLIENTS);
	if (ret) {
		free(c);
		close(fd);
		return ret;
	}
	c->ctl = ctl;
	c->io = (struct loop_fd){
		.fd = fd, .events = EPOLLIN, .fn = on_client, .arg = c,
	};
	qmp_conn_init(&c->qmp, &ctl->cfg.server, client_send, c);
	list_add_tail(&ctl->clients, &c->link);
	ctl->nclients++;
	ret = loop_add(ctl->cfg.loop, &c->io, err);
	if (ret)
		free_client(c);
	else
		qmp_greet(&c->qmp);
	return ret;
}

static void on_connect(void *arg, uint32_t events)
{
	struct control *ctl = arg;
	struct error ignored = ERROR_INIT;
	int fd = accept4(ctl->listener.fd, NULL, NULL,
			 SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		control_adopt(ctl, fd, &ignored);
}

static int set_address(struct sockaddr_un *sa, const char *path,
		       struct error *err)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(sa->sun_path))
		return error_set(err, ENAMETOOLONG, "control socket %s: accepted: a path of up to %zu bytes",
				 path, sizeof(sa->sun_path) - 1);
	memcpy(sa->sun_path, path, strlen(path));
	return 0;
}

static bool somebody_lives(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool lives = fd >= 0 &&
		     !connect(fd, (const struct sockaddr *)sa, sizeof(*sa));

	fd_close(&fd);
	return lives;
}

/* Make room at the path: remove a dead socket, and nothing but a socket. */
static int clear_path(const struct sockaddr_un *sa, struct error *err)
{
	struct stat st;

	if (lstat(sa->sun_path, &st))
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, EEXIST, "control socket %s: something else is there",
				 sa->sun_path);
	if (somebody_lives(sa))
		return error_set(err, EADDRINUSE, "control socket %s: a VM of this name runs already; give another --name or --control",
				 sa->sun_path);
	unlink(sa->sun_path);
	return 0;
}

static void remember(struct control *ctl)
{
	struct stat st;

	if (lstat(ctl->path, &st))
		return;
	ctl->dev = st.st_dev;
	ctl->ino = st.st_ino;
}

/* Somebody may have taken the name over. */
static bool is_ours(const struct control *ctl)
{
	struct stat st;

	return *ctl->path && !lstat(ctl->path, &st) &&
	       st.st_dev == ctl->dev && st.st_ino == ctl->ino;
}

static int start_listening(struct control *ctl, struct error *err)
{
	struct sockaddr_un sa;
	int fd, ret = set_address(&sa, ctl->cfg.path, err);

	if (!ret)
		ret = clear_path(&sa, err);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ctl->listener.fd = fd;
	/* the mode before the name is there: never open to others */
	if (fd < 0 || fchmod(fd, 0600) ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return error_set(err, errno, "control socket %s: %s",
				 ctl->cfg.path, strerror(errno));
	memcpy(ctl->path, sa.sun_path, sizeof(ctl->path));
	remember(ctl);
	if (listen(fd, MAX_CLIENTS))
		return error_set(err, errno, "control socket %s: %s",
				 ctl->path, strerror(errno));
	return loop_add(ctl->cfg.loop, &ctl->listener, err);
}

int control_create(struct control **out, const struct control_config *cfg,
		   struct error *err)
{
	struct control *ctl = calloc(1, sizeof(*ctl));
	int ret;

	if (!ctl)
		return error_set(err, ENOMEM, "no memory for a control socket");
	ctl->cfg = *cfg;
	ctl->listener = (struct loop_fd){
		.fd = -1, .events = EPOLLIN, .fn = on_connect, .arg = ctl,
	};
	list_init(&ctl->clients);
	loop_timer_init(&ctl->reaper, on_reap, ctl);
	ret = cfg->path ? start_listening(ctl, err) : 0;
	if (ret) {
		control_destroy(ctl);
		return ret;
	}
	*out = ctl;
	return 0;
}

void control_entered(struct control *ctl, const struct confine_user *user)
{
	const char *inside;

	if (!ctl)
		return;
	inside = confine_user_path(user, ctl->path);
	if (!inside)
		inside = "";
	memmove(ctl->path, inside, strlen(inside) + 1);
}

void control_destroy(struct control *ctl)
{
	struct client *c, *tmp;

	if (!ctl)
		return;
	loop_timer_cancel(&ctl->reaper);
	list_for_each_safe(c, tmp, &ctl->clients, link)
		free_client(c);
	loop_del(ctl->cfg.loop, &ctl->listener);
	fd_close(&ctl->listener.fd);
	if (is_ours(ctl))
		unlink(ctl->path);
	free(ctl);
}

void control_event(struct control *ctl, const char *name, json_t *data)
{
	struct client *c;

	if (!ctl)
		return;
	list_for_each(c, &ctl->clients, link)
		if (!c->dead)
			qmp_event(&c->qmp, name, data);
}

unsigned int control_clients(const struct control *ctl)
{
	return ctl->nclients;
}

const char *control_path(const struct control *ctl)
{
	return ctl->path;
}

static int move(struct control *ctl, const char *path, bool from_the_living,
		struct error *err)
{
	struct sockaddr_un sa;
	int ret = set_address(&sa, path, err);

	if (!ret && !from_the_living)
		ret = clear_path(&sa, err);
	if (!ret && rename(ctl->path, sa.sun_path))
		ret = error_set(err, errno, "control socket %s: %s", path,
				strerror(errno));
	if (!ret)
		memcpy(ctl->path, sa.sun_path, sizeof(ctl->path));
	return ret;
}

int control_rename(struct control *ctl, const char *path, struct error *err)
{
	return move(ctl, path, false, err);
}

int control_take(struct control *ctl, const char *path, struct error *err)
{
	return move(ctl, path, true, err);
}
