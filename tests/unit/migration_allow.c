/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "migration/allow.h"
#include "migration/tls.h"
#include "vmm/base/util.h"

static void add(struct allow *a, const char *pattern)
{
	struct error err = ERROR_INIT;

	if (allow_add(a, pattern, &err) < 0)
		print_message("%s: %s\n", pattern, err.msg);
	assert_int_equal(err.code, 0);
}

static bool from(const struct allow *a, const char *text)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in v4 = { .sin_family = AF_INET };

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return allow_address(a, (struct sockaddr *)&v4);
	assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
	return allow_address(a, (struct sockaddr *)&v6);
}

static void an_empty_list_lets_everybody_in(void **state)
{
	struct allow a = { 0 };

	(void)state;
	assert_true(from(&a, "192.0.2.1"));
	assert_true(allow_address(NULL, &(struct sockaddr){ 0 }));
	assert_true(allow_peer(&a, NULL));
}

static void a_network_ends_where_its_bits_end(void **state)
{
	struct allow a = { 0 };

	(void)state;
	add(&a, "192.0.2.128/25");
	add(&a, "2001:db8:8000::/33");
	add(&a, "198.51.100.7");
	assert_true(from(&a, "192.0.2.128"));
	assert_true(from(&a, "192.0.2.255"));
	assert_false(from(&a, "192.0.2.127"));
	assert_false(from(&a, "192.0.3.128"));
	assert_true(from(&a, "2001:db8:ffff::1"));
	assert_false(from(&a, "2001:db8:7fff::1"));
	assert_true(from(&a, "198.51.100.7"));
	assert_false(from(&a, "198.51.100.6"));
}

static void ipv4_in_ipv6_is_the_same_host(void **state)
{
	struct allow a = { 0 };

	(void)state;
	add(&a, "192.0.2.0/24");
	assert_true(from(&a, "::ffff:192.0.2.9"));
	assert_false(from(&a, "::ffff:192.0.3.9"));
	assert_false(from(&a, "::192.0.2.9"));
}

static void no_bits_are_everybody_of_the_family(void **state)
{
	struct allow a = { 0 };

	(void)state;
	add(&a, "0.0.0.0/0");
	assert_true(from(&a, "203.0.113.1"));
	assert_false(from(&a, "2001:db8::1"));
}

static void a_unix_socket_has_no_address(void **state)
{
	struct sockaddr addr = { .sa_family = AF_UNIX };
	struct allow a = { 0 };

	(void)state;
	add(&a, "0.0.0.0/0");
	assert_false(allow_address(&a, &addr));
}

static void a_host_is_all_its_addresses(void **state)
{
	struct allow a = { 0 };

	(void)state;
	add(&a, "localhost");
	assert_true(from(&a, "127.0.0.1") || from(&a, "::1"));
	assert_false(from(&a, "127.0.0.2"));
}

static void a_certificate_matches_by_any_of_its_names(void **state)
{
	static const struct tls_peer peer = {
		.dn = "CN=a,O=Godwits", .nnames = 2,
		.name = { "a", "a.example" },
	};
	static const struct {
		const char *pattern;
		bool in;
	} t[] = {
		{ "cert:*.example", true }, { "cert:*.EXAMPLE", true },
		{ "cert:a", true }, { "cert:?", true },
		{ "cert:b", false }, { "cert:*.example.org", false },
		{ "cert:CN=a,*", true }, { "cert:*O=Godwits", true },
		{ "cert:CN=b,*", false }, { "cert:O=Godwits", false },
		{ "psk:a", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct allow a = { 0 };

		add(&a, t[i].pattern);
		assert_int_equal(allow_peer(&a, &peer), t[i].in);
		assert_false(allow_peer(&a, NULL));
		assert_true(from(&a, "192.0.2.1"));
	}
}

static void a_key_matches_by_its_name_alone(void **state)
{
	static const struct tls_peer peer = {
		.psk = true, .nnames = 1, .name = { "a" },
	};
	struct allow a = { 0 };

	(void)state;
	add(&a, "cert:*");
	assert_false(allow_peer(&a, &peer));
	add(&a, "psk:[ab]");
	assert_true(allow_peer(&a, &peer));
}

static void what_makes_no_sense_is_refused(void **state)
{
	static const char *const t[] = {
		"192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/+1",
		"192.0.2.0/8x", "2001:db8::/129", "*.example", "", "cert:",
		"psk:", "a/b", "192.0.2.256/24",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct error err = ERROR_INIT;
		struct allow a = { 0 };

		assert_true(allow_add(&a, t[i], &err) < 0);
		assert_int_equal(a.n, 0);
	}
}

static void a_full_list_says_so(void **state)
{
	struct error err = ERROR_INIT;
	struct allow a = { 0 };

	(void)state;
	for (unsigned int i = 0; i < ALLOW_MAX; i++)
		add(&a, "192.0.2.1");
	assert_int_equal(allow_add(&a, "192.0.2.2", &err), -E2BIG);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_list_lets_everybody_in),
		cmocka_unit_test(a_network_ends_where_its_bits_end),
		cmocka_unit_test(ipv4_in_ipv6_is_the_same_host),
		cmocka_unit_test(no_bits_are_everybody_of_the_family),
		cmocka_unit_test(a_unix_socket_has_no_address),
		cmocka_unit_test(a_host_is_all_its_addresses),
		cmocka_unit_test(a_certificate_matches_by_any_of_its_names),
		cmocka_unit_test(a_key_matches_by_its_name_alone),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(a_full_list_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
