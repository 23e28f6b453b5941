/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket, with real clients on socket pairs and paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/control.h"
#include "vmm/base/util.h"

#define LIMIT_NS (20 * NSEC_PER_SEC)

struct rig {
	struct loop loop;
	struct control *ctl;
	char dir[64], path[96];
	unsigned int deserted;
	unsigned int pings;
};

static int ping(void *arg, json_t *args, json_t **result, struct error *err)
{
	struct rig *r = arg;

	r->pings++;
	return 0;
}

static int big(void *arg, json_t *args, json_t **result, struct error *err)
{
	char text[16384];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	*result = json_string(text);
	return 0;
}

static const struct qmp_command commands[] = {
	{ "ping", "doc", ping },
	{ "big", "doc", big },
};

static const struct qmp_group group = { commands, ARRAY_SIZE(commands) };

static void on_deserted(void *arg)
{
	struct rig *r = arg;

	r->deserted++;
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct error err = ERROR_INIT;
	struct control_config cfg = {
		.path = r->path,
		.loop = &r->loop,
		.server = { .groups = &group, .ngroups = 1, .arg = r },
		.deserted = on_deserted,
		.arg = r,
	};

	strcpy(r->dir, "/tmp/godwit-control-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/vm.sock", r->dir);
	assert_int_equal(loop_init(&r->loop, &err), 0);
	assert_int_equal(control_create(&r->ctl, &cfg, &err), 0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	control_destroy(r->ctl);
	loop_exit(&r->loop);
	assert_int_equal(rmdir(r->dir), 0);	/* the socket is gone too */
	free(r);
	return 0;
}

static int adopt(struct rig *r)
{
	struct error err = ERROR_INIT;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(control_adopt(r->ctl, fd[1], &err), 0);
	return fd[0];
}

static void tell(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
}

/* Serve until @needle has come out of @fd. */
static void expect(struct rig *r, int fd, const char *needle)
{
	uint64_t end = now_ns() + LIMIT_NS;
	static char buf[65536];
	size_t len = 0;
	ssize_t n;

	do {
		loop_run_once(&r->loop, 10);
		n = recv(fd, buf + len, sizeof(buf) - 1 - len, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
		buf[len] = '\0';
		if (len > sizeof(buf) / 2 && !strstr(buf, needle))
			len = 0;
	} while (!strstr(buf, needle) && now_ns() < end);
	assert_non_null(strstr(buf, needle));
}

static void run_until_clients(struct rig *r, unsigned int n)
{
	uint64_t end = now_ns() + LIMIT_NS;

	while (control_clients(r->ctl) != n && now_ns() < end)
		loop_run_once(&r->loop, 10);
	assert_int_equal(control_clients(r->ctl), n);
}

static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\n";

static void a_client_is_greeted_and_answered(void **state)
{
	struct rig *r = *state;
	int fd = adopt(r);

	expect(r, fd, "\"QMP\"");
	tell(fd, hello);
	expect(r, fd, "\"return\"");
	close(fd);
}

static void events_go_to_all_who_negotiated(void **state)
{
	struct rig *r = *state;
	int a = adopt(r), b = adopt(r);

	tell(a, hello);
	tell(b, hello);
	expect(r, a, "\"return\"");
	expect(r, b, "\"return\"");
	control_event(r->ctl, "STOP", NULL);
	expect(r, a, "STOP");
	expect(r, b, "STOP");
	close(a);
	close(b);
}

static void a_client_that_closes_its_half_gets_its_answer(void **state)
{
	struct rig *r = *state;
	int fd = adopt(r);

	tell(fd, hello);
	tell(fd, "{\"execute\":\"ping\",\"id\":\"mine\"}");
	shutdown(fd, SHUT_WR);
	expect(r, fd, "\"mine\"");
	run_until_clients(r, 0);
	close(fd);
}

static void the_last_client_to_leave_is_noticed(void **state)
{
	struct rig *r = *state;
	int a = adopt(r), b = adopt(r);

	close(a);
	run_until_clients(r, 1);
	assert_int_equal(r->deserted, 0);
	close(b);
	run_until_clients(r, 0);
	assert_int_equal(r->deserted, 1);
}

/* Others are served, and no memory without bound is held for it. */
static void a_client_that_never_reads_harms_nobody(void **state)
{
	struct rig *r = *state;
	int deaf = adopt(r), good = adopt(r);
	unsigned int i;
	char many[4000] = "";

	tell(deaf, hello);
	for (i = 0; i < 100; i++)
		strcat(many, "{\"execute\":\"big\"}");
	for (i = 0; i < 100; i++) {
		send(deaf, many, strlen(many), MSG_DONTWAIT | MSG_NOSIGNAL);
		loop_run_once(&r->loop, 0);
		control_event(r->ctl, "STOP", NULL);
	}
	tell(good, hello);
	tell(good, "{\"execute\":\"ping\",\"id\":\"good\"}");
	expect(r, good, "\"good\"");
	close(deaf);
	close(good);
}

static void one_who_overflows_by_events_is_dropped(void **state)
{
	struct rig *r = *state;
	int deaf = adopt(r);
	json_t *data;
	char text[65536];
	unsigned int i;

	tell(deaf, hello);
	expect(r, deaf, "\"return\"");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	data = json_pack("{s:s}", "text", text);
	for (i = 0; i < 200; i++)
		control_event(r->ctl, "STOP", data);
	json_decref(data);
	run_until_clients(r, 0);
	close(deaf);
}

static void too_many_clients_are_turned_away(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	int fd[40][2], i, refused = 0;

	for (i = 0; i < 40; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd[i]), 0);
		refused += control_adopt(r->ctl, fd[i][1], &err) < 0;
	}
	assert_int_equal(refused, 8);
	for (i = 0; i < 40; i++)
		close(fd[i][0]);
}

static void the_socket_is_its_owners_alone(void **state)
{
	struct rig *r = *state;
	struct stat st;

	assert_int_equal(stat(r->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_living_name_is_refused(void **state)
{
	struct rig *r = *state;
	struct control *other;
	struct error err = ERROR_INIT;
	struct control_config cfg = { .path = r->path, .loop = &r->loop };

	assert_int_equal(control_create(&other, &cfg, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, r->path));
}

static void a_dead_socket_is_replaced_and_a_file_is_not(void **state)
{
	struct rig *r = *state;
	struct control *other = NULL;
	struct error err = ERROR_INIT;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct control_config cfg = { .path = sa.sun_path, .loop = &r->loop };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/dead", r->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	assert_int_equal(control_create(&other, &cfg, &err), 0);
	control_destroy(other);
	fclose(fopen(sa.sun_path, "w"));
	assert_int_equal(control_create(&other, &cfg, &err), -EEXIST);
	unlink(sa.sun_path);
}

static void a_rename_moves_the_socket(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	char path[100];

	snprintf(path, sizeof(path), "%s/new", r->dir);
	assert_int_equal(control_rename(r->ctl, path, &err), 0);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(access(r->path, F_OK), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_client_is_greeted_and_answered),
		TEST(events_go_to_all_who_negotiated),
		TEST(a_client_that_closes_its_half_gets_its_answer),
		TEST(the_last_client_to_leave_is_noticed),
		TEST(a_client_that_never_reads_harms_nobody),
		TEST(one_who_overflows_by_events_is_dropped),
		TEST(too_many_clients_are_turned_away),
		TEST(the_socket_is_its_owners_alone),
		TEST(a_living_name_is_refused),
		TEST(a_dead_socket_is_replaced_and_a_file_is_not),
		TEST(a_rename_moves_the_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
