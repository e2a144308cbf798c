/* server/settings: the worker reads settings as the supervisor wrote them, and takes no others. */
#include "common/base/sealed.h"
#include "server/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void fill(struct server_settings *settings)
{
	static struct server_settings_listener listeners[2] = {
		{"0.0.0.0:443", false, false}, {"127.0.0.1:8080", true, true}};
	static char names[2][8] = {"laptop", "phone"};
	static char token[] = "0123456789abcdef_-";
	static char word[] = "stockword";
	static char pem[] = "CERT\n", key[] = "KEY\n", page[] = "<p>\xc3\xa4";
	static struct server_settings_client clients[2];
	static struct prefix proxies[2];
	static char home[] = "home.example.org", star[] = "*.example.org", deep[] = "*.home.example.org",
		    own[] = "vps.example.org";
	static struct server_name some[] = {{.text = home}, {.text = deep}}, others[] = {{.text = star}},
				  own_names[] = {{.text = own}};
	static struct server_settings_publish publishes[2] = {
		{.names = others, .name_count = 1}, {.names = some, .name_count = 2, .proxy_protocol = 2}};

	clients[0] = (struct server_settings_client){7, names[0], token, NULL};
	clients[1] = (struct server_settings_client){4194302, names[1], NULL, word};
	assert_int_equal(prefix_parse("10.0.0.0/8", &proxies[0]), 0);
	assert_int_equal(prefix_parse("fd00::1", &proxies[1]), 0);
	*settings = (struct server_settings){.name = "hub",
		.listeners = listeners,
		.listener_count = 2,
		.certificate_pem = pem,
		.certificate_key_pem = key,
		.clients = clients,
		.client_count = 2,
		.max_clients = 10000,
		.max_sessions_per_client = 8,
		.ping_interval_ms = 15000,
		.trusted_proxies = proxies,
		.trusted_proxy_count = 2,
		.page_html = page,
		.publishes = publishes,
		.publish_count = 2,
		.publish_number = 40,
		.own_names = own_names,
		.own_name_count = 1};
	assert_int_equal(addr_parse("192.168.1.31:443", 0, &publishes[0].to), 0);
	assert_int_equal(addr_parse("[fd10::2]:8443", 0, &publishes[1].to), 0);
	assert_int_equal(addr_parse("127.0.0.1:51820", 0, &settings->target), 0);
}

/* Every field comes out as it went in. */
static void round_trip_keeps_every_field(void **state)
{
	struct server_settings in, out;
	struct err err = {""};
	int fd;

	(void)state;
	fill(&in);
	fd = server_settings_write(&in, &err);
	assert_true(fd >= 0);
	assert_int_equal(server_settings_read(fd, &out, &err), 0);
	assert_string_equal(out.name, "hub");
	assert_int_equal(out.listener_count, 2);
	assert_string_equal(out.listeners[1].text, "127.0.0.1:8080");
	assert_false(out.listeners[0].cleartext);
	assert_true(out.listeners[1].cleartext);
	assert_string_equal(out.certificate_pem, "CERT\n");
	assert_string_equal(out.certificate_key_pem, "KEY\n");
	assert_true(addr_equal(&out.target, &in.target));
	assert_int_equal(out.client_count, 2);
	assert_int_equal(out.clients[0].number, 7);
	assert_ptr_equal(server_settings_find(&out, 4194302), &out.clients[1]);
	assert_null(server_settings_find(&out, 8));
	assert_string_equal(out.clients[0].token, "0123456789abcdef_-");
	assert_null(out.clients[0].stock_path);
	assert_null(out.clients[1].token);
	assert_string_equal(out.clients[1].stock_path, "stockword");
	assert_int_equal(out.max_clients, 10000);
	assert_int_equal(out.max_sessions_per_client, 8);
	assert_int_equal(out.ping_interval_ms, 15000);
	assert_true(out.listeners[1].only_proxies);
	assert_int_equal(out.trusted_proxy_count, 2);
	assert_true(prefix_equal(&out.trusted_proxies[0], &in.trusted_proxies[0]));
	assert_true(prefix_equal(&out.trusted_proxies[1], &in.trusted_proxies[1]));
	assert_string_equal(out.page_html, "<p>\xc3\xa4");
	assert_int_equal(out.publish_count, 2);
	assert_string_equal(out.publishes[1].names[1].text, "*.home.example.org");
	assert_true(addr_equal(&out.publishes[1].to, &in.publishes[1].to));
	assert_int_equal(out.publishes[1].proxy_protocol, 2);
	assert_int_equal(out.publish_number, 40);
	assert_string_equal(out.own_names[0].text, "vps.example.org");
	server_settings_done(&out);
}

