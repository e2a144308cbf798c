/* Admission to the tunnel. */
#include "server/admit.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LAPTOP_TOKEN "laptop-token-0123456789"
#define PHONE_TOKEN "phone-token-0123456789"
#define LONG_TOKEN "a-token-that-is-longer-than-one-block-of-sha-256-and-so-is-hashed-before-it-is-a-key"

static char laptop[] = "laptop", laptop_token[] = LAPTOP_TOKEN;
static char phone[] = "phone", phone_token[] = PHONE_TOKEN, phone_path[] = "phone-word";
static char old[] = "old", old_path[] = "old-word";
static char v1[] = "v1-user", v1_path[] = "v1";
static char far[] = "far", far_token[] = LONG_TOKEN;

enum { LAPTOP = 7, PHONE, OLD, FAR, V1 }; /* their numbers */
static const struct server_settings_client clients[] = {
	{LAPTOP, laptop, laptop_token, NULL},
	{PHONE, phone, phone_token, phone_path},
	{OLD, old, NULL, old_path},
	{FAR, far, far_token, NULL},
};
#define GONE_TOKEN "a-token-that-was-revoked"
#define CLIENT_COUNT (sizeof(clients) / sizeof(clients[0]))

static const uint8_t binding[JWT_BINDING_LEN] = {1, 2, 3};
static const uint8_t other_binding[JWT_BINDING_LEN] = {1, 2, 4};

/* One request, by default the laptop's. */
struct ask {
	struct jwt_claims claims;
	const char *key;
	const char *prefix;
	const uint8_t *binding; /* the TLS session's */
	char jwt[JWT_TEXT_MAX];
};

static struct ask ask_of_laptop(void)
{
	struct ask ask = {.key = LAPTOP_TOKEN, .prefix = "v1", .binding = binding};

	jwt_make_id(ask.claims.id, 1);
	ask.claims.is_udp = true;
	ask.claims.port = 51820;
	snprintf(ask.claims.host, sizeof(ask.claims.host), "127.0.0.1");
	ask.claims.has_kid = true;
	jwt_make_kid(ask.claims.kid, LAPTOP_TOKEN);
	ask.claims.has_instance = true;
	memset(ask.claims.instance, 7, JWT_INSTANCE_LEN);
	ask.claims.has_iat = true;
	ask.claims.iat_s = 1763690000;
	ask.claims.has_binding = true;
	memcpy(ask.claims.binding, binding, JWT_BINDING_LEN);
	return ask;
}

/* As stock does it: nothing but the path counts. */
static struct ask ask_of_stock(const char *path)
{
	struct ask ask = {.key = "champignonfrais", .prefix = path, .binding = binding};

	jwt_make_id(ask.claims.id, 1);
	ask.claims.is_udp = true;
	ask.claims.timeout_s = 30;
	ask.claims.port = 51820;
	snprintf(ask.claims.host, sizeof(ask.claims.host), "127.0.0.1");
	return ask;
}

static struct server_settings_gone gone[] = {{(char *)(uintptr_t)GONE_TOKEN}};

static int open_with(struct admit_table **ret, const struct server_settings_client *list, size_t count,
	const struct addr *target, struct err *err)
{
	struct server_settings settings = {.client_count = count, .target = *target, .gone = gone, .gone_count = 1};

	settings.clients = (struct server_settings_client *)(uintptr_t)list;
	return admit_table_open(ret, &settings, err);
}

static struct admit_table *open_table(const char *target)
{
	struct admit_table *table = NULL;
	struct addr addr;

	assert_int_equal(addr_parse(target, 0, &addr), 0);
	assert_int_equal(open_with(&table, clients, CLIENT_COUNT, &addr, NULL), 0);
	return table;
}

static bool check_text(const struct admit_table *table, const char *prefix, const char *jwt, const uint8_t *bound,
	struct admit_grant *ret)
{
	struct upgrade_request request = {
		.prefix = {prefix, strlen(prefix)},
		.jwt = {jwt, strlen(jwt)},
	};
	const char *why = NULL;
	bool is_admitted = admit_check(table, &request, bound, ret, &why);

	assert_int_equal(is_admitted, why == NULL);
	return is_admitted;
}

static bool check_at(const char *target, struct ask *ask, struct admit_grant *ret)
{
	struct admit_table *table = open_table(target);
	bool is_admitted;

	assert_true(jwt_encode(ask->jwt, sizeof(ask->jwt), &ask->claims, ask->key, strlen(ask->key)) > 0);
	is_admitted = check_text(table, ask->prefix, ask->jwt, ask->binding, ret);
	admit_table_close(table);
	return is_admitted;
}

static bool is_admitted(struct ask ask)
{
	struct admit_grant grant;

	return check_at("127.0.0.1:51820", &ask, &grant);
}

