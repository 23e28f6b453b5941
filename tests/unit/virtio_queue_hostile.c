/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues: what a bad driver can't do. */
#include "tests/lib/virtq_rig.h"

static void expect_broken(struct rig *r, const char *why)
{
	assert_int_equal(virtq_pop(&r->q, &r->c), -EBADMSG);
	assert_non_null(r->q.why);
	assert_non_null(strstr(r->q.why, why));
	/* and stays so */
	assert_int_equal(virtq_pop(&r->q, &r->c), -EBADMSG);
}

static void loop_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 8, VRING_DESC_F_NEXT, 1);
	desc(r, DESC, 1, DATA, 8, VRING_DESC_F_NEXT, 0);
	offer(r, 0);
	expect_broken(r, "loop");
}

static void loop_in_an_indirect_table_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 16, VRING_DESC_F_INDIRECT, 0);
	desc(r, DATA, 0, DATA, 8, VRING_DESC_F_NEXT, 0);
	offer(r, 0);
	expect_broken(r, "loop");
}

static void nested_indirect_table_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 16, VRING_DESC_F_INDIRECT, 0);
	desc(r, DATA, 0, DATA + 0x100, 16, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	expect_broken(r, "indirect");
}

static void indirect_of_the_own_table_is_refused(void **state)
{
	struct rig *r = *state;

	/* it would look like the direct one for ever */
	desc(r, DESC, 0, DESC, 16 * SIZE, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	expect_broken(r, "indirect");
}

static void indirect_with_next_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 16,
	     VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	offer(r, 0);
	expect_broken(r, "indirect");
}

static void indirect_not_negotiated_is_refused(void **state)
{
	struct rig *r = *state;

	r->q.indirect = false;
	desc(r, DESC, 0, DATA, 16, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	expect_broken(r, "indirect");
}

static void indirect_table_of_odd_size_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 24, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	expect_broken(r, "indirect");
}

static void indirect_table_of_no_size_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 0, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	expect_broken(r, "indirect");
}

static void indirect_table_outside_memory_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, MEM - 16, 32, VRING_DESC_F_INDIRECT, 0);
	offer(r, 0);
	expect_broken(r, "outside");
}

static void indirect_index_beyond_its_table_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 32, VRING_DESC_F_INDIRECT, 0);
	desc(r, DATA, 0, DATA, 8, VRING_DESC_F_NEXT, 2);
	offer(r, 0);
	expect_broken(r, "index");
}

static void address_outside_memory_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, MEM, 1, 0, 0);
	offer(r, 0);
	expect_broken(r, "outside");
}

static void address_that_wraps_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, UINT64_MAX - 3, 8, 0, 0);
	offer(r, 0);
	expect_broken(r, "outside");
}

static void buffer_over_the_end_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, MEM - 4, 8, VRING_DESC_F_WRITE, 0);
	offer(r, 0);
	expect_broken(r, "outside");
}

static void zero_length_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 0, 0, 0);
	offer(r, 0);
	expect_broken(r, "no length");
}

static void readable_after_writable_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	desc(r, DESC, 1, DATA, 8, 0, 0);
	offer(r, 0);
	expect_broken(r, "follows");
}

static void head_beyond_the_queue_is_refused(void **state)
{
	struct rig *r = *state;

	offer(r, SIZE);
	expect_broken(r, "index");
}

static void next_beyond_the_queue_is_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 8, VRING_DESC_F_NEXT, SIZE);
	offer(r, 0);
	expect_broken(r, "index");
}

static void jump_of_the_available_index_is_refused(void **state)
{
	struct rig *r = *state;

	put_le16(at(r, AVAIL + 2, 2), SIZE + 1);
	expect_broken(r, "jumped");
}

static void more_chains_than_entries_are_refused(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 8, 0, 0);
	for (unsigned int i = 0; i < SIZE; i++) {
		offer(r, 0);
		assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	}
	offer(r, 0);
	expect_broken(r, "more buffers");
}

static void chain_of_the_longest_length_is_served(void **state)
{
	struct rig *r = *state;

	desc(r, DESC, 0, DATA, 16 * VIRTQ_MAX_IOV, VRING_DESC_F_INDIRECT, 0);
	for (unsigned int i = 0; i < VIRTQ_MAX_IOV; i++)
		desc(r, DATA, i, 0x10000, 1, i + 1 < VIRTQ_MAX_IOV ?
		     VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	offer(r, 0);
	assert_int_equal(virtq_pop(&r->q, &r->c), 1);
	assert_int_equal(r->c.nout, VIRTQ_MAX_IOV);
}

static void ring_outside_memory_breaks_the_queue(void **state)
{
	struct rig *r = *state;

	r->q.device = MEM - 8;
	assert_int_equal(virtq_enable(&r->q), -EBADMSG);
	assert_int_equal(virtq_pop(&r->q, &r->c), -EBADMSG);
	/* and none of these touches it */
	virtq_notify_off(&r->q);
	assert_false(virtq_notify_on(&r->q));
	assert_false(virtq_should_interrupt(&r->q));
}

static void misaligned_ring_breaks_the_queue(void **state)
{
	struct rig *r = *state;

	r->q.driver = AVAIL + 1;
	assert_int_equal(virtq_enable(&r->q), -EBADMSG);
}

static void size_of_no_power_of_two_breaks_the_queue(void **state)
{
	struct rig *r = *state;

	r->q.size = 6;
	assert_int_equal(virtq_enable(&r->q), -EBADMSG);
}

static void size_over_the_limit_breaks_the_queue(void **state)
{
	struct rig *r = *state;

	r->q.size = 32;
	assert_int_equal(virtq_enable(&r->q), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(loop_is_refused),
		T(loop_in_an_indirect_table_is_refused),
		T(nested_indirect_table_is_refused),
		T(indirect_of_the_own_table_is_refused),
		T(indirect_with_next_is_refused),
		T(indirect_not_negotiated_is_refused),
		T(indirect_table_of_odd_size_is_refused),
		T(indirect_table_of_no_size_is_refused),
		T(indirect_table_outside_memory_is_refused),
		T(indirect_index_beyond_its_table_is_refused),
		T(address_outside_memory_is_refused),
		T(address_that_wraps_is_refused),
		T(buffer_over_the_end_is_refused),
		T(zero_length_is_refused),
		T(readable_after_writable_is_refused),
		T(head_beyond_the_queue_is_refused),
		T(next_beyond_the_queue_is_refused),
		T(jump_of_the_available_index_is_refused),
		T(more_chains_than_entries_are_refused),
		T(chain_of_the_longest_length_is_served),
		T(ring_outside_memory_breaks_the_queue),
		T(misaligned_ring_breaks_the_queue),
		T(size_of_no_power_of_two_breaks_the_queue),
		T(size_over_the_limit_breaks_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
