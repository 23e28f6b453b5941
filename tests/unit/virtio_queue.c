/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues: what a good driver sees. */
#include "tests/lib/virtq_rig.h"

static void empty_queue_gives_nothing(void **state)
{
	struct rig *r = *state;

	assert_int_equal(virtq_pop(&r->q, &r->c), 0);
}

static void chain_is_split_in_readable_and_writable(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 3, DATA, 16, VRING_DESC_F_NEXT, 5);
	desc(r, DESC, 5, DATA + 0x100, 512,
	     VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	desc(r, DESC, 0, DATA + 0x400, 1, VRING_DESC_F_WRITE, 0);
	offer(r, 3);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	assert_int_equal(r->c.head, 3);
	assert_int_equal(r->c.nout, 1);
	assert_int_equal(r->c.nin, 2);
	assert_int_equal(r->c.out_len, 16);
	assert_int_equal(r->c.in_len, 513);
	assert_ptr_equal(r->c.in[1].iov_base, at(r, DATA + 0x400, 1));
}

static void push_writes_id_length_and_index(void **state)
{
	struct rig *r = *state;
	uint8_t *used = at(r, USED, 20);

	desc(r, DESC, 2, DATA, 64, VRING_DESC_F_WRITE, 0);
	offer(r, 2);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	virtq_push(&r->q, &r->c, 17);
	assert_int_equal(get_le16(used + 2), 1);
	assert_int_equal(get_le32(used + 4), 2);
	assert_int_equal(get_le32(used + 8), 17);
}

static bool is_dirty(struct rig *r, gpa_t addr)
{
	unsigned long bits[MEM / PAGE_BYTES / 64] = { 0 };

	memory_take_own(&r->mem, 0, bits);
	/* keep what the next question asks for */
	for (unsigned int i = 0; i < ARRAY_SIZE(bits) * 64; i++)
		if (bits[i / 64] >> (i % 64) & 1 && i != addr >> PAGE_SHIFT)
			memory_mark_dirty(&r->mem, (gpa_t)i << PAGE_SHIFT, 1);
	return bits[addr / PAGE_BYTES / 64] >> (addr / PAGE_BYTES % 64) & 1;
}

static void push_marks_ring_and_buffers_dirty(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 16, VRING_DESC_F_NEXT, 1);
	desc(r, DESC, 1, 0x10000, 0x3000, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	memory_track_own(&r->mem, true);
	virtq_push(&r->q, &r->c, 0x1001);
	assert_true(is_dirty(r, USED));
	assert_true(is_dirty(r, 0x10000));
	assert_true(is_dirty(r, 0x11000));
	assert_false(is_dirty(r, 0x12000));	/* not written */
	assert_false(is_dirty(r, DATA));	/* only read */
}

static void dirty_marks_survive_trimming(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, 0x10000, 0x1000, VRING_DESC_F_NEXT |
	     VRING_DESC_F_WRITE, 1);
	desc(r, DESC, 1, 0x20000, 1, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	iov_trim_back(r->c.in, &r->c.nin, 1);
	assert_int_equal(r->c.nin, 1);
	memory_track_own(&r->mem, true);
	virtq_push(&r->q, &r->c, r->c.in_len);
	assert_true(is_dirty(r, 0x20000));
}

static void indirect_table_is_followed(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 32, VRING_DESC_F_INDIRECT, 0);
	desc(r, DATA, 0, 0x10000, 8, VRING_DESC_F_NEXT, 1);
	desc(r, DATA, 1, 0x11000, 4, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	assert_int_equal(r->c.out_len, 8);
	assert_int_equal(r->c.in_len, 4);
}

static void indirect_table_may_end_a_direct_chain(void **state)
{
	struct rig *r = *state;

	/* section 2.7.5.3.2; the write flag of its descriptor is ignored */
	desc(r, DESC, 0, 0x10000, 8, VRING_DESC_F_NEXT, 1);
	desc(r, DESC, 1, DATA, 16,
	     VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	desc(r, DATA, 0, 0x11000, 4, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	assert_int_equal(r->c.out_len, 8);
	assert_int_equal(r->c.in_len, 4);
}

static void unpop_gives_the_same_chain_again(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 4, DATA, 8, 0, 0);
	offer(r, 4);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	virtq_unpop(&r->q, &r->c);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	assert_int_equal(r->c.head, 4);
}

static void indices_wrap_at_65536(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 8, VRING_DESC_F_WRITE, 0);
	for (unsigned int i = 0; i < 65536 + 3; i++) {
		offer(r, 0);
		if (virtq_pop(&r->q, &r->c) != 1)
			fail_msg("stopped at %u: %s", i, r->q.why);
		virtq_push(&r->q, &r->c, 0);
	}
	assert_int_equal(get_le16(at(r, USED + 2, 2)), 3);
}

static void void_chain_is_not_pushed(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 8, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	assert_int_equal(virtq_enable(&r->q), 0);	/* set up again */
	virtq_push(&r->q, &r->c, 8);
	assert_int_equal(get_le16(at(r, USED + 2, 2)), 0);
	assert_int_equal(r->q.inflight, 0);
}

/* -- notifications */

static void use(struct rig *r, unsigned int n)
{
	desc(r, DESC, 0, DATA, 8, VRING_DESC_F_WRITE, 0);
	while (n--) {
		offer(r, 0);
		assert_int_equal(virtq_pop(&r->q, &r->c), 1);
		virtq_push(&r->q, &r->c, 0);
	}
}