static int find(const struct server_settings *settings, const char *name)
{
	return server_settings_find_publish(settings, name, strlen(name));
}

/* The whole name before a star, and our own before both. */
static void published_name_is_found(void **state)
{
	char long_name[SERVER_NAME_MAX + 20];
	struct server_settings settings;

	(void)state;
	fill(&settings);
	assert_int_equal(find(&settings, "HOME.example.org"), 1);
	assert_int_equal(find(&settings, "nas.example.org"), 0);
	assert_int_equal(find(&settings, "a.home.example.org"), 1);
	assert_int_equal(find(&settings, "vps.EXAMPLE.org"), -ENOENT);
	assert_int_equal(find(&settings, "example.org"), -ENOENT);
	assert_int_equal(find(&settings, "b.a.home.example.org"), -ENOENT);
	assert_int_equal(find(&settings, ""), -ENOENT);
	memset(long_name, 'a', sizeof(long_name));
	strcpy(long_name + SERVER_NAME_MAX, ".example.org");
	assert_int_equal(find(&settings, long_name), -ENOENT);
}

/* A hub without clients, proxies and TLS is one too. */
static void empty_lists_are_fine(void **state)
{
	struct server_settings in, out;
	struct err err = {""};

	(void)state;
	fill(&in);
	in.listeners++;
	in.listener_count = 1;
	in.client_count = 0;
	in.trusted_proxy_count = 0;
	in.certificate_pem = in.certificate_key_pem = NULL;
	assert_int_equal(server_settings_read(server_settings_write(&in, &err), &out, &err), 0);
	assert_int_equal(out.client_count, 0);
	assert_null(out.certificate_pem);
	server_settings_done(&out);
}

/* The file cannot be changed once it is written. */
static void file_is_sealed(void **state)
{
	struct server_settings in;
	struct err err = {""};
	int fd;

	(void)state;
	fill(&in);
	fd = server_settings_write(&in, &err);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	close(fd);
}

/* Read @text as settings. */
static int read_text(const char *text, bool seal, struct err *err)
{
	struct server_settings out;
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc;

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	if (seal)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
	rc = server_settings_read(fd, &out, err);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed in any case */
	if (rc == 0)
		server_settings_done(&out);
	return rc;
}

#define GOOD_HEAD "{\"name\":\"hub\",\"listeners\":[{\"text\":\"0.0.0.0:443\",\"cleartext\":false,\"only_proxies\":false}],"
#define GOOD_CERT "\"certificate_pem\":\"c\",\"certificate_key_pem\":\"k\","
#define GOOD_TARGET "\"target\":\"127.0.0.1:51820\","
#define GOOD_CLIENTS "\"clients\":[{\"number\":3,\"name\":\"a\",\"token\":\"0123456789abcdef\",\"stock_path\":null" JOIN "}]," GOOD_GONE
#define JOIN ",\"waits_until_s\":0,\"has_joined\":false,\"joined_key\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""
#define GOOD_GONE "\"gone\":[\"0123456789abcdef\"],\"networks\":null,"
#define A_CLIENT "{\"number\":3,\"name\":\"a\",\"token\":null,\"stock_path\":\"a\"" JOIN "}"
#define GOOD_LIMITS "\"max_clients\":5,\"max_sessions_per_client\":5,\"ping_interval_ms\":15000,"
#define GOOD_TAIL "\"trusted_proxies\":[{\"addr\":\"10.0.0.1:1\",\"bits\":32}],\"page_html\":\"\"," GOOD_PUBLISH "}"
#define GOOD_PUBLISH                                                                                                   \
	"\"publishes\":[{\"names\":[\"a.org\"],\"to\":\"10.0.0.1:1\",\"proxy_protocol\":1}],\"publish_number\":1,\"own_names\":[]"
#define GOOD_REST GOOD_TARGET GOOD_CLIENTS GOOD_LIMITS GOOD_TAIL
#define GOOD GOOD_HEAD GOOD_CERT GOOD_REST

/* The text that the refusals below vary is taken when nothing is wrong with it. */
static void good_text_is_taken(void **state)
{
	struct err err = {""};

	(void)state;
	assert_int_equal(read_text(GOOD, true, &err), 0);
	assert_int_equal(read_text(GOOD, false, &err), -EINVAL);
	assert_string_equal(err.text, "settings: not a sealed memory file");
}

