/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QMP wire: what a client may send, and what it gets for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/qmp.h"
#include "vmm/base/util.h"

struct rig {
	struct qmp_conn conn;
	struct qmp_server server;
	json_t *sent;		/* array of messages */
	unsigned int calls;
	uint64_t number;
};

static int add(void *arg, json_t *args, json_t **result, struct error *err)
{
	struct rig *r = arg;
	int ret = qmp_arg_u64(args, "n", 100, &r->number, err);

	r->calls++;
	if (!ret)
		*result = json_integer((json_int_t)r->number);
	return ret;
}

static int failing(void *arg, json_t *args, json_t **result, struct error *err)
{
	return error_set(err, EIO, "it failed: \"why\"");
}

static const struct qmp_command commands[] = {
	{ "add", "doc", add },
	{ "fail", "doc", failing },
};

static const struct qmp_group group = { commands, ARRAY_SIZE(commands) };

/* Each send is one whole message, ended by a newline. */
static void on_send(void *arg, const char *buf, size_t len)
{
	struct rig *r = arg;
	json_t *msg = json_loadb(buf, len, 0, NULL);

	assert_non_null(msg);
	assert_int_equal(buf[len - 1], '\n');
	assert_null(memchr(buf, '\n', len - 1));
	json_array_append_new(r->sent, msg);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	r->sent = json_array();
	r->server = (struct qmp_server){
		.groups = &group, .ngroups = 1, .arg = r,
	};
	qmp_conn_init(&r->conn, &r->server, on_send, r);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	qmp_conn_exit(&r->conn);
	json_decref(r->sent);
	free(r);
	return 0;
}

static void feed(struct rig *r, const char *text)
{
	qmp_feed(&r->conn, text, strlen(text));
}

static json_t *last(struct rig *r)
{
	assert_true(json_array_size(r->sent) > 0);
	return json_array_get(r->sent, json_array_size(r->sent) - 1);
}

static const char *last_error(struct rig *r)
{
	json_t *e = json_object_get(last(r), "error");

	assert_non_null(e);
	assert_non_null(json_string_value(json_object_get(e, "class")));
	return json_string_value(json_object_get(e, "desc"));
}

static void negotiate(struct rig *r)
{
	feed(r, "{\"execute\":\"qmp_capabilities\"}");
	assert_non_null(json_object_get(last(r), "return"));
}

static void the_greeting_has_a_version(void **state)
{
	struct rig *r = *state;
	json_t *qmp;

	qmp_greet(&r->conn);
	qmp = json_object_get(last(r), "QMP");
	assert_true(json_is_object(json_object_get(qmp, "version")));
	assert_true(json_is_array(json_object_get(qmp, "capabilities")));
}

static void nothing_runs_before_negotiation(void **state)
{
	struct rig *r = *state;

	feed(r, "{\"execute\":\"add\"}");
	assert_non_null(strstr(last_error(r), "qmp_capabilities"));
	assert_int_equal(r->calls, 0);
}

static void events_come_only_after_negotiation(void **state)
{
	struct rig *r = *state;

	qmp_event(&r->conn, "STOP", NULL);
	assert_int_equal(json_array_size(r->sent), 0);
	negotiate(r);
	qmp_event(&r->conn, "STOP", NULL);
	assert_string_equal(json_string_value(json_object_get(last(r),
				"event")), "STOP");
	assert_true(json_is_integer(json_object_get(json_object_get(last(r),
				"timestamp"), "seconds")));
}

static void the_id_comes_back(void **state)
{
	struct rig *r = *state;

	negotiate(r);
	feed(r, "{\"execute\":\"add\",\"id\":{\"a\":[1]}}");
	assert_true(json_is_array(json_object_get(json_object_get(last(r),
				"id"), "a")));
	feed(r, "{\"execute\":\"none\",\"id\":7}");
	assert_int_equal(json_integer_value(json_object_get(last(r), "id")), 7);
}

static void a_message_needs_no_newline(void **state)
{
	struct rig *r = *state;

	negotiate(r);
	feed(r, "{\"execute\":\"add\"}{\"execute\":\"add\"}");
	assert_int_equal(r->calls, 2);
}

static void a_message_may_come_byte_by_byte_and_over_lines(void **state)
{
	static const char text[] =
		"\r\n {\n\"execute\" : \"add\",\n \"arguments\":{\"n\":\n5} }";
	struct rig *r = *state;
	size_t i;

	negotiate(r);
	for (i = 0; i < strlen(text); i++) {
		assert_int_equal(r->calls, 0);
		qmp_feed(&r->conn, text + i, 1);
	}
	assert_int_equal(r->calls, 1);
	assert_int_equal(r->number, 5);
}

