/* Socket addresses as text and as the kernel gives them. */
#include "common/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct addr parse(const char *text)
{
	struct addr addr;

	if (addr_parse(text, 0, &addr) < 0)
		fail_msg("'%s' was refused", text);
	return addr;
}

/* An address is printed as it was read; IPv6 in its short form. */
static void text_goes_there_and_back(void **state)
{
	static const char *const texts[][2] = {
		{"127.0.0.1:51820", "127.0.0.1:51820"},
		{"[::1]:51820", "[::1]:51820"},
		{"[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]:443"},
		{"0.0.0.0:1", "0.0.0.0:1"},
		{"[::]:65535", "[::]:65535"},
		{"[fe80::1%1]:443", "[fe80::1%1]:443"},
		{"[fe80::1%lo]:443", "[fe80::1%1]:443"},
	};
	char buf[ADDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct addr addr = parse(texts[i][0]);

		assert_string_equal(addr_format(buf, sizeof(buf), &addr), texts[i][1]);
	}
}

/* The host alone has neither port nor brackets. */
static void host_is_formatted_alone(void **state)
{
	char buf[ADDR_TEXT_MAX];
	struct addr addr = parse("[2001:db8::1]:443");

	(void)state;
	assert_string_equal(addr_format_host(buf, sizeof(buf), &addr), "2001:db8::1");
	addr = parse("203.0.113.7:443");
	assert_string_equal(addr_format_host(buf, sizeof(buf), &addr), "203.0.113.7");
}

/* Text that is no address with a port is refused and leaves the output alone. */
static void other_texts_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		":",
		":443",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:0",
		"127.0.0.1:65536",
		"127.0.0.1:+5",
		"127.0.0.1:5x",
		"127.0.0.1:000443",
		"127.0.0.1: 5",
		"300.0.0.1:443",
		"127.1:443",
		"localhost:443",
		"::1",
		"::1:51820x",
		"[::1]",
		"[::1]443",
		"[::1]:",
		"[::1:443",
		"::1]:443",
		"[]:443",
		"[127.0.0.1]:443",
		"[localhost]:443",
		"[::1%]:443",
		"[::1%nosuchdevice0]:443",
		"[::1%9999999999]:443",
		"[:::1]:443",
		"127.0.0.1:443 ",
		" 127.0.0.1:443",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct addr addr = {.in4.sin_port = 77};

		if (addr_parse(texts[i], 0, &addr) != -EINVAL || addr.in4.sin_port != 77)
			fail_msg("'%s' was taken", texts[i]);
	}
}

/* A text without port takes the default one, a port in the text wins. */
static void default_port_fills_in(void **state)
{
	struct addr addr;

	(void)state;
	assert_int_equal(addr_parse("127.0.0.1", 443, &addr), 0);
	assert_int_equal(addr_port(&addr), 443);
	assert_int_equal(addr_parse("::1", 443, &addr), 0);
	assert_int_equal(addr_port(&addr), 443);
	assert_int_equal(addr_parse("[::1]", 443, &addr), 0);
	assert_int_equal(addr_port(&addr), 443);
	assert_int_equal(addr_parse("[::1]:80", 443, &addr), 0);
	assert_int_equal(addr_port(&addr), 80);
}

/* Splitting allows names and takes brackets off. */
static void split_allows_names(void **state)
{
	char host[ADDR_TEXT_MAX];
	uint16_t port = 77;

	(void)state;
	assert_int_equal(addr_split("vps.example.org:8443", host, sizeof(host), &port), 0);
	assert_string_equal(host, "vps.example.org");
	assert_int_equal(port, 8443);
	assert_int_equal(addr_split("vps.example.org", host, sizeof(host), &port), 0);
	assert_int_equal(port, 0);
	assert_int_equal(addr_split("[2001:db8::1]:443", host, sizeof(host), &port), 0);
	assert_string_equal(host, "2001:db8::1");
	assert_int_equal(addr_split("2001:db8::1", host, sizeof(host), &port), 0);
	assert_string_equal(host, "2001:db8::1");
	assert_int_equal(port, 0);
}

/* A host that does not fit, is empty or has blanks is refused. */
static void split_refuses_bad_hosts(void **state)
{
	char host[8];
	uint16_t port;

	(void)state;
	assert_int_equal(addr_split("1234567:1", host, sizeof(host), &port), 0);
	assert_int_equal(addr_split("12345678:1", host, sizeof(host), &port), -EINVAL);
	assert_int_equal(addr_split("", host, sizeof(host), &port), -EINVAL);
	assert_int_equal(addr_split("a b", host, sizeof(host), &port), -EINVAL);
	assert_int_equal(addr_split("a/b", host, sizeof(host), &port), -EINVAL);
	assert_int_equal(addr_split("a\nb", host, sizeof(host), &port), -EINVAL);
	assert_int_equal(addr_split("a:b:1", host, sizeof(host), &port), -EINVAL);
}

