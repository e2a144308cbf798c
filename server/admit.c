/* Decides which requests may open the tunnel (admit.h).
 *
 * Happy path, our client: the key id in the JWT finds a token, the token's HMAC fits, the JWT is bound to this TLS
 * session and asks for our target, or for any. Happy path, a stock client: the path prefix is its own; its JWT is signed with a key
 * that we do not have, and only its target counts.
 *
 * A request that fails is a visitor's, with a reason for the debug log. Every request with a JWT costs the same,
 * whether it knows a key id, a path or none: entries are searched in as many steps for each, and one HMAC is computed,
 * with a dummy key where no token was found. The order of the entries follows from a secret of this table, so a stranger
 * cannot tell from how far a comparison went. So the time of an answer tells a stranger nothing.
 */
#include "server/admit.h"

#include "common/base/secret.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_LEN 32
#define DUMMY_LEN 43	/* as long as a token of 32 bytes in base64: its HMAC takes as long */
#define OUR_PREFIX "v1" /* of the path that our clients ask for */

struct entry {
	uint8_t id[HASH_LEN]; /* HMAC-SHA-256, by the table's secret, of the token's key id, or of the stock path */
	char *token;	      /* NULL: of a stock path */
	uint32_t client;      /* its number */
};

struct entries {
	struct entry *list; /* by id */
	size_t count;
};

struct admit_table {
	struct entries tokens, paths;
	uint8_t secret[HASH_LEN]; /* random */
	char dummy[DUMMY_LEN];	  /* random: no JWT is signed with it */
	/* The target, as a JWT may name it. */
	char host[ADDR_TEXT_MAX];
	char host_in_brackets[ADDR_TEXT_MAX + 2];
	uint16_t port;
};

/* Return: false where OpenSSL has no SHA-256, or no memory. */
static bool make_id(const struct admit_table *table, uint8_t ret[HASH_LEN], const void *text, size_t len)
{
	return HMAC(EVP_sha256(), table->secret, HASH_LEN, text, len, ret, NULL) != NULL;
}

/* @token: NULL for a stock path. */
static int add_entry(const struct admit_table *table, struct entries *entries, const char *text, const char *token,
	uint32_t client, struct err *err)
{
	struct entry *entry = &entries->list[entries->count];

	entry->client = client;
	if (!make_id(table, entry->id, text, strlen(text)))
		return err_openssl(err, -ENOTSUP, "SHA-256");
	entry->token = token ? strdup(token) : NULL;
	if (token && !entry->token)
		return err_system(err, -ENOMEM, "clients");
	entries->count++;
	return 0;
}

static int add_token(struct admit_table *table, const char *token, uint32_t client, struct err *err)
{
	char kid[JWT_KID_LEN + 1];

	jwt_make_kid(kid, token);
	return add_entry(table, &table->tokens, kid, token, client, err);
}

/* Those with the same id by number, a revoked client's last. */
static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order = memcmp(x->id, y->id, HASH_LEN);

	return order ? order : (x->client - 1 > y->client - 1) - (x->client - 1 < y->client - 1);
}

/* Two clients with one token, or one path, could not be told apart. */
static int sort_entries(
	struct entries *entries, const char *key, const struct server_settings *settings, struct err *err)
{
	qsort(entries->list, entries->count, sizeof(*entries->list), compare_entries);
	for (size_t i = 1; i < entries->count; i++) {
		const struct entry *entry = &entries->list[i];

		if (memcmp(entry[-1].id, entry->id, HASH_LEN) == 0)
			return err_set(err, -EINVAL, "%s has another client's %s",
				entry->client ? server_settings_find(settings, entry->client)->name
					      : "a revoked client",
				key);
	}
	return 0;
}

static int add_clients(struct admit_table *table, const struct server_settings *settings, struct err *err)
{
	const struct server_settings_client *clients = settings->clients;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < settings->client_count; i++) {
		if (clients[i].token)
			rc = add_token(table, clients[i].token, clients[i].number, err);
		if (rc == 0 && clients[i].stock_path)
			rc = add_entry(table, &table->paths, clients[i].stock_path, NULL, clients[i].number, err);
	}
	for (size_t i = 0; rc == 0 && i < settings->gone_count; i++)
		rc = add_token(table, settings->gone[i].token, 0, err);
	if (rc == 0)
		rc = sort_entries(&table->tokens, "Token", settings, err);
	return rc == 0 ? sort_entries(&table->paths, "StockPath", settings, err) : rc;
}

int admit_table_open(struct admit_table **ret, const struct server_settings *settings, struct err *err)
{
	const struct addr *target = &settings->target;
	size_t client_count = settings->client_count;
	struct admit_table *table = calloc(1, sizeof(*table));
	int rc;

	if (!table)
		return err_system(err, -ENOMEM, "clients");
	table->tokens.list = calloc(client_count + settings->gone_count + 1, sizeof(struct entry));
	table->paths.list = calloc(client_count + 1, sizeof(struct entry));
	addr_format_host(table->host, sizeof(table->host), target);
	snprintf(table->host_in_brackets, sizeof(table->host_in_brackets),
		target->sa.sa_family == AF_INET6 ? "[%s]" : "%s", table->host);
	table->port = addr_port(target);
	if (!table->tokens.list || !table->paths.list)
		rc = err_system(err, -ENOMEM, "clients");
	else if (RAND_bytes((unsigned char *)table->dummy, DUMMY_LEN) != 1 || RAND_bytes(table->secret, HASH_LEN) != 1)
		rc = err_openssl(err, -EIO, "random numbers");
	else
		rc = add_clients(table, settings, err);
	if (rc < 0) {
		admit_table_close(table);
		return rc;
	}
	*ret = table;
	return 0;
}