/* Our client comes in by its token, with its instance and clock. */
static void own_client(void **state)
{
	struct ask ask = ask_of_laptop();
	struct admit_grant grant = {0};

	(void)state;
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	assert_int_equal(grant.client, LAPTOP);
	assert_true(grant.has_instance);
	assert_memory_equal(grant.instance, ask.claims.instance, JWT_INSTANCE_LEN);
	assert_true(grant.has_iat);
	assert_int_equal(grant.iat_s, 1763690000);
}

/* A client that knows no target is given ours, whatever the request names for stock servers; one that comes by a stock
 * path is not, since any program can write that claim. */
static void own_client_takes_any_target(void **state)
{
	struct ask ask = ask_of_laptop(), stock = ask_of_stock("old-word");
	struct admit_grant grant = {0};

	(void)state;
	assert_false(check_at("127.0.0.1:51871", &ask, &grant));
	ask.claims.takes_any = true;
	assert_true(check_at("127.0.0.1:51871", &ask, &grant));
	assert_int_equal(grant.client, LAPTOP);
	assert_true(check_at("[::1]:51820", &ask, &grant));
	stock.claims.takes_any = true;
	assert_false(check_at("127.0.0.1:51871", &stock, &grant));
}

/* A revoked token opens nothing, but its owner is known: client 0. */
static void revoked_token_is_known(void **state)
{
	struct ask ask = ask_of_laptop();
	struct admit_grant grant = {.client = 7};

	(void)state;
	jwt_make_kid(ask.claims.kid, GONE_TOKEN);
	assert_false(check_at("127.0.0.1:51820", &ask, &grant));
	ask.key = GONE_TOKEN;
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	assert_int_equal(grant.client, 0);
}

/* The public key of the client's device is handed on as it came. */
static void public_key_is_handed_on(void **state)
{
	struct ask ask = ask_of_laptop();
	struct admit_grant grant = {0};

	(void)state;
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	assert_false(grant.has_public_key);
	ask.claims.has_public_key = true;
	memset(ask.claims.public_key, 9, sizeof(ask.claims.public_key));
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	assert_true(grant.has_public_key);
	assert_memory_equal(grant.public_key, ask.claims.public_key, sizeof(grant.public_key));
}

/* A token longer than a block of the hash works like any other. */
static void long_token(void **state)
{
	struct ask ask = ask_of_laptop();
	struct admit_grant grant = {0};

	(void)state;
	jwt_make_kid(ask.claims.kid, LONG_TOKEN);
	ask.key = LONG_TOKEN;
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	assert_int_equal(grant.client, FAR);
}

/* A stock client comes in by its path, whatever its signature and its other claims. */
static void stock_client(void **state)
{
	struct ask ask = ask_of_stock("old-word");
	struct admit_grant grant = {0};

	(void)state;
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	assert_int_equal(grant.client, OLD);
	assert_false(grant.has_instance);
	assert_false(grant.has_iat);
	ask = ask_of_stock("phone-word");
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	assert_int_equal(grant.client, PHONE);
	ask = ask_of_laptop();
	ask.prefix = "old-word";
	ask.key = "not the laptop's token";
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	assert_int_equal(grant.client, OLD);
	assert_false(grant.has_instance);
}

