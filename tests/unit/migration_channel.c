/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/message.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/fd.h"

static const struct channel_security plain = { .plain = true };

static void expect_uri_refused(const char *uri, const char *why)
{
	struct error err = ERROR_INIT;
	struct channel ch;

	assert_true(channel_connect(&ch, uri, &plain, -1, now_ns() + NSEC_PER_SEC,
				    &err) < 0);
	if (!strstr(err.msg, why))
		print_message("'%s' gave: %s\n", uri, err.msg);
	assert_non_null(strstr(err.msg, why));
}

static void addresses_that_make_no_sense_are_explained(void **state)
{
	(void)state;
	expect_uri_refused("", "expected tcp:HOST:PORT or unix:PATH");
	expect_uri_refused("fd:3", "expected tcp:HOST:PORT or unix:PATH");
	expect_uri_refused("tcp:host", "no port");
	expect_uri_refused("tcp:host:http", "no port");
	expect_uri_refused("tcp:::1:4444", "brackets");
	expect_uri_refused("unix:", "path of a socket");
}

static void refused_connection_names_the_address(void **state)
{
	(void)state;
	expect_uri_refused("tcp:127.0.0.1:1", "tcp:127.0.0.1:1");
}

static void port_zero_becomes_a_real_one(void **state)
{
	struct error err = ERROR_INIT;
	struct listener l;
	struct channel ch;

	(void)state;
	assert_int_equal(channel_listen(&l, "tcp:127.0.0.1:0", &plain, &err), 0);
	assert_string_not_equal(l.uri, "tcp:127.0.0.1:0");
	assert_int_equal(channel_connect(&ch, l.uri, &plain, -1, 0, &err), 0);
	channel_close(&ch);
	listener_close(&l);
}

static void congestion_of(int fd, char name[16])
{
	socklen_t len = 15;

	memset(name, 0, 16);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name,
				    &len), 0);
}

static void bbr_does_not_pace_a_short_path(void **state)
{
	struct error err = ERROR_INIT;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char usual[16], chosen[16];
	struct listener l;
	struct channel ch;

	(void)state;
	congestion_of(fd, usual);
	assert_int_equal(channel_listen(&l, "tcp:127.0.0.1:0", &plain, &err), 0);
	assert_int_equal(channel_connect(&ch, l.uri, &plain, -1, 0, &err), 0);
	congestion_of(ch.fd, chosen);
	if (strncmp(usual, "bbr", 3))
		assert_string_equal(chosen, usual);
	else
		assert_int_not_equal(strncmp(chosen, "bbr", 3), 0);
	channel_close(&ch);
	listener_close(&l);
	close(fd);
}

