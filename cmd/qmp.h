/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP wire protocol (QEMU Machine Protocol): a greeting, then JSON
 * commands in and JSON answers and events out. No sockets here: bytes come in
 * by qmp_feed() and go out by send(), so that tests and a fuzzer can drive it.
 *
 * What comes in is hostile until proven otherwise: a message is bounded, and a
 * bad one costs an error answer.
 *
 * Threads: all in the loop's thread.
 */
#ifndef GODWIT_CMD_QMP_H
#define GODWIT_CMD_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/error.h"

#define QMP_MAX_MESSAGE (1024 * 1024)

struct qmp_command {
	const char *name;
	const char *doc;	/* arguments, and what it does */
	/* @args is an object, perhaps empty. *result (optional, a new
	 * reference) is the answer; none means an empty object. */
	int (*fn)(void *arg, json_t *args, json_t **result,
		  struct error *err);
};

struct qmp_group {
	const struct qmp_command *commands;
	unsigned int n;
};

/* What is served: the commands' groups, and the object they act on. */
struct qmp_server {
	const struct qmp_group *groups;
	unsigned int ngroups;
	void *arg;
};

struct qmp_conn {
	const struct qmp_server *server;
	void (*send)(void *arg, const char *buf, size_t len);
	void *send_arg;
	bool negotiated;	/* qmp_capabilities was said */

	char *buf;		/* the message so far */
	size_t len, room;
	unsigned int depth;	/* of open braces and brackets */
	bool in_string, escaped;
	bool skipping;		/* too long: nothing counts to the line's end */
};

void qmp_conn_init(struct qmp_conn *c, const struct qmp_server *server,
		   void (*send)(void *arg, const char *buf, size_t len),
		   void *send_arg);
void qmp_conn_exit(struct qmp_conn *c);
void qmp_greet(struct qmp_conn *c);
void qmp_feed(struct qmp_conn *c, const char *buf, size_t len);
/* Send an event, with the time of now, if the client has negotiated.
 * @data is borrowed and may be NULL. */
void qmp_event(struct qmp_conn *c, const char *name, json_t *data);

/* Run a command by name, as the terminal's monitor does. */
int qmp_run(const struct qmp_server *server, const char *name, json_t *args,
	    json_t **result, struct error *err);

/*
 * Arguments, checked. An absent one leaves *out as it was; a wrong type is an
 * error that names the argument and what is accepted.
 */
int qmp_arg_string(json_t *args, const char *name, const char **out,
		   struct error *err);
int qmp_arg_bool(json_t *args, const char *name, bool *out,
		 struct error *err);
int qmp_arg_u64(json_t *args, const char *name, uint64_t max, uint64_t *out,
		struct error *err);
/* Refuse arguments whose names are not in the NULL-terminated list. */
int qmp_arg_known(json_t *args, const char *const *names, struct error *err);

#endif
