/* client/settings: the worker reads settings as the supervisor wrote them, and takes no others. */
#include "client/settings.h"
#include "common/base/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static char *copy(const char *text)
{
	char *out = strdup(text);

	assert_non_null(out);
	return out;
}

static void fill(struct client_settings *settings)
{
	*settings = (struct client_settings){.name = "home",
		.server_count = 2,
		.listen_text = "127.0.0.1:51820",
		.pin_count = 2,
		.interception = true,
		.proxy_port = 3128,
		.ping_interval_ms = 15000,
		.mask = CARRIER_MASK_RANDOM,
		.stock_target_port = 51820,
		.header_count = 2};
	settings->servers = calloc(2, sizeof(*settings->servers));
	settings->servers[0] =
		(struct client_settings_server){copy("wss://a"), copy("a"), 443, false, copy("203.0.113.10,::1")};
	settings->servers[1] = (struct client_settings_server){copy("ws://[::1]:80"), copy("::1"), 80, true, NULL};
	settings->token = copy("0123456789abcdef");
	settings->pins = calloc(2, sizeof(*settings->pins));
	memset(settings->pins[0], 0xab, 32);
	settings->pins[1][31] = 1;
	settings->ca_pem = copy("CA\n");
	settings->client_certificate_pem = copy("CERT\n");
	settings->client_key_pem = copy("KEY\n");
	settings->nameservers = copy("192.168.1.1");
	settings->server_name = copy("front.example.net");
	settings->proxy_host = copy("proxy");
	settings->proxy_user = copy("user");
	settings->proxy_password = copy("p\xc3\xa4ss");
	settings->stock_path = copy("v1");
	settings->stock_target_host = copy("127.0.0.1");
	settings->basic_auth = copy("u:p");
	settings->headers = calloc(3, sizeof(*settings->headers));
	settings->headers[0] = copy("X-A: 1");
	settings->headers[1] = copy("X-B:");
	settings->jwt_key = copy("key");
}

/* Every field comes out as it went in. */
static void round_trip_keeps_every_field(void **state)
{
	struct client_settings in, out;
	struct err err = {""};

	(void)state;
	fill(&in);
	assert_int_equal(client_settings_read(client_settings_write(&in, &err), &out, &err), 0);
	assert_string_equal(out.name, "home");
	assert_int_equal(out.server_count, 2);
	assert_string_equal(out.servers[1].url, "ws://[::1]:80");
	assert_string_equal(out.servers[1].host, "::1");
	assert_int_equal(out.servers[1].port, 80);
	assert_true(out.servers[1].cleartext);
	assert_false(out.servers[0].cleartext);
	assert_string_equal(out.servers[0].addresses, "203.0.113.10,::1");
	assert_null(out.servers[1].addresses);
	assert_string_equal(out.nameservers, "192.168.1.1");
	assert_string_equal(out.listen_text, "127.0.0.1:51820");
	assert_string_equal(out.token, "0123456789abcdef");
	assert_int_equal(out.pin_count, 2);
	assert_memory_equal(out.pins, in.pins, 64);
	assert_string_equal(out.ca_pem, "CA\n");
	assert_string_equal(out.client_certificate_pem, "CERT\n");
	assert_string_equal(out.client_key_pem, "KEY\n");
	assert_string_equal(out.server_name, "front.example.net");
	assert_true(out.interception);
	assert_string_equal(out.proxy_host, "proxy");
	assert_int_equal(out.proxy_port, 3128);
	assert_string_equal(out.proxy_user, "user");
	assert_string_equal(out.proxy_password, "p\xc3\xa4ss");
	assert_int_equal(out.ping_interval_ms, 15000);
	assert_int_equal(out.mask, CARRIER_MASK_RANDOM);
	assert_string_equal(out.stock_path, "v1");
	assert_string_equal(out.stock_target_host, "127.0.0.1");
	assert_int_equal(out.stock_target_port, 51820);
	assert_string_equal(out.basic_auth, "u:p");
	assert_int_equal(out.header_count, 2);
	assert_string_equal(out.headers[1], "X-B:");
	assert_null(out.headers[2]);
	assert_string_equal(out.jwt_key, "key");
	client_settings_done(&in);
	client_settings_done(&out);
}

