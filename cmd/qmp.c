/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/qmp.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "cmd/version.h"
#include "vmm/base/util.h"

#define FIRST_ROOM 4096

void qmp_conn_init(struct qmp_conn *c, const struct qmp_server *server,
		   void (*send)(void *arg, const char *buf, size_t len),
		   void *send_arg)
{
	*c = (struct qmp_conn){
		.server = server, .send = send, .send_arg = send_arg,
	};
}

void qmp_conn_exit(struct qmp_conn *c)
{
	free(c->buf);
	c->buf = NULL;
}

/* -- out */

/* Takes over the reference. */
static void send_json(struct qmp_conn *c, json_t *msg)
{
	char *text = json_dumps(msg, JSON_COMPACT | JSON_ENSURE_ASCII);
	size_t len = text ? strlen(text) : 0;

	if (text) {
		text[len] = '\n';	/* in place of the NUL: one send */
		c->send(c->send_arg, text, len + 1);
	}
	free(text);
	json_decref(msg);
}

static void add_id(json_t *answer, json_t *id)
{
	if (id)
		json_object_set(answer, "id", id);
}

static void send_error(struct qmp_conn *c, const char *class, const char *desc,
		       json_t *id)
{
	json_t *answer = json_pack("{s:{s:s, s:s}}", "error", "class", class,
				   "desc", desc);

	/* a message that is no UTF-8, from a hostile name, can't be packed */
	if (!answer)
		answer = json_pack("{s:{s:s, s:s}}", "error", "class", class,
				   "desc", "error text is not UTF-8");
	add_id(answer, id);
	send_json(c, answer);
}

void qmp_greet(struct qmp_conn *c)
{
	send_json(c, json_pack("{s:{s:o, s:[]}}", "QMP", "version",
			       version_json(), "capabilities"));
}

void qmp_event(struct qmp_conn *c, const char *name, json_t *data)
{
	struct timeval now;
	json_t *event;

	if (!c->negotiated)
		return;
	gettimeofday(&now, NULL);
	event = json_pack("{s:s, s:{s:I, s:I}}", "event", name, "timestamp",
			  "seconds", (json_int_t)now.tv_sec,
			  "microseconds", (json_int_t)now.tv_usec);
	if (data)
		json_object_set(event, "data", data);
	send_json(c, event);
}

/* -- commands */

static const struct qmp_command *find(const struct qmp_server *server,
				      const char *name)
{
	unsigned int g, i;

	for (g = 0; g < server->ngroups; g++)
		for (i = 0; i < server->groups[g].n; i++)
			if (!strcmp(server->groups[g].commands[i].name, name))
				return &server->groups[g].commands[i];
	return NULL;
}

int qmp_run(const struct qmp_server *server, const char *name, json_t *args,
	    json_t **result, struct error *err)
{
	const struct qmp_command *cmd = find(server, name);

	*result = NULL;
	if (!cmd)
		return error_set(err, ENOSYS, "The command %s has not been found",
				 name);
	return cmd->fn(server->arg, args, result, err);
}

static json_t *list_commands(const struct qmp_server *server)
{
	static const char *const own[] = {
		"qmp_capabilities", "query-commands",
	};
	json_t *list = json_array();
	unsigned int g, i;

	for (i = 0; i < ARRAY_SIZE(own); i++)
		json_array_append_new(list, json_pack("{s:s}", "name", own[i]));
	for (g = 0; g < server->ngroups; g++)
		for (i = 0; i < server->groups[g].n; i++)
			json_array_append_new(list, json_pack("{s:s, s:s}",
				"name", server->groups[g].commands[i].name,
				"x-doc", server->groups[g].commands[i].doc));
	return list;
}

/* The two that are about the connection itself. */
static bool run_own(struct qmp_conn *c, const char *name, json_t **result)
{
	if (!strcmp(name, "qmp_capabilities"))
		c->negotiated = true;
	else if (!strcmp(name, "query-commands"))
		*result = list_commands(c->server);
	else
		return false;
	return true;
}

static void execute(struct qmp_conn *c, const char *name, json_t *args,
		    json_t *id)
{
	struct error err = ERROR_INIT;
	json_t *result = NULL, *answer;
	int ret = 0;

	if (!c->negotiated && strcmp(name, "qmp_capabilities")) {
		send_error(c, "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'",
			   id);
		return;
	}
	if (!run_own(c, name, &result))
		ret = qmp_run(c->server, name, args, &result, &err);
	if (ret) {
		json_decref(result);
		send_error(c, ret == -ENOSYS ? "CommandNotFound" :
			   "GenericError", err.msg, id);
		return;
	}
	answer = json_pack("{s:o}", "return", result ? result : json_object());
	add_id(answer, id);
	send_json(c, answer);
}

