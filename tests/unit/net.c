/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network backends: a tap in a network namespace of our own, a real passt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/net/net.h"
#include "vmm/base/byteorder.h"
#include "vmm/base/fd.h"

struct rig {
	struct loop loop;
	struct log log;
	struct net *net;
	int peer;			/* other end of a passt socket, or -1 */
	uint8_t frame[65536];
	ssize_t len;			/* of the last frame received */
	unsigned int writable;
};

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct error err = ERROR_INIT;

	r->log = (struct log){ .level = LOG_ERROR, .fd = 2, .name = "test" };
	r->peer = -1;
	*state = r;
	return loop_init(&r->loop, &err);
}

static int teardown(void **state)
{
	struct rig *r = *state;

	net_close(r->net);
	fd_close(&r->peer);
	loop_exit(&r->loop);
	free(r);
	return 0;
}

static void readable(void *arg)
{
	struct rig *r = arg;
	struct iovec iov = { r->frame, sizeof(r->frame) };

	r->len = r->net->driver->receive(r->net, &iov, 1);
	if (r->len)
		r->net->driver->poll(r->net, false, false);
}

static void writable(void *arg)
{
	struct rig *r = arg;

	r->writable++;
	r->net->driver->poll(r->net, false, false);
}

static int open_net(struct rig *r, const char *backend, struct error *err)
{
	int ret = net_open(&r->net, backend, &r->loop, &r->log, err);

	if (ret)
		return ret;
	r->net->readable = readable;
	r->net->writable = writable;
	r->net->arg = r;
	return 0;
}

/* Runs the loop until a frame came; its length, 0 after 20 s. */
static ssize_t await_frame(struct rig *r)
{
	uint64_t end = now_ns() + 20 * NSEC_PER_SEC;

	r->len = 0;
	r->net->driver->poll(r->net, true, false);
	while (!r->len && now_ns() < end)
		loop_run_once(&r->loop, 100);
	return r->len;
}

/* "who has @target? tell @self", behind an empty virtio-net header. */
static size_t arp_request(uint8_t *buf, uint32_t self, uint32_t target)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
	static const uint8_t fixed[] = {
		0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1
	};
	uint8_t *p = buf + NET_HDR_BYTES;

	memset(buf, 0, NET_HDR_BYTES + 60);
	memset(p, 0xff, 6);
	memcpy(p + 6, mac, 6);
	memcpy(p + 12, fixed, sizeof(fixed));
	memcpy(p + 22, mac, 6);
	put_be32(p + 28, self);
	put_be32(p + 38, target);
	return NET_HDR_BYTES + 60;
}

static bool is_arp_reply(const struct rig *r, uint32_t who)
{
	const uint8_t *p = r->frame + NET_HDR_BYTES;

	return r->len >= NET_HDR_BYTES + 42 && p[12] == 8 && p[13] == 6 &&
	       p[21] == 2 && get_be32(p + 28) == who;
}

/* Asks for @target until the answer comes: other frames may come first. */
static void expect_arp_reply(struct rig *r, uint32_t self, uint32_t target)
{
	uint8_t buf[128];
	struct iovec iov = { buf, arp_request(buf, self, target) };

	for (int i = 0; i < 50; i++) {
		assert_int_equal(r->net->driver->send(r->net, &iov, 1), 0);
		assert_true(await_frame(r) > 0);
		if (is_arp_reply(r, target))
			return;
	}
	fail_msg("no ARP reply among 50 frames");
}

static void set_address(const char *name, const char *address)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct ifreq req = { 0 };

	strcpy(req.ifr_name, name);
	inet_pton(AF_INET, address, &in.sin_addr);
	memcpy(&req.ifr_addr, &in, sizeof(in));
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &req), 0);
	close(fd);
}

static void open_tap(struct rig *r)
{
	struct error err = ERROR_INIT;

	if (unshare(CLONE_NEWNET) < 0) {
		print_message("SKIP no network namespace: %s\n",
			      strerror(errno));
		skip();
	}
	if (open_net(r, "tap:godwit0", &err)) {
		print_message("SKIP %s\n", err.msg);
		skip();
	}
	set_address("godwit0", "10.0.5.1");
}

static void the_host_answers_arp_through_a_tap(void **state)
{
	struct rig *r = *state;

	open_tap(r);
	expect_arp_reply(r, 0x0a000502, 0x0a000501);
}

static void a_tap_in_use_is_refused(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	struct net *second;

	open_tap(r);
	assert_int_equal(net_open(&second, "tap:godwit0", &r->loop, &r->log,
				  &err), -EBUSY);
	assert_non_null(strstr(err.msg, "godwit0"));
}

static void a_tap_takes_offloads(void **state)
{
	struct rig *r = *state;

	open_tap(r);
	assert_true(r->net->has_offload);
	assert_int_equal(r->net->driver->set_offload(r->net, true, true, true),
			 0);
}

static void a_name_too_long_is_refused(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	assert_int_equal(open_net(r, "tap:a-very-long-interface-name", &err),
			 -EINVAL);
}

static void an_unknown_backend_names_those_there_are(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;

	assert_int_equal(open_net(r, "bridge:br0", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "tap"));
}

/* passt ends where it finds no network or may not make its sandbox. */
static void skip_if_gone(int log_fd)
{
	char text[1024];
	ssize_t n = read(log_fd, text, sizeof(text) - 1);

	if (n <= 0)
		return;
	text[n] = '\0';
	print_message("SKIP %s", text);
	skip();
}

