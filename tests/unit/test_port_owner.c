/* The program that listens at a port: this one, in each way that it may, and in the ways that are in nobody's way. */
#include "common/net/port_owner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int fd;

static int close_socket(void **state)
{
	(void)state;
	return close(fd);
}

/* Bind a socket to @text, "127.0.0.1:1" with any port that is free, and listen. Return: a service of @to's family there. */
static struct service listen_at(uint8_t protocol, const char *text, const char *to)
{
	struct service service = {.protocol = protocol};
	bool is_tcp = protocol == IPPROTO_TCP;
	struct addr addr;
	socklen_t len = sizeof(addr);
	int on = 1;

	assert_int_equal(addr_parse(text, 1, &addr), 0);
	assert_int_equal(addr_parse(to, 1, &service.to), 0);
	addr_set_port(&addr, 0);
	fd = socket(addr.sa.sa_family, is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	if (text[strlen(text) - 1] == '2') /* "[::]:2": of IPv6 only */
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, &addr.sa, addr_len(&addr)), 0);
	assert_true(!is_tcp || listen(fd, 1) == 0);
	assert_int_equal(getsockname(fd, &addr.sa, &len), 0);
	service.ports = (struct service_ports){addr_port(&addr), addr_port(&addr)};
	return service;
}

static void assert_owner(const struct service *service)
{
	struct port_owner owner;

	assert_true(port_owner_find(service, &owner));
	assert_int_equal(owner.pid, getpid());
	assert_string_equal(owner.name, "test_port_owner");
}

static void assert_free(const struct service *service)
{
	struct port_owner owner;

	assert_false(port_owner_find(service, &owner));
}

static void one_that_listens_everywhere_is_named(void **state)
{
	struct service service = listen_at(IPPROTO_TCP, "0.0.0.0:1", "192.168.1.30");
	uint16_t port = service.ports.first;

	(void)state;
	assert_owner(&service);
	assert_int_equal(addr_parse("203.0.113.10", 1, &service.address), 0);
	addr_set_port(&service.address, 0);
	assert_owner(&service);
	service.ports = (struct service_ports){(uint16_t)(port - 1), port};
	assert_owner(&service);
	service.ports = (struct service_ports){(uint16_t)(port - 2), (uint16_t)(port - 1)};
	service.protocol = IPPROTO_UDP;
	assert_free(&service);
}

static void the_loopback_is_in_the_way_of_the_loopback_alone(void **state)
{
	struct service service = listen_at(IPPROTO_TCP, "127.0.0.1:1", "192.168.1.30");

	(void)state;
	assert_free(&service);
	assert_int_equal(addr_parse("127.0.0.2", 1, &service.address), 0);
	addr_set_port(&service.address, 0);
	assert_free(&service);
	assert_int_equal(addr_parse("127.0.0.1", 1, &service.address), 0);
	addr_set_port(&service.address, 0);
	assert_owner(&service);
}

static void udp_counts_until_it_is_connected(void **state)
{
	struct service service = listen_at(IPPROTO_UDP, "0.0.0.0:1", "192.168.1.30");
	struct addr peer;

	(void)state;
	assert_owner(&service);
	assert_int_equal(addr_parse("127.0.0.1", 9, &peer), 0);
	assert_int_equal(connect(fd, &peer.sa, addr_len(&peer)), 0);
	assert_free(&service);
}

static void a_socket_of_both_families_has_both(void **state)
{
	struct service service = listen_at(IPPROTO_TCP, "[::]:1", "192.168.1.30");

	(void)state;
	assert_owner(&service);
	assert_int_equal(addr_parse("[fd10::2]", 1, &service.to), 0);
	assert_owner(&service);
}

static void one_of_ipv6_alone_leaves_ipv4_free(void **state)
{
	struct service service = listen_at(IPPROTO_TCP, "[::]:2", "192.168.1.30");

	(void)state;
	assert_free(&service);
	assert_int_equal(addr_parse("[fd10::2]", 1, &service.to), 0);
	assert_owner(&service);
}

static void one_of_ipv4_leaves_ipv6_free(void **state)
{
	struct service service = listen_at(IPPROTO_UDP, "0.0.0.0:1", "[fd10::2]");

	(void)state;
	assert_free(&service);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(one_that_listens_everywhere_is_named, close_socket),
		cmocka_unit_test_teardown(the_loopback_is_in_the_way_of_the_loopback_alone, close_socket),
		cmocka_unit_test_teardown(udp_counts_until_it_is_connected, close_socket),
		cmocka_unit_test_teardown(a_socket_of_both_families_has_both, close_socket),
		cmocka_unit_test_teardown(one_of_ipv6_alone_leaves_ipv4_free, close_socket),
		cmocka_unit_test_teardown(one_of_ipv4_leaves_ipv6_free, close_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
