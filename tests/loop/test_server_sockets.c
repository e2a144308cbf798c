/* The hub's sockets: the address that a client comes from, and the message where a socket cannot be made. */
#include "common/process/spawn.h"
#include "server/client_number.h"
#include "server/flow_socket.h"
#include "server/listener.h"
#include "server/page.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { LAPTOP = 1234567, PI = CLIENT_NUMBER_MAX }; /* numbers */

struct fixture {
	int target_fd;
	struct flow_address address;
};

static void get_name(int fd, struct addr *ret)
{
	socklen_t len = sizeof(*ret);

	assert_return_code(getsockname(fd, &ret->sa, &len), errno);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct addr target;

	assert_non_null(f);
	assert_int_equal(addr_parse("127.0.0.1:1", 0, &target), 0);
	addr_set_port(&target, 0);
	f->target_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_return_code(bind(f->target_fd, &target.sa, addr_len(&target)), errno);
	get_name(f->target_fd, &target);
	assert_int_equal(flow_address_open(&f->address, &target, -1, NULL), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	flow_address_close(&f->address);
	close(f->target_fd);
	free(f);
	return 0;
}

/* Open a socket and say where it is bound. */
static int open_flow(const struct fixture *f, uint32_t client, const char *instance, struct addr *ret)
{
	struct channel_flow wanted = {.client = client, .has_instance = instance != NULL};
	int fd;

	if (instance)
		memcpy(wanted.instance, instance, sizeof(wanted.instance));
	fd = flow_socket_open(&f->address, &wanted);
	assert_true(fd >= 0);
	get_name(fd, ret);
	return fd;
}

/* --- addresses --- */

static void instance_comes_from_its_address_and_port_again(void **state)
{
	struct addr first, again;

	close(open_flow(*state, LAPTOP, "0123456789abcdef", &first));
	close(open_flow(*state, LAPTOP, "0123456789abcdef", &again));
	assert_true(addr_equal(&first, &again));
	assert_in_range(ntohl(first.in4.sin_addr.s_addr), 0x7f400001u, 0x7f7ffffeu);
	assert_in_range(addr_port(&first), 20000, 59999);
}

static void clients_have_different_addresses(void **state)
{
	struct addr laptop, pi;

	close(open_flow(*state, LAPTOP, NULL, &laptop));
	close(open_flow(*state, PI, NULL, &pi));
	assert_int_not_equal(laptop.in4.sin_addr.s_addr, pi.in4.sin_addr.s_addr);
}

static void instances_of_a_client_share_its_address(void **state)
{
	struct addr one, other;

	close(open_flow(*state, LAPTOP, "0123456789abcdef", &one));
	close(open_flow(*state, LAPTOP, "fedcba9876543210", &other));
	assert_int_equal(one.in4.sin_addr.s_addr, other.in4.sin_addr.s_addr);
	assert_int_not_equal(addr_port(&one), addr_port(&other));
}

static void taken_port_becomes_another(void **state)
{
	struct addr first, second;
	int fd = open_flow(*state, LAPTOP, "0123456789abcdef", &first);

	close(open_flow(*state, LAPTOP, "0123456789abcdef", &second));
	close(fd);
	assert_int_equal(first.in4.sin_addr.s_addr, second.in4.sin_addr.s_addr);
	assert_int_not_equal(addr_port(&first), addr_port(&second));
}

static void number_of_nobody_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(flow_socket_open(&f->address, &(struct channel_flow){.client = 0}), -EINVAL);
	assert_int_equal(
		flow_socket_open(&f->address, &(struct channel_flow){.client = CLIENT_NUMBER_MAX + 1}), -EINVAL);
}

static void datagram_arrives_at_the_target(void **state)
{
	struct fixture *f = *state;
	struct addr source, from;
	socklen_t len = sizeof(from);
	int fd = open_flow(f, PI, NULL, &source);
	char byte;

	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(recvfrom(f->target_fd, &byte, 1, 0, &from.sa, &len), 1);
	assert_true(addr_equal(&source, &from));
	close(fd);
}

static void target_on_ipv6(void **state)
{
	struct channel_flow wanted = {.client = LAPTOP};
	struct flow_address address;
	struct addr target, peer;
	socklen_t len = sizeof(peer);
	int fd;

	(void)state;
	assert_int_equal(addr_parse("[::1]:51820", 0, &target), 0);
	assert_int_equal(flow_address_open(&address, &target, -1, NULL), 0);
	fd = flow_socket_open(&address, &wanted);
	if (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT)
		skip(); /* a host without IPv6 */
	assert_true(fd >= 0);
	assert_return_code(getpeername(fd, &peer.sa, &len), errno);
	assert_true(addr_equal(&peer, &target));
	close(fd);
}

/* --- a hidden target --- */

static uint64_t own_namespace(void)
{
	struct stat status;

	assert_return_code(stat("/proc/thread-self/ns/net", &status), errno);
	return status.st_ino;
}

/* A namespace that only root may enter: it belongs to our user namespace. */
static int open_namespace(void)
{
	struct err err = {""};
	int fd = -1;

	if (geteuid() == 0)
		fd = spawn_open_lo_namespace(&err);
	if (fd < 0)
		skip();
	return fd;
}

static int listen_in(int netns_fd, const struct addr *target)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), fd;

	assert_return_code(setns(netns_fd, CLONE_NEWNET), errno);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_return_code(setns(home, CLONE_NEWNET), errno);
	close(home);
	assert_return_code(bind(fd, &target->sa, addr_len(target)), errno);
	return fd;
}

