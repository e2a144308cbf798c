/* Decides which requests may open the tunnel (admit.h).
 *
 * Happy path, our client: the key id in the JWT finds a token, the token's HMAC fits, the JWT is bound to this TLS
 * session and asks for our target, or for any. Happy path, a stock client: the path prefix is its own; its JWT is signed with a key
 * that we do not have, and only its target counts.
 *
 * A request that fails is a visitor's, with a reason for the debug log. Every request with a JWT costs the same,
 * whether it knows a key id, a path or none: all entries are compared, in constant time, and one HMAC is computed, with
 * a dummy key where no token was found. So the time of an answer tells a stranger nothing.
 */
#include "server/admit.h"

#include "common/base/secret.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_LEN 32
#define DUMMY_LEN 43	/* as long as a token of 32 bytes in base64: its HMAC takes as long */
#define OUR_PREFIX "v1" /* of the path that our clients ask for */

struct token_entry {
	char kid[JWT_KID_LEN + 1];
	char *token;
	uint32_t client; /* its number */
};

struct path_entry {
	uint8_t hash[HASH_LEN]; /* SHA-256 of the stock path */
	uint32_t client;	/* its number */
};

struct admit_table {
	struct token_entry *tokens;
	size_t token_count;
	struct path_entry *paths;
	size_t path_count;
	char dummy[DUMMY_LEN]; /* random: no JWT is signed with it */
	/* The target, as a JWT may name it. */
	char host[ADDR_TEXT_MAX];
	char host_in_brackets[ADDR_TEXT_MAX + 2];
	uint16_t port;
};

/* Return: false where OpenSSL has no SHA-256, or no memory. */
static bool hash_text(uint8_t ret_hash[HASH_LEN], const void *text, size_t len)
{
	return EVP_Digest(text, len, ret_hash, NULL, EVP_sha256(), NULL) == 1;
}

/* Two clients with one token, or one path, could not be told apart. */
static int add_token(struct admit_table *table, const char *token, uint32_t client, const char *name, struct err *err)
{
	struct token_entry *entry = &table->tokens[table->token_count];

	jwt_make_kid(entry->kid, token);
	entry->client = client;
	for (size_t i = 0; i < table->token_count; i++)
		if (memcmp(table->tokens[i].kid, entry->kid, JWT_KID_LEN) == 0)
			return err_set(err, -EINVAL, "%s has another client's Token", name);
	entry->token = strdup(token);
	if (!entry->token)
		return err_system(err, -ENOMEM, "clients");
	table->token_count++;
	return 0;
}

static int add_path(struct admit_table *table, const struct server_settings_client *client, struct err *err)
{
	struct path_entry *entry = &table->paths[table->path_count];

	if (!hash_text(entry->hash, client->stock_path, strlen(client->stock_path)))
		return err_openssl(err, -ENOTSUP, "SHA-256");
	entry->client = client->number;
	for (size_t i = 0; i < table->path_count; i++)
		if (memcmp(table->paths[i].hash, entry->hash, HASH_LEN) == 0)
			return err_set(err, -EINVAL, "%s has another client's StockPath", client->name);
	table->path_count++;
	return 0;
}

static int add_clients(struct admit_table *table, const struct server_settings *settings, struct err *err)
{
	const struct server_settings_client *clients = settings->clients;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < settings->client_count; i++) {
		if (clients[i].token)
			rc = add_token(table, clients[i].token, clients[i].number, clients[i].name, err);
		if (rc == 0 && clients[i].stock_path)
			rc = add_path(table, &clients[i], err);
	}
	for (size_t i = 0; rc == 0 && i < settings->gone_count; i++)
		rc = add_token(table, settings->gone[i].token, 0, "a revoked client", err);
	return rc;
}

int admit_table_open(struct admit_table **ret, const struct server_settings *settings, struct err *err)
{
	const struct addr *target = &settings->target;
	size_t client_count = settings->client_count;
	struct admit_table *table = calloc(1, sizeof(*table));
	int rc;

	if (!table)
		return err_system(err, -ENOMEM, "clients");
	table->tokens = calloc(client_count + settings->gone_count + 1, sizeof(*table->tokens));
	table->paths = calloc(client_count + 1, sizeof(*table->paths));
	addr_format_host(table->host, sizeof(table->host), target);
	snprintf(table->host_in_brackets, sizeof(table->host_in_brackets),
		target->sa.sa_family == AF_INET6 ? "[%s]" : "%s", table->host);
	table->port = addr_port(target);
	if (!table->tokens || !table->paths)
		rc = err_system(err, -ENOMEM, "clients");
	else if (RAND_bytes((unsigned char *)table->dummy, DUMMY_LEN) != 1)
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
	for (size_t i = 0; i < table->token_count; i++)
		secret_free(table->tokens[i].token);
	free(table->tokens);
	secret_wipe(table->paths, table->path_count * sizeof(*table->paths));
	free(table->paths);
	secret_wipe(table, sizeof(*table));
	free(table);
}

/* The token that the key id means, or NULL. No early return: all entries are compared. */
static const struct token_entry *find_token(const struct admit_table *table, const struct jwt_claims *claims)
{
	const struct token_entry *found = NULL;

	for (size_t i = 0; i < table->token_count; i++)
		if (secret_equal(table->tokens[i].kid, claims->kid, JWT_KID_LEN))
			found = &table->tokens[i];
	return claims->has_kid ? found : NULL;
}

/* The stock client whose path this is, or NULL. Hashes are compared, so that paths of any length take the same time. */
static const struct path_entry *find_stock_path(const struct admit_table *table, struct http_span prefix)
{
	const struct path_entry *found = NULL;
	uint8_t hash[HASH_LEN];

	if (!hash_text(hash, prefix.text, prefix.len))
		return NULL;
	for (size_t i = 0; i < table->path_count; i++)
		if (secret_equal(table->paths[i].hash, hash, HASH_LEN))
			found = &table->paths[i];
	return found;
}

/* One HMAC, whether a token was found or not. */
static bool is_signed(const struct admit_table *table, const struct token_entry *entry, struct http_span jwt)
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
	const struct token_entry *token = find_token(table, claims);
	const struct path_entry *path = find_stock_path(table, request->prefix);
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