void admit_table_close(struct admit_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->tokens.count; i++)
		secret_free(table->tokens.list[i].token);
	free(table->tokens.list);
	free(table->paths.list);
	secret_wipe(table, sizeof(*table));
	free(table);
}

/* Binary search to the last entry whose id is not greater, with the same number of comparisons whatever is looked for.
 * Return: NULL where no entry has @text. */
static const struct entry *find_entry(
	const struct admit_table *table, const struct entries *entries, const void *text, size_t len)
{
	const struct entry *at = entries->list;
	uint8_t id[HASH_LEN];

	if (!make_id(table, id, text, len))
		return NULL;
	for (size_t left = entries->count, half; left > 1; left -= half) {
		half = left / 2;
		if (memcmp(at[half].id, id, HASH_LEN) <= 0)
			at += half;
	}
	return secret_equal(at->id, id, HASH_LEN) && entries->count > 0 ? at : NULL;
}

/* One HMAC, whether a token was found or not. */
static bool is_signed(const struct admit_table *table, const struct entry *entry, struct http_span jwt)
{
	const char *key = entry ? entry->token : table->dummy;
	size_t key_len = entry ? strlen(entry->token) : DUMMY_LEN;
	bool fits = jwt_verify(jwt.text, jwt.len, key, key_len);

	return entry && fits;
}

/* Find the client by the credentials alone. A good signature counts more than a path; both must not contradict each
 * other. Return: NULL with *ret set, or why the request is no client's. */
static const char *check_credentials(const struct admit_table *table, const struct upgrade_request *request,
	const struct jwt_claims *claims, const uint8_t *binding, struct admit_grant *ret)
{
	const struct entry *found = find_entry(table, &table->tokens, claims->kid, JWT_KID_LEN);
	const struct entry *token = claims->has_kid ? found : NULL;
	const struct entry *path = find_entry(table, &table->paths, request->prefix.text, request->prefix.len);
	bool is_ours = is_signed(table, token, request->jwt);

	if (is_ours && path && path->client != token->client)
		return "token and path are of different clients";
	if (is_ours && !path && !http_span_is(request->prefix, OUR_PREFIX))
		return "signed, but for another path";
	if (is_ours && binding && claims->has_binding && !secret_equal(claims->binding, binding, JWT_BINDING_LEN))
		return "signed for another TLS session";
	if (is_ours) {
		*ret = (struct admit_grant){.client = token->client,
			.has_instance = claims->has_instance,
			.has_beside = claims->has_beside && claims->has_instance,
			.has_iat = claims->has_iat,
			.iat_s = claims->iat_s,
			.has_public_key = claims->has_public_key};
		memcpy(ret->public_key, claims->public_key, sizeof(ret->public_key));
		memcpy(ret->instance, claims->instance, sizeof(ret->instance));
		memcpy(ret->id, claims->id, sizeof(ret->id));
		memcpy(ret->beside, claims->beside, sizeof(ret->beside));
		return NULL;
	}
	if (!path)
		return "neither a client's signature nor a client's path";
	*ret = (struct admit_grant){.client = path->client, .is_stock = true};
	return NULL;
}

/* Stock clients may be told to forward to "localhost", which they name as it is. */
static bool is_target(const struct admit_table *table, const struct jwt_claims *claims, bool is_stock)
{
	if (claims->takes_any && !is_stock)
		return true;
	return claims->port == table->port &&
	       (strcmp(claims->host, table->host) == 0 || strcmp(claims->host, table->host_in_brackets) == 0 ||
		       strcmp(claims->host, "localhost") == 0);
}

/* A request without a JWT may return early: there is no secret to compare. */
static const char *check_request(const struct admit_table *table, const struct upgrade_request *request,
	const uint8_t *binding, struct admit_grant *ret)
{
	struct jwt_claims claims = {0};
	struct admit_grant grant;
	const char *why;

	if (request->jwt.len == 0)
		return "no JWT";
	if (jwt_decode(request->jwt.text, request->jwt.len, &claims) < 0)
		return "no readable JWT";
	why = check_credentials(table, request, &claims, binding, &grant);
	if (why)
		return why;
	if (!claims.is_udp || !is_target(table, &claims, grant.is_stock))
		return "asks for something else than the target";
	*ret = grant;
	return NULL;
}

bool admit_check(const struct admit_table *table, const struct upgrade_request *request, const uint8_t *binding,
	struct admit_grant *ret, const char **ret_why)
{
	*ret_why = check_request(table, request, binding, ret);
	return !*ret_why;
}
