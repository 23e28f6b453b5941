/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Moves on one host, whose memory is handed over as an open file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/message.h"
#include "tests/lib/move_rig.h"
#include "vmm/base/fd.h"

static void shared_memory_is_handed_over_and_no_page_is_sent(void **state)
{
	struct rig r;

	(void)state;
	rig_init_local(&r);
	rig_move(&r);
	expect_moved(&r);
	assert_true(r.got_memory);
	assert_string_equal(r.stats.type, "local");
	assert_int_equal(r.stats.normal_pages, 0);
	assert_true(r.stats.wire_bytes < 64 * KIB);
	/* it writes there: stand still while the two views are compared */
	fake_vm_ops.pause(&r.to->vm, VM_PAUSED);
	assert_true(fake_vm_same_memory(r.from, r.to));
	rig_exit(&r);
}

static void other_memory_is_copied(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	r.scfg.params.local = true;
	rig_move(&r);
	expect_moved(&r);
	assert_false(r.got_memory);
	assert_true(r.stats.normal_pages >= 500);
	rig_exit(&r);
}

static void shared_memory_is_copied_unless_told_so(void **state)
{
	struct rig r;

	(void)state;
	rig_init_local(&r);
	r.scfg.params.local = false;
	rig_move(&r);
	expect_moved(&r);
	assert_false(r.got_memory);
	rig_exit(&r);
}

static void expect_no_start(struct rig *r, const char *why)
{
	struct migration_source *s;

	assert_int_equal(migration_source_start(&s, &r->scfg, &r->err),
			 -EINVAL);
	assert_non_null(strstr(r->err.msg, why));
	error_clear(&r->err);
}

static void over_a_network_nothing_is_handed(void **state)
{
	struct rig r;

	(void)state;
	rig_init_local(&r);
	r.scfg.params.uri = "tcp:127.0.0.1:1";
	r.scfg.params.security.plain = true;
	expect_no_start(&r, "--local");
	rig_exit(&r);
}

static void a_dry_run_hands_nothing(void **state)
{
	struct rig r;

	(void)state;
	rig_init_local(&r);
	r.scfg.params.dry_run = true;
	expect_no_start(&r, "dry run");
	rig_exit(&r);
}

/* Sums of the pages that the guest doesn't write. */
static uint64_t sum(struct fake_vm *f)
{
	const uint64_t *at = memory_ptr(&f->vm.mem, 100 << PAGE_SHIFT,
					500 << PAGE_SHIFT);
	uint64_t s = 0;

	for (size_t i = 0; i < (500 << PAGE_SHIFT) / sizeof(*at); i++)
		s += at[i] * (i + 1);
	return s;
}

static void a_destination_that_fails_leaves_the_memory_alone(void **state)
{
	struct rig r;
	uint64_t before;

	(void)state;
	rig_init_local(&r);
	before = sum(r.from);
	r.model.fail_load = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "serial@3f8");
	assert_true(r.got_memory);
	assert_true(sum(r.from) == before);
	rig_exit(&r);
}

static void a_vm_whose_destination_cannot_run_it_goes_on(void **state)
{
	struct rig r;

	(void)state;
	rig_init_local(&r);
	r.model.fail_run = 1;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_FAILED, "KVM_RUN");
	rig_exit(&r);
}

static void cancelled_in_the_pause_it_runs_on(void **state)
{
	struct rig r;

	(void)state;
	rig_init_local(&r);
	r.cancel_at = MIGRATION_STAGE_STOP_AND_COPY;
	rig_move(&r);
	expect_stayed(&r, MIGRATION_CANCELLED, "cancelled");
	rig_exit(&r);
}

static void wherever_the_link_is_cut_one_runs(void **state)
{
	static const enum wire_type at[] = {
		WIRE_MEMORY, WIRE_OFFER, WIRE_ACCEPT, WIRE_ROUND, WIRE_STATE,
		WIRE_PREPARED, WIRE_GO, WIRE_RUNNING,
	};

	(void)state;
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(at); i++) {
		struct rig r;

		rig_init_local(&r);
		rig_cut(&r, at[i / 2], i % 2, false);
		rig_move(&r);
		assert_true(r.proxy.cut);
		if (r.stats.outcome == MIGRATION_COMPLETED)
			expect_moved(&r);
		else
			expect_stayed(&r, MIGRATION_FAILED, "");
		rig_exit(&r);
	}
}

static void memory_in_which_the_guest_has_run_is_not_taken_back(void **state)
{
	struct rig r;

	(void)state;
	rig_init_local(&r);
	rig_cut(&r, WIRE_GO, false, true);
	rig_move(&r);
	assert_int_equal(r.stats.outcome, MIGRATION_UNKNOWN);
	assert_int_equal(r.to->state, VM_RUNNING);
	/* it dies there, and its lock is free */
	fake_vm_free(r.to);
	r.to = NULL;
	r.world.running = 0;
	assert_int_equal(migration_source_take_back(r.s, &r.err), -EBUSY);
	assert_non_null(strstr(r.err.msg, "has run in this memory"));
	r.dcfg.destroy = NULL;
	rig_exit(&r);
}

/* -- strangers ------------------------------------------------------------ */

/* Its regions lie in the file at multiples of 2 MiB. */
#define NEED ((RIG_MIB + 1) * MIB + PAGE_BYTES)

