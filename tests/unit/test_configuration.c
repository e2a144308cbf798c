/* process/configuration: which configuration lives how long. The type counts what is read and freed. */
#include "common/process/configuration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct config {
	int number; /* in the order read; 0: never filled */
};

static int reads, frees, last_freed;

static int read_config(const void *context, void *ret, struct ini_report *report, struct err *err)
{
	struct config *config = ret;

	(void)err;
	config->number = ++reads;
	if (context) {
		ini_report_add(report, "home.conf", 3, "wrong");
		return -EINVAL;
	}
	return 0;
}

static void free_config(void *config)
{
	frees++;
	last_freed = ((struct config *)config)->number;
}

static const struct configuration_type type = {sizeof(struct config), read_config, free_config};
static const struct config first = {100};

static struct configuration fresh(void)
{
	reads = frees = last_freed = 0;
	return (struct configuration){.type = &type, .first = &first};
}

/* Read another one; is it taken, also by the host? */
static struct config *reload(struct configuration *c, bool is_of_device)
{
	struct err err = {""};
	void *config;

	assert_int_equal(configuration_read(c, &config, &err), 0);
	configuration_use(c, config, is_of_device);
	configuration_release(c, config);
	return config;
}

static void first_is_in_use_before_a_reload(void **state)
{
	struct configuration c = fresh();

	(void)state;
	assert_ptr_equal(configuration_in_use(&c), &first);
	configuration_done(&c);
	assert_int_equal(frees, 0);
}

static void reload_replaces_the_reloaded_and_frees_it_once(void **state)
{
	struct configuration c = fresh();
	const void *taken;

	(void)state;
	reload(&c, true);
	assert_int_equal(frees, 0);
	taken = reload(&c, true);
	assert_ptr_equal(configuration_in_use(&c), taken);
	assert_int_equal(frees, 1);
	assert_int_equal(last_freed, 1);
	configuration_done(&c);
	assert_int_equal(frees, 2);
}

/* Another device in the file: the host goes on with the configuration before. */
static void configuration_of_the_device_outlives_its_successor(void **state)
{
	struct configuration c = fresh();

	(void)state;
	reload(&c, true);
	reload(&c, false);
	assert_int_equal(frees, 0);
	reload(&c, false);
	assert_int_equal(last_freed, 2);
	reload(&c, true);
	assert_int_equal(frees, 3);
	configuration_done(&c);
	assert_int_equal(frees, 4);
}

static void refused_configuration_is_freed_and_nothing_changes(void **state)
{
	struct configuration c = fresh();
	struct err err = {""};
	void *config;

	(void)state;
	assert_int_equal(configuration_read(&c, &config, &err), 0);
	configuration_release(&c, config);
	assert_int_equal(frees, 1);
	assert_ptr_equal(configuration_in_use(&c), &first);
	configuration_done(&c);
	assert_int_equal(frees, 1);
}

static void half_read_configuration_is_freed_and_its_lines_told(void **state)
{
	struct configuration c = fresh();
	struct err err = {""};
	void *config;

	(void)state;
	c.context = "fail";
	assert_int_equal(configuration_read(&c, &config, &err), CONFIGURATION_IS_WRONG);
	assert_null(config);
	assert_int_equal(frees, 1);
	assert_string_equal(err.text, "home.conf:3: wrong");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_is_in_use_before_a_reload),
		cmocka_unit_test(reload_replaces_the_reloaded_and_frees_it_once),
		cmocka_unit_test(configuration_of_the_device_outlives_its_successor),
		cmocka_unit_test(refused_configuration_is_freed_and_nothing_changes),
		cmocka_unit_test(half_read_configuration_is_freed_and_its_lines_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