/* Why this is no command, or NULL. */
static const char *bad_request(json_t *msg)
{
	const char *key;
	json_t *value;

	if (!json_is_object(msg))
		return "QMP input must be a JSON object";
	json_object_foreach(msg, key, value)
		if (strcmp(key, "execute") && strcmp(key, "arguments") &&
		    strcmp(key, "id"))
			return "QMP input has a member that is none of execute, arguments, id";
	if (!json_is_string(json_object_get(msg, "execute")))
		return "QMP input lacks member 'execute', a string";
	value = json_object_get(msg, "arguments");
	if (value && !json_is_object(value))
		return "QMP input member 'arguments' must be an object";
	return NULL;
}

static void handle(struct qmp_conn *c)
{
	json_error_t why;
	json_t *msg = json_loadb(c->buf, c->len, JSON_DECODE_ANY, &why);
	json_t *args, *id = msg ? json_object_get(msg, "id") : NULL;
	const char *bad = msg ? bad_request(msg) : NULL;
	char text[JSON_ERROR_TEXT_LENGTH + 32];

	if (!msg) {
		snprintf(text, sizeof(text), "JSON parse error, %s", why.text);
		send_error(c, "GenericError", text, NULL);
	} else if (bad) {
		send_error(c, "GenericError", bad, id);
	} else {
		args = json_object_get(msg, "arguments");
		args = args ? json_incref(args) : json_object();
		execute(c, json_string_value(json_object_get(msg, "execute")),
			args, id);
		json_decref(args);
	}
	json_decref(msg);
}

/* -- in */

static void reset(struct qmp_conn *c)
{
	c->len = 0;
	c->depth = 0;
	c->in_string = false;
	c->escaped = false;
}

static bool append(struct qmp_conn *c, char byte)
{
	char *grown;
	size_t room = c->room ? 2 * c->room : FIRST_ROOM;

	if (c->len == c->room) {
		if (c->room >= QMP_MAX_MESSAGE)
			return false;
		grown = realloc(c->buf, room);
		if (!grown)
			return false;
		c->buf = grown;
		c->room = room;
	}
	c->buf[c->len++] = byte;
	return true;
}

/*
 * Follow the structure just far enough to know where a message ends: at its
 * last brace (clients needn't send a newline), or, where it can't be JSON any
 * more, at the line's end.
 */
static bool ends_message(struct qmp_conn *c, char byte)
{
	if (c->in_string) {
		if (c->escaped)
			c->escaped = false;
		else if (byte == '\\')
			c->escaped = true;
		else if (byte == '"')
			c->in_string = false;
		return byte == '\n';
	}
	switch (byte) {
	case '"':
		c->in_string = true;
		return false;
	case '{':
	case '[':
		c->depth++;
		return false;
	case '}':
	case ']':
		if (c->depth)
			c->depth--;
		return !c->depth;
	case '\n':
		return !c->depth;
	}
	return false;
}

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static void take_byte(struct qmp_conn *c, char byte)
{
	if (c->skipping) {
		c->skipping = byte != '\n';
		return;
	}
	if (!c->len && is_space(byte))
		return;
	if (!append(c, byte)) {
		reset(c);
		c->skipping = byte != '\n';
		send_error(c, "GenericError", "message longer than 1 MiB", NULL);
		return;
	}
	if (ends_message(c, byte)) {
		handle(c);
		reset(c);
	}
}

void qmp_feed(struct qmp_conn *c, const char *buf, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		take_byte(c, buf[i]);
	/* one large message must not hold its memory for ever */
	if (!c->len && c->room > FIRST_ROOM) {
		free(c->buf);
		c->buf = NULL;
		c->room = 0;
	}
}

/* -- arguments */

int qmp_arg_string(json_t *args, const char *name, const char **out,
		   struct error *err)
{
	json_t *v = json_object_get(args, name);

	if (!v)
		return 0;
	if (!json_is_string(v))
		return error_set(err, EINVAL, "argument '%s': accepted: a string",
				 name);
	*out = json_string_value(v);
	return 0;
}

int qmp_arg_bool(json_t *args, const char *name, bool *out,
		 struct error *err)
{
	json_t *v = json_object_get(args, name);

	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return error_set(err, EINVAL, "argument '%s': accepted: true or false",
				 name);
	*out = json_is_true(v);
	return 0;
}

int qmp_arg_u64(json_t *args, const char *name, uint64_t max, uint64_t *out,
		struct error *err)
{
	json_t *v = json_object_get(args, name);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    (uint64_t)json_integer_value(v) > max)
		return error_set(err, EINVAL, "argument '%s': accepted: an integer from 0 to %llu",
				 name, (unsigned long long)max);
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

int qmp_arg_known(json_t *args, const char *const *names, struct error *err)
{
	const char *key, *const *n;
	json_t *value;

	json_object_foreach(args, key, value) {
		for (n = names; *n && strcmp(*n, key); n++)
			;
		if (!*n)
			return error_set(err, EINVAL, "Parameter '%.64s' is unexpected",
					 key);
	}
	return 0;
}
