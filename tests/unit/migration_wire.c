/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migration/crc32c.h"
#include "migration/wire.h"
#include "vmm/base/byteorder.h"

static void encode(uint8_t out[WIRE_HEADER], const char *payload)
{
	wire_header_encode(out, WIRE_CANCEL, payload, strlen(payload), NULL, 0);
}

static void crc32c_knows_the_test_vectors_of_rfc3720(void **state)
{
	uint8_t zero[32] = { 0 };
	uint8_t ascending[32];

	(void)state;
	for (unsigned int i = 0; i < 32; i++)
		ascending[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, zero, 32), 0x8a9136aa);
	assert_int_equal(crc32c(0, ascending, 32), 0x46dd794e);
	assert_int_equal(crc32c(crc32c(0, ascending, 5), ascending + 5, 27),
			 0x46dd794e);
}

static void header_comes_back_as_it_was_sent(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t buf[WIRE_HEADER];
	struct wire_header h;

	(void)state;
	wire_header_encode(buf, WIRE_STATE, "ab", 2, "cde", 3);
	assert_int_equal(wire_header_decode(buf, &h, &err), 0);
	assert_int_equal(h.type, WIRE_STATE);
	assert_int_equal(h.length, 5);
	assert_int_equal(wire_crc_check(buf, "abcde", 5, &err), 0);
}

static void any_flipped_bit_of_a_message_is_noticed(void **state)
{
	uint8_t good[WIRE_HEADER], bad[WIRE_HEADER];
	char payload[] = "payload";

	(void)state;
	encode(good, payload);
	for (unsigned int bit = 0; bit < 8 * (WIRE_HEADER + 7); bit++) {
		struct error err = ERROR_INIT;
		struct wire_header h;
		char data[] = "payload";

		memcpy(bad, good, sizeof(bad));
		if (bit < 8 * WIRE_HEADER)
			bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
		else
			data[bit / 8 - WIRE_HEADER] ^= (char)(1 << bit % 8);
		if (wire_header_decode(bad, &h, &err) == 0)
			assert_int_not_equal(wire_crc_check(bad, data, 7, &err),
					     0);
	}
}

static void type_zero_is_refused(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t buf[WIRE_HEADER];
	struct wire_header h;

	(void)state;
	encode(buf, "");
	put_be16(buf + 6, 0);
	assert_int_equal(wire_header_decode(buf, &h, &err), -EPROTO);
}

static void unknown_type_is_refused_only_if_mandatory(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t buf[WIRE_HEADER];
	struct wire_header h;

	(void)state;
	encode(buf, "");
	put_be16(buf + 6, 999);
	assert_int_equal(wire_header_decode(buf, &h, &err), -EPROTO);
	put_be32(buf + 8, 0);
	assert_int_equal(wire_header_decode(buf, &h, &err), 0);
}

static void length_above_the_types_limit_is_refused(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t buf[WIRE_HEADER];
	struct wire_header h;

	(void)state;
	encode(buf, "");
	put_be64(buf + 16, WIRE_MAX_SMALL + 1);
	assert_int_equal(wire_header_decode(buf, &h, &err), -EMSGSIZE);
	put_be16(buf + 6, WIRE_OFFER);
	assert_int_equal(wire_header_decode(buf, &h, &err), 0);
	put_be64(buf + 16, WIRE_MAX_TREE + 1);
	assert_int_equal(wire_header_decode(buf, &h, &err), -EMSGSIZE);
}

static void hello_with_no_common_version_is_refused(void **state)
{
	struct wire_hello in = { .oldest = 2, .newest = 3, .role = 1 }, out;
	struct error err = ERROR_INIT;
	uint8_t buf[WIRE_HELLO_SIZE];

	(void)state;
	wire_hello_encode(buf, &in);
	assert_int_equal(wire_hello_decode(buf, sizeof(buf), &out, &err),
			 -EPROTO);
	in.oldest = 1;
	wire_hello_encode(buf, &in);
	assert_int_equal(wire_hello_decode(buf, sizeof(buf), &out, &err), 0);
}

static void offer_keeps_every_field(void **state)
{
	struct wire_offer in = { .memory = 1ull << 40, .page_size = 4096,
				 .state_version = 7, .max_pause_ms = 500,
				 .channels = 3 };
	struct wire_offer out;
	struct error err = ERROR_INIT;
	uint8_t buf[WIRE_OFFER_SIZE + 4];

	(void)state;
	memcpy(buf + wire_offer_encode(buf, &in), "tree", 4);
	assert_int_equal(wire_offer_decode(buf, sizeof(buf), &out, &err), 0);
	assert_int_equal(out.memory, in.memory);
	assert_int_equal(out.state_version, 7);
	assert_int_equal(out.max_pause_ms, 500);
	assert_int_equal(out.channels, 3);
	assert_int_equal(out.tree_len, 4);
	assert_memory_equal(out.tree, "tree", 4);
}

static void an_offer_that_wants_more_is_refused(void **state)
{
	struct wire_offer in = { .page_size = 4096, .channels = 1,
				 .flags = 0x8000 };
	struct error err = ERROR_INIT;
	struct wire_offer out;
	uint8_t buf[WIRE_OFFER_SIZE];

	(void)state;
	wire_offer_encode(buf, &in);
	assert_int_equal(wire_offer_decode(buf, sizeof(buf), &out, &err),
			 -ENOTSUP);
	assert_non_null(strstr(err.msg, "0x8000"));
}

