/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices of the host, each with a real far end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/char/char.h"
#include "vmm/base/fd.h"
#include "vmm/base/util.h"

struct rig {
	struct loop loop;
	struct log log;
	struct chardev *chr;
	char dir[64];
	int far;		/* the test's end, or -1 */
	char got[64];		/* input that the device took */
	size_t len;
	size_t room;		/* that the device has */
};

static size_t receive(void *arg, const void *buf, size_t len)
{
	struct rig *r = arg;

	len = MIN(len, MIN(r->room, sizeof(r->got) - r->len));
	memcpy(r->got + r->len, buf, len);
	r->len += len;
	r->room -= len;
	return len;
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct error err = ERROR_INIT;

	r->log = (struct log){ .level = LOG_ERROR, .fd = 2, .name = "test" };
	r->far = -1;
	strcpy(r->dir, "/tmp/godwit-char-XXXXXX");
	*state = r;
	return !mkdtemp(r->dir) || loop_init(&r->loop, &err);
}

static int teardown(void **state)
{
	struct rig *r = *state;
	char path[128];

	if (r->chr)
		r->chr->ops->destroy(r->chr);
	fd_close(&r->far);
	loop_exit(&r->loop);
	snprintf(path, sizeof(path), "%s/out", r->dir);
	unlink(path);
	/* fails if a socket was left behind */
	return rmdir(r->dir) ? -1 : (free(r), 0);
}

static void open_chr(struct rig *r, const char *kind)
{
	struct error err = ERROR_INIT;
	char name[128];

	if (strchr(kind, ':'))
		snprintf(name, sizeof(name), "%s%s/out", kind, r->dir);
	else
		snprintf(name, sizeof(name), "%s", kind);
	r->chr = char_open(name, &r->loop, &r->log, &err);
	if (!r->chr)
		fail_msg("%s", err.msg);
	r->chr->receive = receive;
	r->chr->receive_arg = r;
	r->room = sizeof(r->got);
}

static void put(struct rig *r, const char *text)
{
	r->chr->ops->write(r->chr, text, strlen(text));
}

static int dial(struct rig *r)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/out", r->dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)),
			 0);
	return fd;
}

static void open_client(struct rig *r)
{
	open_chr(r, "unix:");
	r->far = dial(r);
	loop_run_once(&r->loop, 1000);
}

static void null_swallows_output(void **state)
{
	open_chr(*state, "null");
	put(*state, "hello");
}

static void a_file_is_appended_to(void **state)
{
	struct rig *r = *state;
	char path[128], buf[16] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/out", r->dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, "old ", 4), 4);
	open_chr(r, "file:");
	put(r, "new");
	assert_int_equal(pread(fd, buf, sizeof(buf), 0), 7);
	assert_string_equal(buf, "old new");
	close(fd);
}

static void a_client_sees_output_and_gives_input(void **state)
{
	struct rig *r = *state;
	char buf[2];

	open_client(r);
	put(r, "hi");
	assert_int_equal(fd_read_full(r->far, buf, 2), 0);
	assert_memory_equal(buf, "hi", 2);
	assert_int_equal(fd_write_full(r->far, "yo", 2), 0);
	loop_run_once(&r->loop, 1000);
	assert_int_equal(r->len, 2);
	assert_memory_equal(r->got, "yo", 2);
}

static void input_waits_for_room(void **state)
{
	struct rig *r = *state;

	open_client(r);
	r->room = 1;
	assert_int_equal(fd_write_full(r->far, "abc", 3), 0);
	loop_run_once(&r->loop, 1000);
	assert_int_equal(r->len, 1);
	r->room = 10;
	r->chr->ops->accept_input(r->chr);
	assert_int_equal(r->len, 3);
	assert_memory_equal(r->got, "abc", 3);
}

static void the_next_client_is_served_when_one_leaves(void **state)
{
	struct rig *r = *state;
	char buf[2];

	open_client(r);
	fd_close(&r->far);
	loop_run_once(&r->loop, 1000);
	put(r, "nobody hears");
	r->far = dial(r);
	loop_run_once(&r->loop, 1000);
	put(r, "hi");
	assert_int_equal(fd_read_full(r->far, buf, 2), 0);
	assert_memory_equal(buf, "hi", 2);
}

static void a_client_that_reads_nothing_stops_nobody(void **state)
{
	struct rig *r = *state;
	static char block[64 * 1024];

	r->log.level = 0;	/* dropped bytes are told at the end */
	open_client(r);
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 100; i++)
		r->chr->ops->write(r->chr, block, sizeof(block));
}

static void a_socket_left_by_a_dead_vm_is_taken_over(void **state)
{
	struct rig *r = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/out", r->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	open_client(r);
}

static void a_socket_in_use_is_refused(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	char name[128];

	open_chr(r, "unix:");
	snprintf(name, sizeof(name), "unix:%s/out", r->dir);
	assert_null(char_open(name, &r->loop, &r->log, &err));
	assert_non_null(strstr(err.msg, r->dir));
}

static void a_pty_carries_bytes_both_ways(void **state)
{
	struct rig *r = *state;
	int pipes[2];
	char text[256] = "", *name, buf[2];

	assert_int_equal(pipe(pipes), 0);
	r->log.level = LOG_INFO;
	r->log.fd = pipes[1];
	open_chr(r, "pty");
	assert_true(read(pipes[0], text, sizeof(text) - 1) > 0);
	name = strstr(text, "/dev/");
	assert_non_null(name);
	name[strcspn(name, "\n")] = '\0';
	r->far = open(name, O_RDWR | O_NOCTTY);
	put(r, "hi");
	assert_int_equal(fd_read_full(r->far, buf, 2), 0);
	assert_int_equal(fd_write_full(r->far, "\ry", 2), 0);
	loop_run_once(&r->loop, 1000);
	assert_int_equal(r->len, 2);
	assert_memory_equal(r->got, "\ry", 2);
	close(pipes[0]);
	close(pipes[1]);
}

static void an_unknown_name_tells_what_is_accepted(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	assert_null(char_open("file:", &r->loop, &r->log, &err));
	assert_null(char_open("nullify", &r->loop, &r->log, &err));
	assert_non_null(strstr(err.msg, "unix:PATH"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(null_swallows_output),
		TEST(a_file_is_appended_to),
		TEST(a_client_sees_output_and_gives_input),
		TEST(input_waits_for_room),
		TEST(the_next_client_is_served_when_one_leaves),
		TEST(a_client_that_reads_nothing_stops_nobody),
		TEST(a_socket_left_by_a_dead_vm_is_taken_over),
		TEST(a_socket_in_use_is_refused),
		TEST(a_pty_carries_bytes_both_ways),
		TEST(an_unknown_name_tells_what_is_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