static void socket_left_by_a_dead_process_is_replaced(void **state)
{
	char dir[] = "/tmp/godwit-test-XXXXXX";
	struct error err = ERROR_INIT;
	struct listener dead, again;
	char uri[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(uri, sizeof(uri), "unix:%s/s", dir);
	assert_int_equal(channel_listen(&dead, uri, &plain, &err), 0);
	fd_close(&dead.fd);		/* as if killed: nothing unlinked */
	assert_int_equal(channel_listen(&again, uri, &plain, &err), 0);
	listener_close(&again);
	assert_int_equal(rmdir(dir), 0);
}

static void socket_in_use_is_not_stolen(void **state)
{
	char dir[] = "/tmp/godwit-test-XXXXXX";
	struct error err = ERROR_INIT;
	struct listener first, second;
	char uri[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(uri, sizeof(uri), "unix:%s/s", dir);
	assert_int_equal(channel_listen(&first, uri, &plain, &err), 0);
	assert_int_equal(channel_listen(&second, uri, &plain, &err), -EADDRINUSE);
	listener_close(&first);
	rmdir(dir);
}

static void read_ends_at_its_deadline(void **state)
{
	struct error err = ERROR_INIT;
	struct channel a, b;
	char c;

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	assert_int_equal(channel_read(&a, &c, 1, now_ns() + NSEC_PER_MSEC,
				      &err), -ETIMEDOUT);
	channel_close(&a);
	channel_close(&b);
}

static void write_to_a_peer_that_never_reads_ends_when_nothing_moves(
	void **state)
{
	static char big[8 << 20];
	struct iovec iov = { .iov_base = big, .iov_len = sizeof(big) };
	struct error err = ERROR_INIT;
	struct channel a, b;

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	a.idle_ns = 5 * NSEC_PER_MSEC;
	assert_int_equal(channel_writev(&a, &iov, 1, 0, &err), -ETIMEDOUT);
	channel_close(&a);
	channel_close(&b);
}

static void cancel_ends_a_read_that_waits_for_ever(void **state)
{
	struct error err = ERROR_INIT;
	struct channel a, b;
	char c;

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	a.cancel_fd = fd_event();
	fd_event_signal(a.cancel_fd);
	assert_int_equal(channel_read(&a, &c, 1, 0, &err), -ECANCELED);
	close(a.cancel_fd);
	channel_close(&a);
	channel_close(&b);
}

static void write_to_a_peer_that_left_is_an_error_not_a_signal(void **state)
{
	struct iovec iov = { .iov_base = (char[]){ 'x' }, .iov_len = 1 };
	struct error err = ERROR_INIT;
	struct channel a, b;

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	channel_close(&b);
	assert_int_equal(channel_writev(&a, &iov, 1, 0, &err), -EPIPE);
	channel_close(&a);
}

static void skipping_drops_bytes_across_vector_elements(void **state)
{
	char text[] = "abcdef";
	struct iovec vec[] = {
		{ .iov_base = text, .iov_len = 2 },
		{ .iov_base = text + 2, .iov_len = 0 },
		{ .iov_base = text + 2, .iov_len = 4 },
	};
	struct iovec *iov = vec;
	int n = 3;

	(void)state;
	iovec_skip(&iov, &n, 3);
	assert_int_equal(n, 1);
	assert_int_equal(iov->iov_len, 3);
	assert_ptr_equal(iov->iov_base, text + 3);
	iovec_skip(&iov, &n, 3);
	assert_int_equal(n, 0);
}

static void message_arrives_whole(void **state)
{
	struct error err = ERROR_INIT;
	struct channel a, b;
	struct message m;

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	assert_int_equal(message_send(&a, WIRE_REFUSE, "no ", 3, "disk", 4, 0,
				      &err), 0);
	assert_int_equal(message_recv(&b, &m, 0, &err), 0);
	assert_int_equal(m.type, WIRE_REFUSE);
	assert_int_equal(m.len, 7);
	assert_memory_equal(m.payload, "no disk", 7);
	message_free(&m);
	channel_close(&a);
	channel_close(&b);
}

static void ping_is_answered_and_pong_skipped(void **state)
{
	uint8_t header[WIRE_HEADER];
	struct iovec iov = { .iov_base = header, .iov_len = sizeof(header) };
	struct error err = ERROR_INIT;
	struct channel a, b;
	struct message m;

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	wire_header_encode(header, WIRE_BYE, NULL, 0, NULL, 0);
	assert_int_equal(message_send(&a, WIRE_PING, "hi", 2, NULL, 0, 0, &err),
			 0);
	assert_int_equal(message_send(&a, WIRE_PONG, NULL, 0, NULL, 0, 0, &err),
			 0);
	assert_int_equal(channel_writev(&a, &iov, 1, 0, &err), 0);
	assert_int_equal(message_recv(&b, &m, 0, &err), 0);
	assert_int_equal(m.type, WIRE_BYE);
	message_free(&m);
	assert_int_equal(channel_read(&a, header, sizeof(header), 0, &err), 0);
	assert_int_equal(get_be16(header + 6), WIRE_PONG);
	channel_close(&a);
	channel_close(&b);
}

static void garbage_instead_of_a_message_is_refused(void **state)
{
	char http[] = "GET / HTTP/1.1\r\nHost: example\r\n\r\n";
	struct iovec iov = { .iov_base = http, .iov_len = sizeof(http) };
	struct error err = ERROR_INIT;
	struct channel a, b;
	struct message m;

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	assert_int_equal(channel_writev(&a, &iov, 1, 0, &err), 0);
	assert_int_equal(message_recv(&b, &m, 0, &err), -EPROTO);
	message_free(&m);
	channel_close(&a);
	channel_close(&b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_that_make_no_sense_are_explained),
		cmocka_unit_test(refused_connection_names_the_address),
		cmocka_unit_test(port_zero_becomes_a_real_one),
		cmocka_unit_test(bbr_does_not_pace_a_short_path),
		cmocka_unit_test(socket_left_by_a_dead_process_is_replaced),
		cmocka_unit_test(socket_in_use_is_not_stolen),
		cmocka_unit_test(read_ends_at_its_deadline),
		cmocka_unit_test(
			write_to_a_peer_that_never_reads_ends_when_nothing_moves),
		cmocka_unit_test(cancel_ends_a_read_that_waits_for_ever),
		cmocka_unit_test(
			write_to_a_peer_that_left_is_an_error_not_a_signal),
		cmocka_unit_test(skipping_drops_bytes_across_vector_elements),
		cmocka_unit_test(message_arrives_whole),
		cmocka_unit_test(ping_is_answered_and_pong_skipped),
		cmocka_unit_test(garbage_instead_of_a_message_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