/* A path is compared whole: no prefix, no case, no more. */
static void wrong_paths(void **state)
{
	static const char *const paths[] = {
		"v1", "", "old", "old-wor", "old-word2", "OLD-WORD", "old-word/", "x/old-word"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_false(is_admitted(ask_of_stock(paths[i])));
}

/* A signature by another key, a key id that is unknown or missing, are a visitor's. */
static void wrong_signatures(void **state)
{
	struct ask ask = ask_of_laptop();

	(void)state;
	ask.key = PHONE_TOKEN;
	assert_false(is_admitted(ask));
	ask = ask_of_laptop();
	ask.key = "";
	assert_false(is_admitted(ask));
	ask = ask_of_laptop();
	ask.claims.kid[0] = ask.claims.kid[0] == '0' ? '1' : '0';
	assert_false(is_admitted(ask));
	ask = ask_of_laptop();
	ask.claims.has_kid = false;
	assert_false(is_admitted(ask));
}

/* With a signature the path is v1 and nothing else, unless it is the same client's own. */
static void signature_and_path(void **state)
{
	struct ask ask = ask_of_laptop();

	(void)state;
	ask.prefix = "v2";
	assert_false(is_admitted(ask));
	ask.prefix = "old-word"; /* another client's: both valid */
	assert_false(is_admitted(ask));
	jwt_make_kid(ask.claims.kid, PHONE_TOKEN);
	ask.key = PHONE_TOKEN;
	assert_false(is_admitted(ask));
	ask.prefix = "phone-word";
	assert_true(is_admitted(ask));
}

/* A JWT made for another TLS session is a visitor's. */
static void binding_of_another_session(void **state)
{
	struct ask ask = ask_of_laptop();

	(void)state;
	ask.binding = other_binding;
	assert_false(is_admitted(ask));
}

/* Without binding it is accepted: the client was told so. Where TLS ends before us, none is compared. */
static void binding_not_given(void **state)
{
	struct ask ask = ask_of_laptop();

	(void)state;
	ask.claims.has_binding = false;
	assert_true(is_admitted(ask));
	ask = ask_of_laptop();
	ask.binding = NULL;
	assert_true(is_admitted(ask));
	memcpy(ask.claims.binding, other_binding, JWT_BINDING_LEN);
	assert_true(is_admitted(ask));
}

/* Nothing but the target is served, as text and as integer, for either kind of client. */
static void other_targets(void **state)
{
	static const char *const hosts[] = {"127.0.0.2", "127.0.0.01", "127.1", "0.0.0.0", "[127.0.0.1]", "::1",
		"[::1]", "::ffff:127.0.0.1", "localhost.", "LOCALHOST", "example.org", " 127.0.0.1", "127.0.0.1 ", ""};
	static const int64_t ports[] = {0, 22, 51819, 51821, 51820 + 65536};

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct ask ours = ask_of_laptop();
		struct ask stock = ask_of_stock("old-word");

		snprintf(ours.claims.host, sizeof(ours.claims.host), "%s", hosts[i]);
		snprintf(stock.claims.host, sizeof(stock.claims.host), "%s", hosts[i]);
		assert_false(is_admitted(ours));
		assert_false(is_admitted(stock));
	}
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		struct ask ask = ask_of_laptop();

		ask.claims.port = ports[i];
		assert_false(is_admitted(ask));
	}
}

/* localhost is the target, and IPv6 may come with brackets or without. */
static void spellings_of_the_target(void **state)
{
	static const char *const hosts[] = {"::1", "[::1]", "localhost"};
	struct ask ask = ask_of_laptop();
	struct admit_grant grant;

	(void)state;
	snprintf(ask.claims.host, sizeof(ask.claims.host), "localhost");
	assert_true(check_at("127.0.0.1:51820", &ask, &grant));
	for (size_t i = 0; i < 3; i++) {
		snprintf(ask.claims.host, sizeof(ask.claims.host), "%s", hosts[i]);
		assert_true(check_at("[::1]:51820", &ask, &grant));
	}
	snprintf(ask.claims.host, sizeof(ask.claims.host), "127.0.0.1");
	assert_false(check_at("[::1]:51820", &ask, &grant));
}

/* Something else than UDP, no JWT, no readable JWT: a visitor. */
static void not_a_tunnel_request(void **state)
{
	static const char *const texts[] = {
		"", "a", "a.b.c", "..", "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.", "e30.e30.e30"};
	/* {"typ":"JWT","alg":"HS256"} . {"id":"…","p":"Tcp"…}: made with p = {"Tcp":{"proxy_protocol":false}} */
	static const char tcp[] =
		"eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."
		"eyJpZCI6IjAxOTE5ZTQyLTdiMmItN2ZmMy1iMGZlLWFmNWUwN2Y1ZDkxMyIsInAiOnsiVGNwIjp7InByb3h5X3Byb3Rv"
		"Y29sIjpmYWxzZX19LCJyIjoiMTI3LjAuMC4xIiwicnAiOjUxODIwfQ.";
	struct admit_table *table = open_table("127.0.0.1:51820");
	struct admit_grant grant;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(check_text(table, "old-word", texts[i], binding, &grant));
	assert_false(check_text(table, "old-word", tcp, binding, &grant));
	admit_table_close(table);
}

/* A stock path "v1" and the signature of another client are two clients in one request. */
static void path_v1_and_signature(void **state)
{
	const struct server_settings_client both[] = {{LAPTOP, laptop, laptop_token, NULL}, {V1, v1, NULL, v1_path}};
	struct ask ask = ask_of_laptop();
	struct admit_table *table = NULL;
	struct admit_grant grant;
	struct addr addr;

	(void)state;
	addr_parse("127.0.0.1:51820", 0, &addr);
	assert_int_equal(open_with(&table, both, 2, &addr, NULL), 0);
	jwt_encode(ask.jwt, sizeof(ask.jwt), &ask.claims, ask.key, strlen(ask.key));
	assert_false(check_text(table, "v1", ask.jwt, binding, &grant));
	ask = ask_of_stock("v1");
	jwt_encode(ask.jwt, sizeof(ask.jwt), &ask.claims, ask.key, strlen(ask.key));
	assert_true(check_text(table, "v1", ask.jwt, binding, &grant));
	assert_int_equal(grant.client, V1);
	admit_table_close(table);
}