/* A memfd as a stranger may make one. */
static int make(uint64_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* Bytes, and as many copies of @fd. */
static void send_fds(int sock, const void *buf, size_t len, int fd,
		     unsigned int n)
{
	union {
		char room[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control = { .room = "" };
	struct iovec iov = { .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	memcpy(&iov.iov_base, &buf, sizeof(buf));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (unsigned int i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	if (!n)
		msg.msg_control = NULL, msg.msg_controllen = 0;
	assert_int_equal(sendmsg(sock, &msg, 0), len);
}

static void send_memory(struct channel *ch, uint64_t size, int fd,
			unsigned int n)
{
	const struct wire_memory m = { .size = size };
	uint8_t payload[WIRE_MEMORY_SIZE], whole[WIRE_HEADER + WIRE_MEMORY_SIZE];

	wire_memory_encode(payload, &m);
	wire_header_encode(whole, WIRE_MEMORY, payload, sizeof(payload), NULL,
			   0);
	memcpy(whole + WIRE_HEADER, payload, sizeof(payload));
	send_fds(ch->fd, whole, sizeof(whole), fd, n);
}

static void send_offer(struct channel *ch, struct rig *r)
{
	struct wire_offer offer = {
		.memory = RIG_MIB * MIB, .page_size = PAGE_BYTES,
		.state_version = 1, .max_pause_ms = 500, .channels = 1,
	};
	uint8_t buf[WIRE_OFFER_SIZE];
	const uint8_t *tree = r->from->vm.tree;

	assert_int_equal(message_send(ch, WIRE_OFFER, buf,
				      wire_offer_encode(buf, &offer), tree,
				      (size_t)tree[4] << 24 | tree[5] << 16 |
				      tree[6] << 8 | tree[7], 0, &r->err), 0);
}

/* HELLO, MEMORY with @n times @fd (closed here), OFFER: refused with @why. */
static void expect_refused(uint64_t size, int fd, unsigned int n,
			   const char *why)
{
	const struct wire_hello hello = {
		.oldest = 1, .newest = 1, .role = WIRE_ROLE_CONTROL,
		.job = { "stranger" },
	};
	char text[WIRE_MAX_TEXT + 1];
	struct channel ch;
	struct message m;
	struct rig r;

	rig_init(&r);
	rig_listen(&r);
	assert_int_equal(channel_connect(&ch, r.uri, NULL, -1, 0, &r.err), 0);
	assert_int_equal(message_hello(&ch, &hello, 0, &r.err), 0);
	send_memory(&ch, size, fd, n);
	fd_close(&fd);
	send_offer(&ch, &r);
	assert_int_equal(message_recv(&ch, &m, 0, &r.err), 0);
	assert_int_equal(m.type, WIRE_REFUSE);
	wire_text_decode(m.payload, m.len, text);
	if (!strstr(text, why))
		print_message("it said: %s\n", text);
	assert_non_null(strstr(text, why));
	message_free(&m);
	channel_close(&ch);
	/* it goes on as if nothing had been */
	rig_move(&r);
	expect_moved(&r);
	rig_exit(&r);
}

#define FIXED (F_SEAL_SHRINK | F_SEAL_GROW)

static void memory_without_a_file_is_refused(void **state)
{
	(void)state;
	expect_refused(NEED, -1, 0, "0 open files came");
}

static void two_files_are_refused(void **state)
{
	(void)state;
	expect_refused(NEED, make(NEED, FIXED), 2, "2 open files came");
}

static void many_files_are_refused(void **state)
{
	(void)state;
	expect_refused(NEED, make(NEED, FIXED), 8, "3 open files came");
}

static void a_file_that_is_too_short_is_refused(void **state)
{
	(void)state;
	expect_refused(NEED, make(NEED - PAGE_BYTES, FIXED), 1, "bytes, the machine needs");
}

static void a_file_that_can_be_cut_is_refused(void **state)
{
	(void)state;
	expect_refused(NEED, make(NEED, F_SEAL_GROW), 1, "not sealed");
}

static void a_file_that_cannot_be_written_is_refused(void **state)
{
	(void)state;
	expect_refused(NEED, make(NEED, FIXED | F_SEAL_WRITE), 1, "map");
}

static void another_size_than_the_machines_is_refused(void **state)
{
	(void)state;
	expect_refused(NEED + PAGE_BYTES, make(NEED, FIXED), 1, "MEMORY says");
}

static void what_is_no_memfd_is_refused(void **state)
{
	(void)state;
	expect_refused(NEED, open("/dev/zero", O_RDWR | O_CLOEXEC), 1,
		       "no memfd");
	expect_refused(NEED, open("/proc/self/exe", O_RDONLY | O_CLOEXEC), 1,
		       "shared memory");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(shared_memory_is_handed_over_and_no_page_is_sent),
		cmocka_unit_test(other_memory_is_copied),
		cmocka_unit_test(shared_memory_is_copied_unless_told_so),
		cmocka_unit_test(over_a_network_nothing_is_handed),
		cmocka_unit_test(a_dry_run_hands_nothing),
		cmocka_unit_test(
			a_destination_that_fails_leaves_the_memory_alone),
		cmocka_unit_test(a_vm_whose_destination_cannot_run_it_goes_on),
		cmocka_unit_test(cancelled_in_the_pause_it_runs_on),
		cmocka_unit_test(wherever_the_link_is_cut_one_runs),
		cmocka_unit_test(
			memory_in_which_the_guest_has_run_is_not_taken_back),
		cmocka_unit_test(memory_without_a_file_is_refused),
		cmocka_unit_test(two_files_are_refused),
		cmocka_unit_test(many_files_are_refused),
		cmocka_unit_test(a_file_that_is_too_short_is_refused),
		cmocka_unit_test(a_file_that_can_be_cut_is_refused),
		cmocka_unit_test(a_file_that_cannot_be_written_is_refused),
		cmocka_unit_test(another_size_than_the_machines_is_refused),
		cmocka_unit_test(what_is_no_memfd_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