static void braces_in_strings_do_not_count(void **state)
{
	struct rig *r = *state;

	negotiate(r);
	feed(r, "{\"execute\":\"add\",\"id\":\"}}{\\\\\\\"}\"}");
	assert_int_equal(r->calls, 1);
}

static void wrong_shapes_are_errors_and_the_next_command_runs(void **state)
{
	static const char *const bad[] = {
		"garbage\n", "[]\n", "}\n", "{]\n", "{}", "5\n", "\"x\"\n",
		"null\n", "{\"execute\":5}", "{\"execute\":null}",
		"{\"execute\":\"add\",\"arguments\":[]}",
		"{\"execute\":\"add\",\"arguments\":5}",
		"{\"execute\":\"add\",\"extra\":1}",
		"{\"execute\":\"add\",\"arguments\":{\"n\":\"5\"}}",
		"{\"execute\":\"add\",\"arguments\":{\"n\":-1}}",
		"{\"execute\":\"add\",\"arguments\":{\"n\":101}}",
		"{\"execute\":\"add\",\"arguments\":{\"n\":1e99}}",
		"{\"execute\":\"add\",\"arguments\":{\"n\":99999999999999999999}}",
		"{\"execute\":\"a\\u0000dd\"}", "{\"execute\":\"\xff\xfe\"}",
		"{'execute':'add'}", "{\"execute\":\"unended\n",
		"{\"execute\":\"add\",}",
	};
	struct rig *r = *state;
	unsigned int i, calls;

	negotiate(r);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		feed(r, bad[i]);
		assert_non_null(last_error(r));
		calls = r->calls;
		feed(r, "{\"execute\":\"add\"}\n");
		assert_int_equal(r->calls, calls + 1);
		assert_non_null(json_object_get(last(r), "return"));
	}
}

static void a_wrong_argument_says_what_is_accepted(void **state)
{
	struct rig *r = *state;

	negotiate(r);
	feed(r, "{\"execute\":\"add\",\"arguments\":{\"n\":\"5\"}}");
	assert_string_equal(last_error(r), "argument 'n': accepted: an integer from 0 to 100");
}

static void a_failing_command_tells_its_error(void **state)
{
	struct rig *r = *state;

	negotiate(r);
	feed(r, "{\"execute\":\"fail\"}");
	assert_string_equal(last_error(r), "it failed: \"why\"");
}

static void an_unknown_command_has_its_class(void **state)
{
	struct rig *r = *state;

	negotiate(r);
	feed(r, "{\"execute\":\"nonsense\"}");
	assert_string_equal(json_string_value(json_object_get(json_object_get(
		last(r), "error"), "class")), "CommandNotFound");
}

static void query_commands_lists_all(void **state)
{
	struct rig *r = *state;

	negotiate(r);
	feed(r, "{\"execute\":\"query-commands\"}");
	assert_int_equal(json_array_size(json_object_get(last(r), "return")),
			 2 + ARRAY_SIZE(commands));
}

static void a_huge_message_costs_one_error_and_bounded_memory(void **state)
{
	struct rig *r = *state;
	char chunk[4096];
	unsigned int i, before;

	negotiate(r);
	before = (unsigned int)json_array_size(r->sent);
	memset(chunk, '[', sizeof(chunk));
	for (i = 0; i < 4 * QMP_MAX_MESSAGE / sizeof(chunk); i++) {
		qmp_feed(&r->conn, chunk, sizeof(chunk));
		assert_true(r->conn.room <= QMP_MAX_MESSAGE);
	}
	assert_int_equal(json_array_size(r->sent), before + 1);
	assert_non_null(strstr(last_error(r), "1 MiB"));
	feed(r, "\n{\"execute\":\"add\"}");
	assert_int_equal(r->calls, 1);
	assert_int_equal(r->conn.room <= 4096, 1);
}

static void deep_nesting_is_an_error(void **state)
{
	struct rig *r = *state;
	char text[20001];

	negotiate(r);
	memset(text, '[', 10000);
	memset(text + 10000, ']', 10000);
	text[20000] = '\0';
	feed(r, text);
	assert_non_null(strstr(last_error(r), "JSON parse error"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_greeting_has_a_version),
		TEST(nothing_runs_before_negotiation),
		TEST(events_come_only_after_negotiation),
		TEST(the_id_comes_back),
		TEST(a_message_needs_no_newline),
		TEST(a_message_may_come_byte_by_byte_and_over_lines),
		TEST(braces_in_strings_do_not_count),
		TEST(wrong_shapes_are_errors_and_the_next_command_runs),
		TEST(a_wrong_argument_says_what_is_accepted),
		TEST(a_failing_command_tells_its_error),
		TEST(an_unknown_command_has_its_class),
		TEST(query_commands_lists_all),
		TEST(a_huge_message_costs_one_error_and_bounded_memory),
		TEST(deep_nesting_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