/* The same address and port are another's on the host: the datagram must not go there. */
static void hidden_target_is_reached_and_not_the_hosts(void **state)
{
	const struct channel_flow wanted = {.client = PI, .has_instance = 1, .instance = "0123456789abcde"};
	struct fixture *f = *state;
	uint64_t home = own_namespace();
	int netns_fd = open_namespace(), hidden_fd = listen_in(netns_fd, &f->address.target), fd;
	struct addr source, from;
	socklen_t len = sizeof(from);
	struct flow_address address;
	char byte;

	assert_int_equal(flow_address_open(&address, &f->address.target, netns_fd, NULL), 0);
	fd = flow_socket_open(&address, &wanted);
	assert_true(fd >= 0);
	assert_int_equal(own_namespace(), home);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(recvfrom(hidden_fd, &byte, 1, MSG_DONTWAIT, &from.sa, &len), 1);
	client_number_address(PI, &source);
	addr_set_port(&from, 0);
	assert_true(addr_equal(&from, &source));
	assert_int_equal(recv(f->target_fd, &byte, 1, MSG_DONTWAIT), -1);
	flow_address_close(&address);
	close(fd);
	close(hidden_fd);
	close(netns_fd);
}

static void no_namespace_is_an_error_at_home(void **state)
{
	const struct channel_flow wanted = {.client = PI};
	struct fixture *f = *state;
	uint64_t home = own_namespace();
	struct flow_address address = {.target = f->address.target, .home_fd = -1};

	address.netns_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(flow_socket_open(&address, &wanted), -EINVAL);
	assert_int_equal(own_namespace(), home);
	close(address.netns_fd);
}

static void other_sockets_are_made_at_home(void **state)
{
	struct fixture *f = *state;
	int netns_fd = open_namespace();
	struct flow_address address;
	struct addr own;
	int fd;

	assert_int_equal(flow_address_open(&address, &f->address.target, netns_fd, NULL), 0);
	close(flow_socket_open(&address, &(struct channel_flow){.client = LAPTOP}));
	fd = open_flow(f, LAPTOP, NULL, &own);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(recv(f->target_fd, &(char){0}, 1, MSG_DONTWAIT), 1);
	flow_address_close(&address);
	close(fd);
	close(netns_fd);
}

/* --- listeners --- */

static struct server_listen listen_at(const char *text)
{
	struct server_listen listen = {.line = 7};

	assert_int_equal(addr_parse(text, 0, &listen.addr), 0);
	snprintf(listen.text, sizeof(listen.text), "%s", text);
	return listen;
}

static int open_at(const struct server_listen *listen, struct err *err)
{
	static char path[] = "hub.conf";
	const struct server_config config = {.path = path, .main_line = 3};

	return listener_open(&config, listen, err);
}

static void port_in_use_is_told_with_its_line(void **state)
{
	struct server_listen listen = listen_at("127.0.0.1:1");
	struct err err = {""};
	struct addr taken;
	int fd;

	(void)state;
	addr_set_port(&listen.addr, 0);
	fd = open_at(&listen, &err);
	assert_true(fd >= 0);
	get_name(fd, &taken);
	listen.addr = taken;
	addr_format(listen.text, sizeof(listen.text), &taken);
	assert_int_equal(open_at(&listen, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "hub.conf:7: Listen: '127.0.0.1:"));
	assert_non_null(strstr(err.text, "ss -ltnp"));
	listen.line = 0; /* the default, which is [Server]'s */
	assert_int_equal(open_at(&listen, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "hub.conf:3: Listen: '127.0.0.1:"));
	close(fd);
}

static void foreign_address_is_told(void **state)
{
	struct server_listen listen = listen_at("192.0.2.1:8443");
	struct err err = {""};

	(void)state;
	assert_int_equal(open_at(&listen, &err), -EADDRNOTAVAIL);
	assert_non_null(strstr(err.text, "0.0.0.0:8443"));
}

/* --- the page --- */

static char *make_page(char *folder)
{
	struct err err = {""};
	char *html = NULL;

	strcpy(folder, "/tmp/test_page.XXXXXX");
	assert_non_null(mkdtemp(folder));
	assert_int_equal(page_ensure(folder, &html, &err), 0);
	return html;
}

static void remove_page(const char *folder)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/page.html", folder);
	unlink(path);
	rmdir(folder);
}

static void page_stays_and_differs_between_hosts(void **state)
{
	char one_folder[32], other_folder[32];
	char *one = make_page(one_folder), *other = make_page(other_folder), *again = NULL;
	struct err err = {""};

	(void)state;
	assert_int_equal(page_ensure(one_folder, &again, &err), 0);
	assert_string_equal(one, again);
	assert_string_not_equal(one, other);
	assert_null(strcasestr(one, "towpath"));
	free(one);
	free(other);
	free(again);
	remove_page(one_folder);
	remove_page(other_folder);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(instance_comes_from_its_address_and_port_again),
		TEST(clients_have_different_addresses),
		TEST(instances_of_a_client_share_its_address),
		TEST(taken_port_becomes_another),
		TEST(number_of_nobody_is_refused),
		TEST(datagram_arrives_at_the_target),
		TEST(target_on_ipv6),
		TEST(hidden_target_is_reached_and_not_the_hosts),
		TEST(no_namespace_is_an_error_at_home),
		TEST(other_sockets_are_made_at_home),
		cmocka_unit_test(port_in_use_is_told_with_its_line),
		cmocka_unit_test(foreign_address_is_told),
		cmocka_unit_test(page_stays_and_differs_between_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