/* Whatever is missing, of another type, out of bounds or unknown is refused with its name. */
static void bad_fields_are_refused(void **state)
{
	static const struct {
		const char *text;
		const char *complaint;
	} cases[] = {
		{"", "0 bytes"},
		{"[]", "not a JSON object"},
		{"{", "not JSON"},
		{GOOD "x", "not JSON"},
		{"{}", "name: missing"},
		{"{\"name\":\"a\",\"name\":\"b\"}", "not JSON"},
		{"{\"name\":7}", "name: not text"},
		{"{\"name\":\"\"}", "name: of a wrong length"},
		{"{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
			"name: of a wrong length"},
		{"{\"name\":\"hub\",\"listeners\":[]}", "listeners: too few"},
		{"{\"name\":\"hub\",\"listeners\":[7]}", "listener: not a JSON object"},
		{"{\"name\":\"hub\",\"listeners\":[{\"text\":\"x\",\"cleartext\":1}]}", "cleartext: neither"},
		{"{\"name\":\"hub\",\"listeners\":[{\"text\":\"x\",\"cleartext\":true,\"only_proxies\":true,\"y\":1}]}",
			"listener: a field that nobody"},
		{GOOD_HEAD "\"certificate_pem\":null,\"certificate_key_pem\":null," GOOD_REST,
			"certificate_pem: missing"},
		{GOOD_HEAD "\"certificate_pem\":\"c\",\"certificate_key_pem\":null," GOOD_REST, "come together"},
		{GOOD_HEAD GOOD_CERT "\"target\":\"localhost\"}", "target: not an address"},
		{GOOD_HEAD GOOD_CERT "\"target\":\"10.0.0.1:51820\"," GOOD_CLIENTS GOOD_LIMITS GOOD_TAIL,
			"target: not a loopback address"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET "\"clients\":{}}", "clients: not an array"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET
			"\"clients\":[{\"number\":3,\"name\":\"a\",\"token\":\"short\",\"stock_path\":null}]}",
			"token: of a wrong length"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET
			"\"clients\":[{\"number\":3,\"name\":\"a\",\"token\":\"0123456789abcde/\",\"stock_path\":null}]}",
			"token: not made of"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET "\"clients\":[{\"number\":0,\"name\":\"a\"}]}",
			"number: out of range"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET "\"clients\":[{\"number\":4194303,\"name\":\"a\"}]}",
			"number: out of range"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET "\"clients\":[" A_CLIENT "," A_CLIENT "]," GOOD_GONE GOOD_LIMITS GOOD_TAIL,
			"number: out of range"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS "\"max_clients\":0}", "max_clients: out of range"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS "\"max_clients\":-1}", "max_clients: out of range"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS "\"max_clients\":5.0}", "max_clients: not an integer"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS "\"max_clients\":4294967297}",
			"max_clients: out of range"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS GOOD_LIMITS "\"trusted_proxies\":[1]}",
			"proxy: not a JSON object"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS GOOD_LIMITS
			"\"trusted_proxies\":[{\"addr\":\"10.0.0.1:1\",\"bits\":0}]}",
			"bits: out of range"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS GOOD_LIMITS "\"trusted_proxies\":[],\"page_html\":null}",
			"page_html: not text"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS GOOD_LIMITS
			"\"trusted_proxies\":[],\"page_html\":\"\",\"publishes\":[{\"names\":[]}]}",
			"names: too few"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS GOOD_LIMITS
			"\"trusted_proxies\":[],\"page_html\":\"\",\"publishes\":[{\"names\":[\"a.*\"]}]}",
			"a star in the wrong place"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS GOOD_LIMITS
			"\"trusted_proxies\":[],\"page_html\":\"\\u0000\"}",
			"not JSON"},
		{GOOD_HEAD GOOD_CERT GOOD_TARGET GOOD_CLIENTS GOOD_LIMITS "\"more\":1," GOOD_TAIL,
			"a field that nobody knows"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct err err = {""};

		if (read_text(cases[i].text, true, &err) != -EINVAL || !strstr(err.text, cases[i].complaint))
			fail_msg("%s\nsaid '%s'\nnot  '%s'", cases[i].text, err.text, cases[i].complaint);
	}
}

/* Text that JSON cannot carry is told when written, not lost. */
static void text_that_is_not_utf8_is_refused(void **state)
{
	static char bad[] = "caf\xe9";
	struct server_settings in;
	struct err err = {""};

	(void)state;
	fill(&in);
	in.clients[0].name = bad;
	assert_int_equal(server_settings_write(&in, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "UTF-8"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip_keeps_every_field),
		cmocka_unit_test(published_name_is_found),
		cmocka_unit_test(empty_lists_are_fine),
		cmocka_unit_test(file_is_sealed),
		cmocka_unit_test(good_text_is_taken),
		cmocka_unit_test(bad_fields_are_refused),
		cmocka_unit_test(text_that_is_not_utf8_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
