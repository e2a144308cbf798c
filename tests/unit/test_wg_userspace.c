/* common/wireguard/wg_userspace: a device is ours where a peer's endpoint is our port on loopback, and nowhere else. */
#include "common/wireguard/wg_userspace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "0000000000000000000000000000000000000000000000000000000000000001"

/* As wireguard-go answers. */
static void peer_with_our_port_tells_the_mark(void **state)
{
	uint32_t mark = 7;

	(void)state;
	assert_int_equal(wg_userspace_read("private_key=" KEY "\nlisten_port=51820\nfwmark=51820\npublic_key=" KEY
					   "\nendpoint=[2001:db8::1]:51820\npublic_key=" KEY
					   "\nendpoint=127.0.0.1:4000\nallowed_ip=0.0.0.0/0\nerrno=0\n\n",
				 4000, &mark),
		1);
	assert_int_equal(mark, 51820);
	assert_int_equal(wg_userspace_read("public_key=" KEY "\nendpoint=[::1]:4000\nerrno=0\n\n", 4000, &mark), 1);
	assert_int_equal(mark, 0);
}

static void other_endpoints_are_passed_over(void **state)
{
	static const char *const others[] = {"", "\n", "errno=0\n\n", "endpoint=127.0.0.1:4001\n\n",
		"endpoint=10.0.0.1:4000\n\n", "endpoint=127.0.0.1\n\n", "endpoint=\n\n", "endpoint",
		"xendpoint=127.0.0.1:4000\n", "fwmark=5\nendpoint=127.0.0.1:40000\n\n"};
	uint32_t mark = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(wg_userspace_read(others[i], 4000, &mark), 0);
	assert_int_equal(mark, 7);
}

/* No folder, no device. */
static void without_a_folder_there_is_none(void **state)
{
	char name[IFNAMSIZ];
	uint32_t mark;

	(void)state;
	assert_int_equal(wg_userspace_find_mark("/nonexistent", 4000, name, &mark), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer_with_our_port_tells_the_mark),
		cmocka_unit_test(other_endpoints_are_passed_over),
		cmocka_unit_test(without_a_folder_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