/* Optional fields that were absent are absent afterwards. */
static void absent_fields_stay_absent(void **state)
{
	struct client_settings in, out;
	struct client_settings_server server = {
		(char *)(uintptr_t) "wss://a", (char *)(uintptr_t) "a", 443, false, NULL};
	struct err err = {""};

	(void)state;
	in = (struct client_settings){.name = "home",
		.servers = &server,
		.server_count = 1,
		.listen_text = "127.0.0.1:1",
		.token = copy("0123456789abcdef"),
		.ping_interval_ms = 15000,
		.stock_target_host = copy("127.0.0.1"),
		.stock_target_port = 1};
	assert_int_equal(client_settings_read(client_settings_write(&in, &err), &out, &err), 0);
	assert_null(out.ca_pem);
	assert_null(out.pins);
	assert_null(out.nameservers);
	assert_null(out.proxy_host);
	assert_null(out.stock_path);
	assert_null(out.jwt_key);
	assert_int_equal(out.header_count, 0);
	free(in.token);
	free(in.stock_target_host);
	client_settings_done(&out);
}

/* The settings of fill() with one field replaced (or removed, for NULL), read again. */
static int read_with(const char *key, const char *json, struct err *err)
{
	struct client_settings in, out;
	json_t *object = NULL;
	int rc;

	fill(&in);
	assert_int_equal(sealed_read(client_settings_write(&in, err), &object, err), 0);
	client_settings_done(&in);
	json_object_del(object, key);
	if (json)
		assert_int_equal(json_object_set_new(object, key, json_loads(json, JSON_DECODE_ANY, NULL)), 0);
	rc = client_settings_read(sealed_write("test", object, err), &out, err);
	if (rc == 0)
		client_settings_done(&out);
	return rc;
}

/* Whatever is missing, of another type, out of bounds or unknown is refused with its name. */
static void bad_fields_are_refused(void **state)
{
	static const struct {
		const char *key, *json, *complaint;
	} cases[] = {
		{"name", NULL, "name: missing"},
		{"servers", "[]", "servers: too few"},
		{"servers", "[{\"url\":\"a\",\"host\":\"a\",\"port\":0,\"cleartext\":false}]", "port: out of range"},
		{"servers", "[{\"url\":\"a\",\"host\":\"a\",\"port\":65536,\"cleartext\":false}]",
			"port: out of range"},
		{"servers", "[{\"url\":\"a\",\"host\":\"\",\"port\":1,\"cleartext\":false}]",
			"host: of a wrong length"},
		{"servers", "[{\"host\":\"a\",\"port\":1,\"cleartext\":false}]", "url: missing"},
		{"listen_text", "\"\"", "listen_text: of a wrong length"},
		{"token", "5", "token: not text"},
		{"pins", "[\"AAAA\"]", "pins: not base64"},
		{"pins", "[null]", "pins: not base64"},
		{"client_key_pem", "null", "come together"},
		{"interception", "\"no\"", "interception: neither"},
		{"servers", "[{\"url\":\"a\",\"host\":\"a\",\"port\":1,\"cleartext\":false,\"addresses\":\"1.2.3\"}]",
			"addresses: not addresses"},
		{"nameservers", "\"ns.example.org\"", "nameservers: not addresses"},
		{"nameservers", "\"\"", "nameservers"},
		{"proxy_port", "0", "proxy_port: out of range"},
		{"ping_interval_ms", "0", "ping_interval_ms: out of range"},
		{"mask", "3", "mask: out of range"},
		{"stock_target_host", "null", "stock_target_host: not text"},
		{"headers", "[\"X: a\\r\\nY: b\"]", "headers: not"},
		{"headers", "[\"nothing\"]", "headers: not"},
		{"headers", "[\": x\"]", "headers: not"},
		{"colour", "1", "a field that nobody knows"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct err err = {""};

		if (read_with(cases[i].key, cases[i].json, &err) != -EINVAL || !strstr(err.text, cases[i].complaint))
			fail_msg("%s = %s\nsaid '%s'\nnot  '%s'", cases[i].key, cases[i].json, err.text,
				cases[i].complaint);
	}
}

/* Without a token only a stock server can be asked. */
static void token_may_be_absent_for_a_stock_server_only(void **state)
{
	struct client_settings in, out;
	struct err err = {""};

	(void)state;
	assert_int_equal(read_with("token", "null", &err), 0);
	fill(&in);
	free(in.token);
	free(in.stock_path);
	in.token = in.stock_path = NULL;
	assert_int_equal(client_settings_read(client_settings_write(&in, &err), &out, &err), -EINVAL);
	assert_string_equal(err.text, "settings: token: missing");
	client_settings_done(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip_keeps_every_field),
		cmocka_unit_test(absent_fields_stay_absent),
		cmocka_unit_test(bad_fields_are_refused),
		cmocka_unit_test(token_may_be_absent_for_a_stock_server_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