static void a_payload_of_the_wrong_size_is_refused(void **state)
{
	uint8_t buf[64] = { 0 };
	struct error err = ERROR_INIT;
	struct wire_hello hello;
	struct wire_offer offer;
	struct wire_round round;
	struct wire_state st;
	struct wire_prepared prepared;
	struct wire_running running;
	struct wire_job job;
	uint32_t channels;

	(void)state;
	assert_true(wire_hello_decode(buf, 25, &hello, &err) < 0);
	assert_true(wire_offer_decode(buf, 23, &offer, &err) < 0);
	assert_true(wire_accept_decode(buf, 9, &channels, &err) < 0);
	assert_true(wire_round_decode(buf, 15, &round, &err) < 0);
	assert_true(wire_state_decode(buf, 15, &st, &err) < 0);
	assert_true(wire_prepared_decode(buf, 41, &prepared, &err) < 0);
	assert_true(wire_running_decode(buf, 0, &running, &err) < 0);
	assert_true(wire_job_decode(buf, 15, &job, &err) < 0);
}

static void text_of_a_peer_carries_no_escape_sequences(void **state)
{
	char out[WIRE_MAX_TEXT + 1];
	static const uint8_t evil[] = "a\033[2Jb\n\x9b\x7f";

	(void)state;
	wire_text_decode(evil, sizeof(evil) - 1, out);
	assert_string_equal(out, "a?[2Jb\n??");
}

static void text_of_a_peer_is_cut_to_its_bound(void **state)
{
	static uint8_t big[4096];
	char out[WIRE_MAX_TEXT + 1];

	(void)state;
	memset(big, 'x', sizeof(big));
	wire_text_decode(big, sizeof(big), out);
	assert_int_equal(strlen(out), WIRE_MAX_TEXT);
}

static void run_header_comes_back_as_it_was_sent(void **state)
{
	struct run in = { .kind = RUN_DATA, .gpa = 0x123456000, .npages = 512 };
	struct error err = ERROR_INIT;
	uint8_t buf[RUN_HEADER];
	struct run out;

	(void)state;
	run_encode(buf, &in);
	assert_int_equal(run_decode(buf, &out, &err), 0);
	assert_int_equal(out.gpa, in.gpa);
	assert_int_equal(out.npages, 512);
	in.kind = RUN_ZSTD;
	in.length = 512 * 4096 - 1;
	run_encode(buf, &in);
	assert_int_equal(run_decode(buf, &out, &err), 0);
	assert_int_equal(out.length, in.length);
}

static void runs_that_the_page_forbids_are_refused(void **state)
{
	static const struct run bad[] = {
		{ .kind = 0 },
		{ .kind = 6, .npages = 1 },
		{ .kind = RUN_ZSTD, .npages = 1 },
		{ .kind = RUN_ZSTD, .npages = 1, .length = 4096 },
		{ .kind = RUN_ZSTD, .npages = 0, .length = 1 },
		{ .kind = RUN_ZSTD, .npages = RUN_MAX_PAGES + 1, .length = 1 },
		{ .kind = RUN_DATA, .npages = 1, .length = 1 },
		{ .kind = RUN_DATA, .npages = 0 },
		{ .kind = RUN_DATA, .npages = RUN_MAX_PAGES + 1 },
		{ .kind = RUN_DATA, .npages = 1, .gpa = 512 },
		{ .kind = RUN_DATA, .npages = 1, .flags = RUN_LAST },
		{ .kind = RUN_ZERO, .npages = 1, .round = 1 },
		{ .kind = RUN_FENCE, .round = 0 },
		{ .kind = RUN_FENCE, .round = 1, .npages = 1 },
		{ .kind = RUN_FENCE, .round = 1, .flags = 4 },
		{ .kind = RUN_WANT, .npages = 2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error err = ERROR_INIT;
		uint8_t buf[RUN_HEADER];
		struct run out;

		run_encode(buf, &bad[i]);
		assert_int_equal(run_decode(buf, &out, &err), -EPROTO);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_knows_the_test_vectors_of_rfc3720),
		cmocka_unit_test(header_comes_back_as_it_was_sent),
		cmocka_unit_test(any_flipped_bit_of_a_message_is_noticed),
		cmocka_unit_test(type_zero_is_refused),
		cmocka_unit_test(unknown_type_is_refused_only_if_mandatory),
		cmocka_unit_test(length_above_the_types_limit_is_refused),
		cmocka_unit_test(hello_with_no_common_version_is_refused),
		cmocka_unit_test(offer_keeps_every_field),
		cmocka_unit_test(an_offer_that_wants_more_is_refused),
		cmocka_unit_test(a_payload_of_the_wrong_size_is_refused),
		cmocka_unit_test(text_of_a_peer_carries_no_escape_sequences),
		cmocka_unit_test(text_of_a_peer_is_cut_to_its_bound),
		cmocka_unit_test(run_header_comes_back_as_it_was_sent),
		cmocka_unit_test(runs_that_the_page_forbids_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