/* Loopback is 127.0.0.0/8 and ::1 and nothing else. */
static void loopback_is_known(void **state)
{
	static const char *const inside[] = {"127.0.0.1:1", "127.64.1.2:1", "127.255.255.255:1", "[::1]:1"};
	static const char *const outside[] = {
		"126.0.0.1:1", "128.0.0.1:1", "0.0.0.0:1", "[::]:1", "[::2]:1", "[fe80::1]:1"};

	(void)state;
	for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
		struct addr addr = parse(inside[i]);

		assert_true(addr_is_loopback(&addr));
	}
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		struct addr addr = parse(outside[i]);

		assert_false(addr_is_loopback(&addr));
	}
}

/* Equal means family, address, zone and port. */
static void equality_sees_every_part(void **state)
{
	struct addr a = parse("127.0.0.1:5"), b = parse("127.0.0.1:6"), c = parse("127.0.0.2:5"), d = parse("[::1]:5");
	struct addr e = parse("[::1%1]:5");

	(void)state;
	assert_true(addr_equal(&a, &a));
	assert_true(addr_equal(&d, &d));
	assert_false(addr_equal(&a, &b));
	assert_false(addr_equal(&a, &c));
	assert_false(addr_equal(&a, &d));
	assert_false(addr_equal(&d, &e));
	addr_set_port(&b, 5);
	assert_true(addr_equal(&a, &b));
}

/* An IPv4 address that the kernel gives in IPv6 dress is IPv4 again. */
static void mapped_ipv6_becomes_ipv4(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
	struct addr addr, expected = parse("203.0.113.7:443");

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:203.0.113.7", &in6.sin6_addr), 1);
	addr_from_sockaddr((const struct sockaddr *)&in6, &addr);
	assert_true(addr_equal(&addr, &expected));
	assert_int_equal(addr_len(&addr), sizeof(struct sockaddr_in));
}

/* Other addresses of the kernel stay as they are; a strange family is nothing. */
static void kernel_addresses_are_copied(void **state)
{
	struct addr v4 = parse("203.0.113.7:443"), v6 = parse("[2001:db8::1]:443"), addr;
	struct sockaddr strange = {.sa_family = AF_UNIX};
	char buf[ADDR_TEXT_MAX];

	(void)state;
	addr_from_sockaddr(&v4.sa, &addr);
	assert_true(addr_equal(&addr, &v4));
	addr_from_sockaddr(&v6.sa, &addr);
	assert_true(addr_equal(&addr, &v6));
	assert_int_equal(addr_len(&addr), sizeof(struct sockaddr_in6));
	addr_from_sockaddr(&strange, &addr);
	assert_string_equal(addr_format(buf, sizeof(buf), &addr), "-");
}

/* Whatever addresses a host has: bind() or listen() refuse some of these, and nothing comes to the others. */
static void no_program_listens_at_some(void **state)
{
	static const char *const can[] = {"0.0.0.0:1", "127.0.0.1:1", "203.0.113.7:1", "240.0.0.1:1", "223.255.255.255:1",
		"[::]:1", "[::1]:1", "[2001:db8::1]:1", "[fe80::1%lo]:1", "[fd00::1]:1"};
	static const char *const cannot[] = {"224.0.0.1:1", "239.255.255.255:1", "255.255.255.255:1", "[ff02::1]:1",
		"[fe80::1]:1", "[febf::1]:1", "[::ffff:127.0.0.1]:1", "[::ffff:0.0.0.0]:1"};
	struct addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(can) / sizeof(*can); i++) {
		assert_int_equal(addr_parse(can[i], 0, &addr), 0);
		assert_true(addr_can_listen(&addr));
	}
	for (size_t i = 0; i < sizeof(cannot) / sizeof(*cannot); i++) {
		assert_int_equal(addr_parse(cannot[i], 0, &addr), 0);
		assert_false(addr_can_listen(&addr));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_program_listens_at_some),
		cmocka_unit_test(text_goes_there_and_back),
		cmocka_unit_test(host_is_formatted_alone),
		cmocka_unit_test(other_texts_are_refused),
		cmocka_unit_test(default_port_fills_in),
		cmocka_unit_test(split_allows_names),
		cmocka_unit_test(split_refuses_bad_hosts),
		cmocka_unit_test(loopback_is_known),
		cmocka_unit_test(equality_sees_every_part),
		cmocka_unit_test(mapped_ipv6_becomes_ipv4),
		cmocka_unit_test(kernel_addresses_are_copied),
	};

	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
