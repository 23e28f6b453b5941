/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libFuzzer: bytes of a hostile client into the control socket's parser, with
 * the real commands on an instance that waits for its VM. Answers must be
 * whole lines of JSON.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/instance.h"
#include "migration/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_send(void *arg, const char *buf, size_t len)
{
	json_t *msg = json_loadb(buf, len, 0, NULL);

	if (!msg || buf[len - 1] != '\n')
		abort();
	json_decref(msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}";
	struct instance inst = { .log = { .level = LOG_ERROR, .fd = -1 } };
	struct qmp_server server = instance_server(&inst);
	struct error err = ERROR_INIT;
	struct qmp_conn conn;

	if (loop_init(&inst.loop, &err))
		abort();
	migration_params_init(&inst.params);
	qmp_conn_init(&conn, &server, on_send, NULL);
	/* the first byte says whether the client negotiates by itself */
	if (size && data[0] & 1)
		qmp_feed(&conn, hello, strlen(hello));
	if (size)
		qmp_feed(&conn, (const char *)data + 1, size - 1);
	qmp_conn_exit(&conn);
	loop_exit(&inst.loop);
	return 0;
}