static void passt_answers_arp(void **state)
{
	struct rig *r = *state;
	struct error err = ERROR_INIT;
	uint8_t buf[128];
	struct iovec iov = { buf, arp_request(buf, 0x0a00020f, 0x0a000202) };
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_NONBLOCK | O_CLOEXEC), 0);
	r->log.fd = pipes[1];
	if (open_net(r, "passt", &err)) {
		print_message("SKIP %s\n", err.msg);
		skip();
	}
	r->net->driver->send(r->net, &iov, 1);
	r->net->driver->poll(r->net, true, false);
	loop_run_once(&r->loop, 20000);
	skip_if_gone(pipes[0]);
	expect_arp_reply(r, 0x0a00020f, 0x0a000202);
	close(pipes[0]);
	close(pipes[1]);
}

/* A passt of our own making at the other end of its socket. */
static void open_fake_passt(struct rig *r)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct error err = ERROR_INIT;
	char backend[128];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path),
		 "/tmp/godwit-passt-%d", (int)getpid());
	unlink(addr.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(backend, sizeof(backend), "passt:%s", addr.sun_path);
	assert_int_equal(open_net(r, backend, &err), 0);
	r->peer = accept(fd, NULL, NULL);
	close(fd);
	unlink(addr.sun_path);
}

static void a_frame_in_two_parts_is_put_together(void **state)
{
	struct rig *r = *state;
	const uint8_t parts[] = { 0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o' };

	open_fake_passt(r);
	fd_write_full(r->peer, parts, 6);
	r->net->driver->poll(r->net, true, false);
	loop_run_once(&r->loop, 1000);
	assert_int_equal(r->len, 0);
	fd_write_full(r->peer, parts + 6, 3);
	assert_int_equal(await_frame(r), NET_HDR_BYTES + 5);
	assert_memory_equal(r->frame + NET_HDR_BYTES, "hello", 5);
}

static void frames_received_together_come_one_by_one(void **state)
{
	struct rig *r = *state;
	const uint8_t two[] = { 0, 0, 0, 1, 'a', 0, 0, 0, 2, 'b', 'c' };

	open_fake_passt(r);
	fd_write_full(r->peer, two, sizeof(two));
	assert_int_equal(await_frame(r), NET_HDR_BYTES + 1);
	assert_int_equal(await_frame(r), NET_HDR_BYTES + 2);
	assert_int_equal(r->frame[NET_HDR_BYTES + 1], 'c');
}

static void a_frame_is_sent_behind_its_length(void **state)
{
	struct rig *r = *state;
	char buf[NET_HDR_BYTES + 3] = { [NET_HDR_BYTES] = 'x', 'y', 'z' };
	struct iovec iov[2] = { { buf, 5 }, { buf + 5, sizeof(buf) - 5 } };
	uint8_t got[7];

	open_fake_passt(r);
	assert_int_equal(r->net->driver->send(r->net, iov, 2), 0);
	assert_int_equal(fd_read_full(r->peer, got, sizeof(got)), 0);
	assert_memory_equal(got, "\0\0\0\3xyz", 7);
}

/* Fills the socket; then the other side reads and counts whole frames. */
static void a_full_socket_holds_frames_back_and_loses_none(void **state)
{
	enum { BODY = 40000 };
	struct rig *r = *state;
	uint8_t *buf = calloc(1, NET_HDR_BYTES + BODY), len[4];
	struct iovec iov = { buf, NET_HDR_BYTES + BODY };
	unsigned int sent = 0;

	open_fake_passt(r);
	while (!r->net->driver->send(r->net, &iov, 1))
		sent++;
	r->net->driver->poll(r->net, false, true);
	for (unsigned int i = 0; i < sent; i++) {
		assert_int_equal(fd_read_full(r->peer, len, 4), 0);
		assert_int_equal(get_be32(len), BODY);
		if (i + 1 == sent)	/* its rest may still be with us */
			while (!r->writable)
				loop_run_once(&r->loop, 100);
		assert_int_equal(fd_read_full(r->peer, buf, BODY), 0);
	}
	assert_int_equal(r->net->driver->send(r->net, &iov, 1), 0);
	free(buf);
}

static void a_length_that_no_frame_has_unplugs_the_cable(void **state)
{
	struct rig *r = *state;
	const uint8_t bad[] = { 0xff, 0xff, 0xff, 0xff, 1 };
	struct iovec iov = { r->frame, 100 };

	r->log.level = 0;
	open_fake_passt(r);
	fd_write_full(r->peer, bad, sizeof(bad));
	r->net->driver->poll(r->net, true, false);
	loop_run_once(&r->loop, 1000);
	assert_int_equal(r->len, 0);
	assert_int_equal(r->net->driver->send(r->net, &iov, 1), 0);
}

static void a_passt_that_dies_unplugs_the_cable(void **state)
{
	struct rig *r = *state;
	struct iovec iov = { r->frame, 100 };

	r->log.level = 0;
	open_fake_passt(r);
	fd_close(&r->peer);
	r->net->driver->poll(r->net, true, false);
	loop_run_once(&r->loop, 1000);
	assert_int_equal(r->net->driver->send(r->net, &iov, 1), 0);
	/* and the loop is not kept busy by a dead socket */
	assert_false(epoll_wait(r->loop.epoll_fd,
				&(struct epoll_event){ 0 }, 1, 0));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_unknown_backend_names_those_there_are),
		TEST(a_name_too_long_is_refused),
		TEST(passt_answers_arp),
		TEST(a_frame_in_two_parts_is_put_together),
		TEST(frames_received_together_come_one_by_one),
		TEST(a_frame_is_sent_behind_its_length),
		TEST(a_full_socket_holds_frames_back_and_loses_none),
		TEST(a_length_that_no_frame_has_unplugs_the_cable),
		TEST(a_passt_that_dies_unplugs_the_cable),
		/* these leave the host's network namespace, so they are last */
		TEST(the_host_answers_arp_through_a_tap),
		TEST(a_tap_in_use_is_refused),
		TEST(a_tap_takes_offloads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
