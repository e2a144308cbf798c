/* A number that two tunnels would choose at the same moment belongs to one of them only. */
#include "common/host/table_lock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static void one_has_it(void **state)
{
	int first = table_lock_take("test", 51820);

	(void)state;
	assert_true(first >= 0);
	assert_int_equal(table_lock_take("test", 51820), -EADDRINUSE);
	close(first);
}

static void other_numbers_and_other_things_are_free(void **state)
{
	int first = table_lock_take("test", 51820), number = table_lock_take("test", 5182), thing = table_lock_take("tests", 51820);

	(void)state;
	assert_true(number >= 0);
	assert_true(thing >= 0);
	close(first);
	close(number);
	close(thing);
}

static void who_is_gone_has_nothing(void **state)
{
	int again;

	(void)state;
	close(table_lock_take("test", 51820));
	again = table_lock_take("test", 51820);
	assert_true(again >= 0);
	close(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_has_it),
		cmocka_unit_test(other_numbers_and_other_things_are_free),
		cmocka_unit_test(who_is_gone_has_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