/* Two clients with one token or one path cannot be told apart: refused, with the name of the second. */
static void same_secret_twice(void **state)
{
	const struct server_settings_client tokens[] = {
		{1, laptop, laptop_token, NULL}, {2, phone, laptop_token, NULL}};
	const struct server_settings_client paths[] = {{1, laptop, NULL, old_path}, {2, phone, NULL, old_path}};
	struct admit_table *table = NULL;
	struct err err = {""};
	struct addr addr;

	(void)state;
	addr_parse("127.0.0.1:51820", 0, &addr);
	assert_int_equal(open_with(&table, tokens, 2, &addr, &err), -EINVAL);
	assert_string_equal(err.text, "phone has another client's Token");
	assert_int_equal(open_with(&table, paths, 2, &addr, &err), -EINVAL);
	assert_string_equal(err.text, "phone has another client's StockPath");
	assert_null(table);
}

static size_t comparisons;
int __real_memcmp(const void *a, const void *b, size_t len);
int __wrap_memcmp(const void *a, const void *b, size_t len);

int __wrap_memcmp(const void *a, const void *b, size_t len)
{
	comparisons++;
	return __real_memcmp(a, b, len);
}

/* Each of so many clients is found, in as many comparisons as one that is unknown; and making the table is a sort. */
static void many_clients(void **state)
{
	enum { COUNT = 5000, STEPS = 13 };
	size_t of_first = 0;
	struct server_settings_client *many = calloc(COUNT, sizeof(*many));
	struct admit_table *table = NULL;
	struct admit_grant grant;
	struct addr addr;

	(void)state;
	addr_parse("127.0.0.1:51820", 0, &addr);
	for (uint32_t i = 0; i < COUNT; i++) {
		char token[64];

		snprintf(token, sizeof(token), "token-of-client-number-%u", i);
		many[i] = (struct server_settings_client){i + 1, laptop, strdup(token), NULL};
	}
	comparisons = 0;
	assert_int_equal(open_with(&table, many, COUNT, &addr, NULL), 0);
	assert_in_range(comparisons, COUNT, COUNT * (STEPS + 2));
	for (uint32_t i = 0; i < COUNT + 100; i += 7) {
		struct ask ask = ask_of_laptop();
		char token[64];

		snprintf(token, sizeof(token), "token-of-client-number-%u", i);
		jwt_make_kid(ask.claims.kid, token);
		jwt_encode(ask.jwt, sizeof(ask.jwt), &ask.claims, token, strlen(token));
		comparisons = 0;
		assert_int_equal(check_text(table, "v1", ask.jwt, binding, &grant), i < COUNT);
		if (i == 0)
			of_first = comparisons;
		assert_in_range(comparisons, STEPS, 2 * STEPS);
		assert_in_range(comparisons, of_first - 1, of_first); /* the prefix of a client's request */
		if (i < COUNT)
			assert_int_equal(grant.client, i + 1);
	}
	admit_table_close(table);
	for (uint32_t i = 0; i < COUNT; i++)
		free(many[i].token);
	free(many);
}

/* Without clients there is nothing to come in by. */
static void no_clients(void **state)
{
	struct ask ask = ask_of_laptop();
	struct admit_table *table = NULL;
	struct admit_grant grant;
	struct addr addr;

	(void)state;
	addr_parse("127.0.0.1:51820", 0, &addr);
	assert_int_equal(open_with(&table, NULL, 0, &addr, NULL), 0);
	jwt_encode(ask.jwt, sizeof(ask.jwt), &ask.claims, ask.key, strlen(ask.key));
	assert_false(check_text(table, "v1", ask.jwt, binding, &grant));
	admit_table_close(table);
	admit_table_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_client),
		cmocka_unit_test(own_client_takes_any_target),
		cmocka_unit_test(revoked_token_is_known),
		cmocka_unit_test(public_key_is_handed_on),
		cmocka_unit_test(long_token),
		cmocka_unit_test(stock_client),
		cmocka_unit_test(wrong_paths),
		cmocka_unit_test(wrong_signatures),
		cmocka_unit_test(signature_and_path),
		cmocka_unit_test(binding_of_another_session),
		cmocka_unit_test(binding_not_given),
		cmocka_unit_test(other_targets),
		cmocka_unit_test(spellings_of_the_target),
		cmocka_unit_test(not_a_tunnel_request),
		cmocka_unit_test(path_v1_and_signature),
		cmocka_unit_test(same_secret_twice),
		cmocka_unit_test(many_clients),
		cmocka_unit_test(no_clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
