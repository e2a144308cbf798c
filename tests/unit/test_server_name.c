/* Names of servers: which fit a configured one, and which are none. */
#include "common/base/server_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool fits(const char *pattern, const char *name)
{
	return server_name_fits(pattern, name, strlen(name));
}

static void name_fits_in_any_case_and_as_a_whole(void **state)
{
	(void)state;
	assert_true(fits("home.example.org", "home.example.org"));
	assert_true(fits("Home.Example.org", "hOME.eXAMPLE.ORG"));
	assert_false(fits("home.example.org", "home.example.or"));
	assert_false(fits("home.example.org", "home.example.orgg"));
	assert_false(fits("home.example.org", "a.home.example.org"));
	assert_false(fits("home.example.org", "home.example.org."));
	assert_false(server_name_fits("home.example.org", "home.example.org\0", 17));
	assert_false(fits("home.example.org", "*.example.org"));
}

static void star_stands_for_one_label(void **state)
{
	(void)state;
	assert_true(fits("*.example.org", "home.EXAMPLE.org"));
	assert_true(fits("*.example.org", "a.example.org"));
	assert_false(fits("*.example.org", "example.org"));
	assert_false(fits("*.example.org", ".example.org"));
	assert_false(fits("*.example.org", "a.b.example.org"));
	assert_false(fits("*.example.org", "homeexample.org"));
	assert_false(fits("*.example.org", "home"));
	assert_false(fits("*.example.org", ""));
}

static void good_names_have_no_fault(void **state)
{
	static const char *const good[] = {"home.example.org", "*.home.example.org", "*.org", "nas",
		"xn--bcher-kva.example", "_dmarc.example.org", "1.2.3.example", "a--b.example"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_null(server_name_find_fault(good[i]));
}

static void bad_names_have_one(void **state)
{
	static const char *const bad[] = {"*", "*.", "a.*.org", "home*.example.org", "*home.example.org",
		"**.example.org", "home..example.org", ".example.org", "home.example.org.", "", "-a.org", "a-.org",
		"b\303\274cher.org",
		"a b.org", "https://home.example.org", "home.example.org:443", "192.0.2.1", "2001:db8::1",
		"home.example.org/"};
	char label[70] = "", name[300] = "";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_non_null(server_name_find_fault(bad[i]));
	memset(label, 'a', 64);
	assert_non_null(server_name_find_fault(label));
	label[63] = '\0';
	assert_null(server_name_find_fault(label));
	for (size_t i = 0; i < 126; i++)
		strcat(name, "a.");
	assert_null(server_name_find_fault(strcat(name, "b")));
	assert_non_null(server_name_find_fault(strcat(name, "c")));
	assert_non_null(strstr(server_name_find_fault("a.*.org"), "star"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(name_fits_in_any_case_and_as_a_whole),
		cmocka_unit_test(star_stands_for_one_label),
		cmocka_unit_test(good_names_have_no_fault),
		cmocka_unit_test(bad_names_have_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