static void interrupt_follows_the_flag(void **state)
{
	struct rig *r = *state;

	use(r, 1);
	assert_true(virtq_should_interrupt(&r->q));
	assert_false(virtq_should_interrupt(&r->q));	/* nothing new */
	put_le16(at(r, AVAIL, 2), VRING_AVAIL_F_NO_INTERRUPT);
	use(r, 1);
	assert_false(virtq_should_interrupt(&r->q));
}

static void interrupt_follows_the_event_index(void **state)
{
	struct rig *r = *state;
	uint8_t *used_event = at(r, AVAIL + 4 + 2 * SIZE, 2);

	r->q.event_idx = true;
	put_le16(used_event, 2);	/* after the third */
	use(r, 2);
	assert_false(virtq_should_interrupt(&r->q));
	use(r, 1);
	assert_true(virtq_should_interrupt(&r->q));
	use(r, 1);
	assert_false(virtq_should_interrupt(&r->q));
}

static void event_index_may_wrap(void **state)
{
	struct rig *r = *state;
	uint8_t *used_event = at(r, AVAIL + 4 + 2 * SIZE, 2);

	r->q.event_idx = true;
	r->q.used_idx = r->q.signalled = 65535;
	put_le16(used_event, 0);
	use(r, 1);
	assert_false(virtq_should_interrupt(&r->q));
	use(r, 1);
	assert_true(virtq_should_interrupt(&r->q));
}

static void notify_on_moves_the_event_index(void **state)
{
	struct rig *r = *state;

	r->q.event_idx = true;
	use(r, 3);
	assert_false(virtq_notify_on(&r->q));
	assert_int_equal(get_le16(at(r, USED + 4 + 8 * SIZE, 2)), 3);
}

static void notify_cancel_takes_a_wish_back(void **state)
{
	struct rig *r = *state;

	r->q.event_idx = true;
	use(r, 3);
	assert_false(virtq_notify_on(&r->q));
	virtq_notify_cancel(&r->q);
	/* what the driver adds next crosses nothing (section 2.7.10) */
	assert_false(vring_need_event(
		get_le16(at(r, USED + 4 + 8 * SIZE, 2)), 4, 3));
}

static void notify_on_tells_what_came_meanwhile(void **state)
{
	struct rig *r = *state;

	offer(r, 0);
	assert_true(virtq_notify_on(&r->q));
}

static void notify_off_sets_the_flag(void **state)
{
	struct rig *r = *state;

	virtq_notify_off(&r->q);
	assert_int_equal(get_le16(at(r, USED, 2)), VRING_USED_F_NO_NOTIFY);
	virtq_notify_on(&r->q);
	assert_int_equal(get_le16(at(r, USED, 2)), 0);
}

static void event_index_is_marked_dirty(void **state)
{
	struct rig *r = *state;

	r->q.event_idx = true;
	memory_track_own(&r->mem, true);
	virtq_notify_on(&r->q);
	assert_true(is_dirty(r, USED));
}

/* -- buffers */

static void buffers_side_by_side_become_one(void **state)
{
	char b[64];
	struct iovec iov[] = {
		{ b, 8 }, { b + 8, 8 }, { b + 32, 8 }, { b + 40, 16 },
		{ b + 16, 8 },
	};

	assert_int_equal(iov_merge(iov, 5), 3);
	assert_ptr_equal(iov[0].iov_base, b);
	assert_int_equal(iov[0].iov_len, 16);
	assert_ptr_equal(iov[1].iov_base, b + 32);
	assert_int_equal(iov[1].iov_len, 24);
	assert_ptr_equal(iov[2].iov_base, b + 16);
	assert_int_equal(iov_merge(iov, 0), 0);
}

static void copies_cross_buffers(void **state)
{
	char a[3] = "abc", b[4] = "defg", out[8] = "";
	struct iovec iov[] = { { a, sizeof(a) }, { b, sizeof(b) } };

	assert_int_equal(iov_read(iov, 2, 2, out, 8), 5);
	assert_memory_equal(out, "cdefg", 5);
	assert_int_equal(iov_write(iov, 2, 1, "12345678", 8), 6);
	assert_memory_equal(a, "a12", 3);
	assert_memory_equal(b, "3456", 4);
}

static void trimming_crosses_buffers(void **state)
{
	char a[3], b[4], c[5];
	struct iovec iov[] = { { a, 3 }, { b, 4 }, { c, 5 } };
	struct iovec *p = iov;
	unsigned int n = 3;

	iov_trim_front(&p, &n, 4);
	assert_int_equal(n, 2);
	assert_ptr_equal(p->iov_base, b + 1);
	assert_int_equal(p->iov_len, 3);
	iov_trim_back(p, &n, 6);
	assert_int_equal(n, 1);
	assert_int_equal(p->iov_len, 2);
	iov_trim_front(&p, &n, 100);
	assert_int_equal(n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(empty_queue_gives_nothing),
		T(chain_is_split_in_readable_and_writable),
		T(push_writes_id_length_and_index),
		T(push_marks_ring_and_buffers_dirty),
		T(dirty_marks_survive_trimming),
		T(indirect_table_is_followed),
		T(indirect_table_may_end_a_direct_chain),
		T(unpop_gives_the_same_chain_again),
		T(indices_wrap_at_65536),
		T(void_chain_is_not_pushed),
		T(interrupt_follows_the_flag),
		T(interrupt_follows_the_event_index),
		T(event_index_may_wrap),
		T(notify_on_moves_the_event_index),
		T(notify_cancel_takes_a_wish_back),
		T(notify_on_tells_what_came_meanwhile),
		T(notify_off_sets_the_flag),
		T(event_index_is_marked_dirty),
		cmocka_unit_test(buffers_side_by_side_become_one),
		cmocka_unit_test(copies_cross_buffers),
		cmocka_unit_test(trimming_crosses_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
