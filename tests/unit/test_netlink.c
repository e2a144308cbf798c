/* The route socket when the kernel says nothing: the requests of this test do not leave. */
#include "common/net/netlink.h"

#include "common/net/link.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	(void)fd;
	(void)buf;
	(void)flags;
	return (ssize_t)len;
}

/* An answer that does not come is an error that says so, not a wait without end. */
static void silence_ends(void **state)
{
	struct netlink netlink;
	struct net_link link;
	struct err err = {""};

	(void)state;
	assert_int_equal(netlink_open(&netlink, -1, &err), 0);
	assert_int_equal(net_link_find(&netlink, "lo", &link, &err), -ETIMEDOUT);
	assert_string_equal(err.text, "device lo: Connection timed out");
	netlink_close(&netlink);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_ends),
	};

	return cmocka_run_group_tests_name("netlink", tests, NULL, NULL);
}
