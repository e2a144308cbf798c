/* Prefixes: text, equality, what holds what. */
#include "common/base/prefix.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "10.0.0.0/8" */
static struct prefix prefix_of(const char *text)
{
	struct prefix prefix = {0};
	char host[ADDR_TEXT_MAX] = "";
	const char *slash = strchr(text, '/');

	memcpy(host, text, (size_t)(slash - text));
	if (inet_pton(AF_INET6, host, &prefix.addr.in6.sin6_addr) == 1) {
		prefix.addr.in6.sin6_family = AF_INET6;
	} else {
		memset(&prefix, 0, sizeof(prefix));
		prefix.addr.in4.sin_family = AF_INET;
		assert_int_equal(inet_pton(AF_INET, host, &prefix.addr.in4.sin_addr), 1);
	}
	prefix.bits = (uint8_t)atoi(slash + 1);
	return prefix;
}

static bool equal(const char *a, const char *b)
{
	struct prefix x = prefix_of(a), y = prefix_of(b);

	assert_int_equal(prefix_equal(&x, &y), prefix_equal(&y, &x));
	return prefix_equal(&x, &y);
}

static bool contains(const char *outer, const char *inner)
{
	struct prefix x = prefix_of(outer), y = prefix_of(inner);

	return prefix_contains(&x, &y);
}

/* Address and length, bits behind the prefix as they are; the longest fits. */
static void is_formatted(void **state)
{
	static const char *const texts[] = {
		"10.10.0.3/24", "0.0.0.0/0", "fd10::3/64", "::/0", "1111:2222:3333:4444:5555:6666:7777:8888/128"};
	char buf[PREFIX_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct prefix prefix = prefix_of(texts[i]);

		assert_string_equal(prefix_format(buf, sizeof(buf), &prefix), texts[i]);
	}
}

/* Bits behind the length do not count, the length and the family do. */
static void equality_counts_the_bits_before_the_length(void **state)
{
	(void)state;
	assert_true(equal("10.10.0.3/24", "10.10.0.0/24"));
	assert_true(equal("10.10.0.3/0", "192.168.1.1/0"));
	assert_true(equal("fd10::1/63", "fd10:0:0:1::/63"));
	assert_false(equal("10.10.0.0/24", "10.10.0.0/25"));
	assert_false(equal("10.10.0.3/32", "10.10.0.2/32"));
	assert_false(equal("0.0.0.0/0", "::/0"));
	assert_false(equal("fd10::1/64", "fd10:0:0:1::/64"));
	assert_false(equal("::1/128", "::2/128"));
}

/* A shorter prefix holds a longer one with the same bits, never the other way, never of the other family. */
static void outer_holds_inner(void **state)
{
	(void)state;
	assert_true(contains("0.0.0.0/0", "10.0.0.0/8"));
	assert_true(contains("10.0.0.0/8", "10.0.0.0/8"));
	assert_true(contains("10.10.0.7/13", "10.15.255.255/32"));
	assert_true(contains("::/0", "fd10::/64"));
	assert_true(contains("fd10::/7", "fc00::1/128"));
	assert_false(contains("10.10.0.0/13", "10.16.0.0/32"));
	assert_false(contains("10.0.0.0/9", "10.0.0.0/8"));
	assert_false(contains("0.0.0.0/0", "fd10::/64"));
	assert_false(contains("::/0", "10.0.0.0/8"));
	assert_false(contains("fd10::/127", "fd10::2/128"));
}

/* The network is the prefix with its other bits cleared, at every length. */
static void network_has_no_other_bits(void **state)
{
	struct prefix prefix, network;
	char buf[PREFIX_TEXT_MAX];

	(void)state;
	prefix = prefix_of("10.10.3.255/22");
	network = prefix_network(&prefix);
	assert_string_equal(prefix_format(buf, sizeof(buf), &network), "10.10.0.0/22");
	prefix = prefix_of("fd10::ffff:ffff/115");
	network = prefix_network(&prefix);
	assert_string_equal(prefix_format(buf, sizeof(buf), &network), "fd10::ffff:e000/115");
	prefix = prefix_of("255.255.255.255/0");
	for (prefix.bits = 0; prefix.bits <= 32; prefix.bits++) {
		network = prefix_network(&prefix);
		assert_int_equal(__builtin_popcount(network.addr.in4.sin_addr.s_addr), prefix.bits);
		assert_true(prefix_equal(&prefix, &network));
	}
}

static int order_of(const char *a, const char *b)
{
	struct prefix x = prefix_of(a), y = prefix_of(b);
	int order = prefix_compare(&x, &y);

	assert_int_equal(prefix_compare(&y, &x) < 0, order > 0);
	return order;
}

/* In order are family, length, address. */
static void order_is_by_family_length_address(void **state)
{
	(void)state;
	assert_int_equal(order_of("10.0.0.0/8", "10.0.0.0/8"), 0);
	assert_int_equal(order_of("fd10::5/64", "fd10::5/64"), 0);
	assert_true(order_of("255.0.0.0/32", "::/0") < 0);
	assert_true(order_of("11.0.0.0/8", "10.0.0.0/9") < 0);
	assert_true(order_of("10.0.0.255/32", "10.0.1.0/32") < 0);
	assert_true(order_of("fd10::ff/128", "fd10::100/128") < 0);
}

/* Private, shared and link-local networks end where their RFCs say; the Internet, "any" and loopback are not in
 * them. */
static void private_addresses(void **state)
{
	static const char *const inside[] = {"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.1",
		"100.64.0.0", "100.127.255.255", "169.254.1.1", "fc00::1", "fdff::1", "fe80::1", "febf::1"};
	static const char *const outside[] = {"9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
		"192.169.0.0", "100.63.255.255", "100.128.0.0", "169.253.0.1", "fbff::1", "fe00::1", "fec0::1", "0.0.0.0",
		"::", "127.0.0.1", "::1", "203.0.113.10", "2001:db8::1", "224.0.0.1", "255.255.255.255",
		"::ffff:10.0.0.1"};

	struct prefix host;

	(void)state;
	for (size_t i = 0; i < sizeof(inside) / sizeof(*inside); i++) {
		assert_int_equal(prefix_parse(inside[i], &host), 0);
		assert_true(prefix_is_private(&host));
	}
	assert_int_equal(prefix_parse("10.0.0.0/7", &host), 0);
	assert_false(prefix_is_private(&host));
	for (size_t i = 0; i < sizeof(outside) / sizeof(*outside); i++) {
		assert_int_equal(prefix_parse(outside[i], &host), 0);
		assert_false(prefix_is_private(&host));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_formatted),
		cmocka_unit_test(equality_counts_the_bits_before_the_length),
		cmocka_unit_test(outer_holds_inner),
		cmocka_unit_test(network_has_no_other_bits),
		cmocka_unit_test(order_is_by_family_length_address),
		cmocka_unit_test(private_addresses),
	};

	return cmocka_run_group_tests_name("prefix", tests, NULL, NULL);
}
