/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The transport, between two ends in one process, with a key that both have;
 * certificates are for tests/migrate/tls.py. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/message.h"
#include "migration/tls.h"
#include "vmm/base/fd.h"

#define KEY "000102030405060708090a0b0c0d0e0f"

struct rig {
	char dir[32], path[64], spec[80];
	struct tls_credentials *c;
	struct channel client, server;
	struct error err;
};

static void write_keys(struct rig *r, const char *text, mode_t mode)
{
	int fd = open(r->path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void keys_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	strcpy(r->dir, "/tmp/godwit-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/keys.psk", r->dir);
	snprintf(r->spec, sizeof(r->spec), "psk=%s", r->path);
	channel_init(&r->client);
	channel_init(&r->server);
}

static void rig_exit(struct rig *r)
{
	channel_close(&r->client);
	channel_close(&r->server);
	tls_credentials_free(r->c);
	unlink(r->path);
	assert_int_equal(rmdir(r->dir), 0);
}

/* Both ends in turn, until both are done. */
static void shake(struct rig *r)
{
	int a = -EAGAIN, b = -EAGAIN;
	short events;

	assert_int_equal(tls_start(&r->client, r->c, TLS_CLIENT, NULL, &r->err),
			 0);
	assert_int_equal(tls_start(&r->server, r->c, TLS_SERVER, NULL, &r->err),
			 0);
	while (a == -EAGAIN || b == -EAGAIN) {
		if (a == -EAGAIN)
			a = tls_handshake_step(&r->client, &events, &r->err);
		if (b == -EAGAIN)
			b = tls_handshake_step(&r->server, &events, &r->err);
	}
	assert_int_equal(a, 0);
	assert_int_equal(b, 0);
}

static void rig_init(struct rig *r)
{
	keys_init(r);
	write_keys(r, "# a comment\nqemu:" KEY "\n", 0600);
	assert_int_equal(tls_credentials_load(&r->c, r->spec,
					      TLS_CLIENT | TLS_SERVER, &r->err),
			 0);
	assert_int_equal(channel_pair(&r->client, &r->server, &r->err), 0);
	shake(r);
}

static void the_server_knows_the_name_of_the_key(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_true(tls_peer(&r.server)->psk);
	assert_string_equal(tls_peer(&r.server)->name[0], "qemu");
	assert_string_equal(tls_peer(&r.server)->id, "psk:qemu");
	rig_exit(&r);
}

static void what_is_secret_does_not_pass_in_the_clear(void **state)
{
	struct iovec iov = { .iov_base = (char[]){ "attack at dawn" },
			     .iov_len = 14 };
	char wire[256];
	ssize_t n;
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(channel_writev(&r.client, &iov, 1, 0, &r.err), 0);
	n = read(r.server.fd, wire, sizeof(wire));
	assert_true(n > 14);
	assert_null(memmem(wire, (size_t)n, "dawn", 4));
	rig_exit(&r);
}

static void a_record_holds_many_pieces_in_order(void **state)
{
	char got[16] = "";
	struct iovec iov[] = {
		{ .iov_base = (char[]){ "abc" }, .iov_len = 3 },
		{ .iov_base = NULL, .iov_len = 0 },
		{ .iov_base = (char[]){ "defg" }, .iov_len = 4 },
	};
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(channel_writev(&r.client, iov, 3, 0, &r.err), 0);
	/* the rest of a record waits in no socket */
	assert_int_equal(channel_read(&r.server, got, 2, 0, &r.err), 0);
	assert_true(channel_pending(&r.server));
	assert_true(channel_readable(&r.server));
	assert_int_equal(channel_read(&r.server, got + 2, 5, 0, &r.err), 0);
	assert_string_equal(got, "abcdefg");
	assert_false(channel_readable(&r.server));
	rig_exit(&r);
}

struct sender {
	struct channel *ch;
	const uint8_t *buf;
	size_t len;
	struct error err;
	int ret;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;
	/* pieces that no record ends with */
	struct iovec iov[2] = {
		{ .iov_len = 10007 }, { .iov_len = s->len - 10007 },
	};

	memcpy(&iov[0].iov_base, &s->buf, sizeof(s->buf));
	iov[1].iov_base = (uint8_t *)iov[0].iov_base + 10007;
	s->ret = channel_writev(s->ch, iov, 2, 0, &s->err);
	return NULL;
}

static void more_than_a_socket_holds_arrives_whole(void **state)
{
	const size_t len = 5000011;
	uint8_t *out = malloc(len), *in = calloc(1, len);
	struct sender s = { .buf = out, .len = len };
	pthread_t thread;
	struct rig r;

	(void)state;
	rig_init(&r);
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(i * 2654435761u >> 13);
	s.ch = &r.client;
	assert_int_equal(pthread_create(&thread, NULL, send_all, &s), 0);
	assert_int_equal(channel_read(&r.server, in, len, 0, &r.err), 0);
	pthread_join(thread, NULL);
	assert_int_equal(s.ret, 0);
	assert_memory_equal(in, out, len);
	free(out);
	free(in);
	rig_exit(&r);
}

static void a_deadline_and_a_cancel_end_a_read(void **state)
{
	struct rig r;
	char c;

	(void)state;
	rig_init(&r);
	assert_int_equal(channel_read(&r.client, &c, 1, now_ns() +
				      NSEC_PER_MSEC, &r.err), -ETIMEDOUT);
	r.client.cancel_fd = fd_event();
	fd_event_signal(r.client.cancel_fd);
	assert_int_equal(channel_read(&r.client, &c, 1, 0, &r.err),
			 -ECANCELED);
	close(r.client.cancel_fd);
	rig_exit(&r);
}

static void a_deadline_ends_a_write_that_nobody_reads(void **state)
{
	static char big[8 << 20];
	struct iovec iov = { .iov_base = big, .iov_len = sizeof(big) };
	struct rig r;

	(void)state;
	rig_init(&r);
	r.client.idle_ns = 5 * NSEC_PER_MSEC;
	assert_int_equal(channel_writev(&r.client, &iov, 1, 0, &r.err),
			 -ETIMEDOUT);
	rig_exit(&r);
}

static void a_finished_side_is_an_end_and_not_a_loss(void **state)
{
	struct rig r;
	char c;

	(void)state;
	rig_init(&r);
	channel_finish(&r.client);
	assert_int_equal(channel_read(&r.server, &c, 1, 0, &r.err),
			 -ECONNRESET);
	assert_non_null(strstr(r.err.msg, "closed"));
	rig_exit(&r);
}

static void a_cut_is_a_loss(void **state)
{
	struct rig r;
	char c;

	(void)state;
	rig_init(&r);
	shutdown(r.client.fd, SHUT_RDWR);
	assert_int_equal(channel_read(&r.server, &c, 1, 0, &r.err),
			 -ECONNRESET);
	assert_non_null(strstr(r.err.msg, "lost"));
	rig_exit(&r);
}

static void a_flipped_bit_is_found(void **state)
{
	struct iovec iov = { .iov_base = (char[]){ "x" }, .iov_len = 1 };
	uint8_t wire[64];
	struct rig r;
	ssize_t n;
	char c;

	(void)state;
	rig_init(&r);
	assert_int_equal(channel_writev(&r.client, &iov, 1, 0, &r.err), 0);
	n = read(r.server.fd, wire, sizeof(wire));
	assert_true(n > 8);
	wire[n - 1] ^= 1;
	assert_int_equal(write(r.client.fd, wire, (size_t)n), n);
	assert_int_equal(channel_read(&r.server, &c, 1, 0, &r.err),
			 -ECONNRESET);
	rig_exit(&r);
}

static void a_message_arrives_whole(void **state)
{
	struct message m;
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(message_send(&r.client, WIRE_REFUSE, "no ", 3, "disk",
				      4, 0, &r.err), 0);
	assert_int_equal(message_recv(&r.server, &m, 0, &r.err), 0);
	assert_memory_equal(m.payload, "no disk", 7);
	message_free(&m);
	rig_exit(&r);
}

static void expect_keys_refused(const char *text, mode_t mode, const char *id,
				const char *why)
{
	struct rig r;

	keys_init(&r);
	write_keys(&r, text, mode);
	strcat(r.spec, id);
	assert_true(tls_credentials_load(&r.c, r.spec, TLS_CLIENT, &r.err) < 0);
	if (!strstr(r.err.msg, why))
		print_message("error was: %s\n", r.err.msg);
	assert_non_null(strstr(r.err.msg, why));
	assert_null(strstr(r.err.msg, KEY));
	rig_exit(&r);
}

static void keys_that_make_no_sense_are_refused_and_not_shown(void **state)
{
	(void)state;
	expect_keys_refused("", 0600, "", "no key in it");
	expect_keys_refused("a:" KEY "\nb" KEY "\n", 0600, "", "line 2");
	expect_keys_refused(":" KEY, 0600, "", "line 1");
	expect_keys_refused("a:" KEY "0", 0600, "", "line 1");
	expect_keys_refused("a:" KEY "0g", 0600, "", "line 1");
	expect_keys_refused("a:0011", 0600, "", "line 1");
	expect_keys_refused("a:" KEY, 0600, ",id=b", "'b'");
}

static void keys_that_others_can_read_are_refused(void **state)
{
	(void)state;
	expect_keys_refused("a:" KEY, 0604, "", "604");
	expect_keys_refused("a:" KEY, 0660, "", "660");
}

static void files_that_are_missing_are_named(void **state)
{
	struct error err = ERROR_INIT;
	struct tls_credentials *c;

	(void)state;
	assert_int_equal(tls_credentials_load(&c, "/nonexistent", TLS_CLIENT,
					      &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/ca-cert.pem"));
	assert_int_equal(tls_spec_check("psk=", &err), -EINVAL);
	assert_int_equal(tls_spec_check("", &err), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_server_knows_the_name_of_the_key),
		cmocka_unit_test(what_is_secret_does_not_pass_in_the_clear),
		cmocka_unit_test(a_record_holds_many_pieces_in_order),
		cmocka_unit_test(more_than_a_socket_holds_arrives_whole),
		cmocka_unit_test(a_deadline_and_a_cancel_end_a_read),
		cmocka_unit_test(a_deadline_ends_a_write_that_nobody_reads),
		cmocka_unit_test(a_finished_side_is_an_end_and_not_a_loss),
		cmocka_unit_test(a_cut_is_a_loss),
		cmocka_unit_test(a_flipped_bit_is_found),
		cmocka_unit_test(a_message_arrives_whole),
		cmocka_unit_test(
			keys_that_make_no_sense_are_refused_and_not_shown),
		cmocka_unit_test(keys_that_others_can_read_are_refused),
		cmocka_unit_test(files_that_are_missing_are_named),
	};
	struct error err = ERROR_INIT;

	if (tls_spec_check("x", &err) < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
