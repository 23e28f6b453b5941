/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/client.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/runtime.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

#define ANSWER_SECONDS 30
#define MAX_LINE (8 * MIB)

struct client {
	int fd;
	char path[PATH_MAX];
	char *buf;
	size_t len, room;
	json_t *events;		/* array, oldest first */
};

static int connect_to(struct client *c, struct error *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };

	if (strlen(c->path) >= sizeof(sa.sun_path))
		return error_set(err, ENAMETOOLONG, "%s: too long for a socket",
				 c->path);
	memcpy(sa.sun_path, c->path, strlen(c->path));
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return error_set(err, errno, "socket: %s", strerror(errno));
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)))
		return error_set(err, errno, "no VM answers at %s: %s (`godwit list` shows those that run)",
				 c->path, strerror(errno));
	return 0;
}

static int receive(struct client *c, struct error *err)
{
	size_t room = c->room ? c->room : 4096;
	ssize_t n;
	char *grown;

	while (room < c->len + 4096)
		room *= 2;
	grown = room > MAX_LINE ? NULL : realloc(c->buf, room);
	if (!grown)
		return error_set(err, ENOMEM, "%s: answer too long", c->path);
	c->buf = grown;
	c->room = room;
	do
		n = recv(c->fd, c->buf + c->len, room - c->len, 0);
	while (n < 0 && errno == EINTR);
	if (!n)
		return error_set(err, ECONNRESET, "%s: the VM's process has ended",
				 c->path);
	if (n < 0)
		return error_set(err, errno, "%s: no answer: %s", c->path,
				 strerror(errno));
	c->len += (size_t)n;
	return 0;
}

/* The next whole line as JSON, or NULL if there is none yet. */
static json_t *take_line(struct client *c)
{
	char *nl = c->len ? memchr(c->buf, '\n', c->len) : NULL;
	json_t *msg;
	size_t used;

	if (!nl)
		return NULL;
	used = (size_t)(nl - c->buf) + 1;
	msg = json_loadb(c->buf, used, 0, NULL);
	c->len -= used;
	memmove(c->buf, c->buf + used, c->len);
	return msg ? msg : json_object();
}

/* The next message that has member @a or @b; events are put aside. */
static json_t *wait_for(struct client *c, const char *a, const char *b,
			struct error *err)
{
	json_t *msg;

	for (;;) {
		msg = take_line(c);
		if (!msg && receive(c, err))
			return NULL;
		if (msg && (json_object_get(msg, a) || json_object_get(msg, b)))
			return msg;
		if (msg && json_object_get(msg, "event"))
			json_array_append(c->events, msg);
		json_decref(msg);
	}
}

int client_call(struct client *c, const char *command, json_t *args,
		json_t **result, struct error *err)
{
	json_t *msg = json_pack("{s:s, s:o}", "execute", command, "arguments",
				args ? args : json_object());
	char *text = json_dumps(msg, JSON_COMPACT);
	json_t *answer, *failed;
	int ret = fd_write_full(c->fd, text, strlen(text));

	free(text);
	json_decref(msg);
	if (ret)
		return error_set(err, -ret, "%s: %s", c->path, strerror(-ret));
	answer = wait_for(c, "return", "error", err);
	if (!answer)
		return -err->code;
	failed = json_object_get(answer, "error");
	if (failed)
		error_set(err, EREMOTEIO, "%s", client_str(failed, "desc"));
	else if (result)
		*result = json_incref(json_object_get(answer, "return"));
	json_decref(answer);
	return -err->code;
}

json_t *client_event(struct client *c)
{
	json_t *event;

	if (!json_array_size(c->events))
		return NULL;
	event = json_incref(json_array_get(c->events, 0));
	json_array_remove(c->events, 0);
	return event;
}

int client_open(struct client **out, const char *vm, struct error *err)
{
	struct client *c = calloc(1, sizeof(*c));
	json_t *greeting;

	if (!c)
		return error_set(err, ENOMEM, "no memory");
	c->fd = -1;
	c->events = json_array();
	runtime_socket(vm, c->path, sizeof(c->path));
	if (!connect_to(c, err)) {
		greeting = wait_for(c, "QMP", "QMP", err);
		json_decref(greeting);
	}
	if (err->code || client_call(c, "qmp_capabilities", NULL, NULL, err)) {
		client_close(c);
		return -err->code;
	}
	*out = c;
	return 0;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	fd_close(&c->fd);
	json_decref(c->events);
	free(c->buf);
	free(c);
}

int client_fd(const struct client *c)
{
	return c->fd;
}

int client_simple(const struct command *cmd, int argc, char **argv,
		  const char *command)
{
	const char *args[OPTIONS_MAX_ARGS + 1];
	struct error err = ERROR_INIT;
	struct client *c = NULL;
	int status;

	if (!command_parse(cmd, argc, argv, NULL, args, &status))
		return status;
	if (client_open(&c, args[0], &err) ||
	    client_call(c, command, NULL, NULL, &err)) {
		client_close(c);
		return command_fail(&err);
	}
	client_close(c);
	return 0;
}

const char *client_str(const json_t *object, const char *name)
{
	const char *s = json_string_value(json_object_get(object, name));

	return s ? s : "";
}

unsigned long long client_num(const json_t *object, const char *name)
{
	json_t *v = json_object_get(object, name);

	return (unsigned long long)json_integer_value(v);
}

void client_print(const json_t *answer)
{
	json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
}
