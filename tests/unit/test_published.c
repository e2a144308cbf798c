/* Services that come, stay and go: whose counters go on, and whose connections are to end. No kernel is asked, but for
 * its addresses. */
#include "common/host/published.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct publish publish_of(uint16_t port, bool keeps_source)
{
	struct publish publish = {.service = {.protocol = IPPROTO_TCP,
					  .ports = {port, port},
					  .to_ports = {port, port},
					  .keeps_source = keeps_source}};

	assert_int_equal(addr_parse("192.168.1.30", 1, &publish.service.to), 0);
	addr_set_port(&publish.service.to, 0);
	return publish;
}

static void who_stays_keeps_its_counters(void **state)
{
	const struct publish first[] = {publish_of(80, false), publish_of(81, false)};
	const struct publish second[] = {publish_of(81, false), publish_of(82, false)};
	struct published published = {.count = 0};

	(void)state;
	assert_true(published_has_new(&published, first, 2));
	assert_int_equal(published_take(&published, first, 2), 0);
	assert_int_equal(published.services[0].id, 0);
	assert_int_equal(published.services[1].id, 1);
	assert_int_equal(published.gone_count, 0);
	assert_false(published_has_new(&published, first, 2));
	published.services[1].counts.connections = 9;
	published.is_changed = false;

	assert_int_equal(published_take(&published, second, 2), 0);
	assert_true(published.is_changed);
	assert_int_equal(published.services[0].id, 1);
	assert_int_equal(published.services[0].counts.connections, 9);
	assert_int_equal(published.services[0].service->ports.first, 81);
	assert_int_equal(published.services[1].id, 2); /* never a number that was another one's */
	assert_int_equal(published.gone_count, 1);
	assert_int_equal(published.gone[0].ports.first, 80);
	published_done(&published);
}

/* The order of the file is no change, another treatment of the source is: the old connections were masqueraded. */
static void only_a_difference_is_a_change(void **state)
{
	const struct publish file[] = {publish_of(80, false), publish_of(81, false)};
	const struct publish turned[] = {file[1], file[0]}, kept[] = {file[1], publish_of(80, true)};
	struct published published = {.count = 0};

	(void)state;
	assert_int_equal(published_take(&published, file, 2), 0);
	published.is_changed = false;
	assert_int_equal(published_take(&published, turned, 2), 0);
	assert_false(published.is_changed);
	assert_int_equal(published_take(&published, kept, 2), 0);
	assert_true(published.is_changed);
	assert_int_equal(published.gone_count, 1);
	published.is_changed = false;
	assert_int_equal(published_take(&published, NULL, 0), 0);
	assert_true(published.is_changed);
	assert_int_equal(published.gone_count, 3);
	published_done(&published);
}

/* Only one that no device has is told, with its line and what is meant by no address. */
static void an_absent_address_is_told(void **state)
{
	struct publish file[] = {publish_of(80, false), publish_of(81, false), publish_of(82, false)};
	json_t *warnings = json_array();
	const char *text;

	(void)state;
	assert_int_equal(addr_parse("127.0.0.1", 1, &file[1].service.address), 0);
	addr_set_port(&file[1].service.address, 0);
	assert_int_equal(addr_parse("203.0.113.99", 1, &file[2].service.address), 0);
	addr_set_port(&file[2].service.address, 0);
	file[2].port_line = 7;
	file[2].service.ports.last = 89;
	published_find_absent(file, 3, "hub.conf", warnings);
	assert_int_equal(json_array_size(warnings), 1);
	text = json_string_value(json_array_get(warnings, 0));
	assert_non_null(strstr(text, "hub.conf:7: Port: 'tcp/203.0.113.99:82-89': no device of this host has that address"));
	assert_non_null(strstr(text, "tcp/82-89 is all of them"));
	json_decref(warnings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_stays_keeps_its_counters),
		cmocka_unit_test(only_a_difference_is_a_change),
		cmocka_unit_test(an_absent_address_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
