/* See settings.h. Written field by field, read field by field in the same order; whatever is missing, out of bounds,
 * of another type or unknown is refused with the field's name, and nothing of it is kept.
 */
#include "server/settings.h"

#include "common/base/sealed.h"
#include "common/base/secret.h"
#include "server/client_number.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LISTENERS_MAX 64
#define CLIENTS_MAX 100000
#define TRUSTED_PROXIES_MAX 256
#define NAME_MAX_LEN 63
#define WORD_MAX_LEN 256 /* token, stock path */
#define TOKEN_MIN_LEN 16
#define PEM_MAX (1u << 20)
#define PAGE_MAX (1u << 20)

static json_t *settings_pack_listener(const struct server_settings_listener *listener)
{
	return json_pack("{s:o, s:b}", "text", sealed_text(listener->text), "cleartext", listener->cleartext);
}

static json_t *settings_pack_client(const struct server_settings_client *client)
{
	return json_pack("{s:i, s:o, s:o, s:o}", "number", (int)client->number, "name", sealed_text(client->name),
		"token", sealed_text(client->token), "stock_path", sealed_text(client->stock_path));
}

/* Without its port, but in brackets, so that it is read again without guessing. */
static json_t *settings_pack_proxy(const struct addr *proxy)
{
	char text[ADDR_TEXT_MAX];
	struct addr with_port = *proxy;

	addr_set_port(&with_port, 1);
	return sealed_text(addr_format(text, sizeof(text), &with_port));
}

static json_t *settings_pack_listeners(const struct server_settings *settings)
{
	json_t *array = json_array();

	for (size_t i = 0; i < settings->listener_count; i++)
		if (json_array_append_new(array, settings_pack_listener(&settings->listeners[i])) < 0)
			goto fail;
	return array;
fail:
	json_decref(array);
	return NULL;
}

static json_t *settings_pack_clients(const struct server_settings *settings)
{
	json_t *array = json_array();

	for (size_t i = 0; i < settings->client_count; i++)
		if (json_array_append_new(array, settings_pack_client(&settings->clients[i])) < 0)
			goto fail;
	return array;
fail:
	json_decref(array);
	return NULL;
}

static json_t *settings_pack_proxies(const struct server_settings *settings)
{
	json_t *array = json_array();

	for (size_t i = 0; i < settings->trusted_proxy_count; i++)
		if (json_array_append_new(array, settings_pack_proxy(&settings->trusted_proxies[i])) < 0)
			goto fail;
	return array;
fail:
	json_decref(array);
	return NULL;
}

static json_t *settings_pack(const struct server_settings *settings)
{
	json_t *object = sealed_new_object();
	char target[ADDR_TEXT_MAX];
	int rc = 0;

	addr_format(target, sizeof(target), &settings->target);
	rc |= json_object_set_new(object, "name", sealed_text(settings->name));
	rc |= json_object_set_new(object, "listeners", settings_pack_listeners(settings));
	rc |= json_object_set_new(object, "certificate_pem", sealed_text(settings->certificate_pem));
	rc |= json_object_set_new(object, "certificate_key_pem", sealed_text(settings->certificate_key_pem));
	rc |= json_object_set_new(object, "target", sealed_text(target));
	rc |= json_object_set_new(object, "clients", settings_pack_clients(settings));
	rc |= json_object_set_new(object, "max_clients", json_integer(settings->max_clients));
	rc |= json_object_set_new(object, "max_sessions_per_client", json_integer(settings->max_sessions_per_client));
	rc |= json_object_set_new(object, "ping_interval_ms", json_integer((json_int_t)settings->ping_interval_ms));
	rc |= json_object_set_new(object, "trusted_proxies", settings_pack_proxies(settings));
	rc |= json_object_set_new(object, "page_html", sealed_text(settings->page_html));
	if (rc == 0)
		return object;
	json_decref(object);
	return NULL;
}

int server_settings_write(const struct server_settings *settings, struct err *err)
{
	return sealed_write("settings", settings_pack(settings), err);
}

/* Letters, digits, "_" and "-": what tokens and stock paths are made of. */
static bool settings_is_word(const char *text)
{
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && *text != '_' && *text != '-')
			return false;
	return true;
}

static char *settings_take_word(struct fields *fields, const char *key, size_t min)
{
	char *word = fields_take_text(fields, key, min, WORD_MAX_LEN, FIELDS_MAY_BE_NULL);

	if (word && !settings_is_word(word))
		fields_fail(fields, key, "not made of letters, digits, _ and -");
	return word;
}

static void *settings_new_array(struct fields *fields, size_t count, size_t size)
{
	void *array = calloc(count ? count : 1, size);

	if (!array)
		fields->code = err_set(fields->err, -ENOMEM, "settings: out of memory");
	return array;
}

static void settings_take_listeners(struct fields *fields, struct server_settings *settings)
{
	const json_t *array = fields_take_array(fields, "listeners", 1, LISTENERS_MAX);

	if (array)
		settings->listeners = settings_new_array(fields, json_array_size(array), sizeof(*settings->listeners));
	while (settings->listeners && fields->code == 0 && settings->listener_count < json_array_size(array)) {
		struct server_settings_listener *listener = &settings->listeners[settings->listener_count];
		struct fields inner;

		fields_open(&inner, json_array_get(array, settings->listener_count++), "listener", fields->err);
		fields_take_text_into(&inner, "text", listener->text, sizeof(listener->text));
		listener->cleartext = fields_take_bool(&inner, "cleartext");
		fields->code = fields_close(&inner);
	}
}

static void settings_take_clients(struct fields *fields, struct server_settings *settings)
{
	const json_t *array = fields_take_array(fields, "clients", 0, CLIENTS_MAX);
	uint32_t last = 0;

	if (array)
		settings->clients = settings_new_array(fields, json_array_size(array), sizeof(*settings->clients));
	while (settings->clients && fields->code == 0 && settings->client_count < json_array_size(array)) {
		struct server_settings_client *client = &settings->clients[settings->client_count];
		struct fields inner;

		fields_open(&inner, json_array_get(array, settings->client_count++), "client", fields->err);
		client->number = (uint32_t)fields_take_number(&inner, "number", last + 1, CLIENT_NUMBER_MAX);
		last = client->number;
		client->name = fields_take_text(&inner, "name", 1, NAME_MAX_LEN, FIELDS_REQUIRED);
		client->token = settings_take_word(&inner, "token", TOKEN_MIN_LEN);
		client->stock_path = settings_take_word(&inner, "stock_path", 1);
		fields->code = fields_close(&inner);
	}
}

static void settings_take_proxies(struct fields *fields, struct server_settings *settings)
{
	const json_t *array = fields_take_array(fields, "trusted_proxies", 0, TRUSTED_PROXIES_MAX);

	if (array)
		settings->trusted_proxies =
			settings_new_array(fields, json_array_size(array), sizeof(*settings->trusted_proxies));
	while (settings->trusted_proxies && fields->code == 0 &&
		settings->trusted_proxy_count < json_array_size(array)) {
		struct addr *proxy = &settings->trusted_proxies[settings->trusted_proxy_count];
		const char *text = json_string_value(json_array_get(array, settings->trusted_proxy_count++));

		if (!text || addr_parse(text, 0, proxy) < 0)
			fields_fail(fields, "trusted_proxies", "not an address");
		else
			addr_set_port(proxy, 0);
	}
}

static void settings_take_certificate(struct fields *fields, struct server_settings *settings)
{
	bool needed = false;

	settings->certificate_pem = fields_take_text(fields, "certificate_pem", 1, PEM_MAX, FIELDS_MAY_BE_NULL);
	settings->certificate_key_pem = fields_take_text(fields, "certificate_key_pem", 1, PEM_MAX, FIELDS_MAY_BE_NULL);
	for (size_t i = 0; i < settings->listener_count; i++)
		needed |= !settings->listeners[i].cleartext;
	if (needed && !settings->certificate_pem)
		fields_fail(fields, "certificate_pem", "missing");
	if (!settings->certificate_pem != !settings->certificate_key_pem)
		fields_fail(fields, "certificate_key_pem", "certificate and key come together");
}

static void settings_take_all(struct fields *fields, struct server_settings *settings)
{
	fields_take_text_into(fields, "name", settings->name, sizeof(settings->name));
	settings_take_listeners(fields, settings);
	settings_take_certificate(fields, settings);
	fields_take_addr(fields, "target", &settings->target);
	if (fields->code == 0 && !addr_is_loopback(&settings->target))
		fields_fail(fields, "target", "not a loopback address");
	settings_take_clients(fields, settings);
	settings->max_clients = (uint32_t)fields_take_number(fields, "max_clients", 1, 1000000);
	settings->max_sessions_per_client = (uint32_t)fields_take_number(fields, "max_sessions_per_client", 1, 65535);
	settings->ping_interval_ms = fields_take_number(fields, "ping_interval_ms", 1, 24u * 3600u * 1000u);
	settings_take_proxies(fields, settings);
	settings->page_html = fields_take_text(fields, "page_html", 0, PAGE_MAX, FIELDS_REQUIRED);
}

int server_settings_read(int fd, struct server_settings *ret, struct err *err)
{
	struct server_settings settings = {0};
	struct fields fields;
	json_t *object = NULL;
	int rc = sealed_read(fd, &object, err);

	if (rc < 0)
		return rc;
	fields_open(&fields, object, "settings", err);
	settings_take_all(&fields, &settings);
	rc = fields_close(&fields);
	json_decref(object);
	if (rc < 0) {
		server_settings_done(&settings);
		return rc;
	}
	*ret = settings;
	return 0;
}

static int settings_compare(const void *number, const void *client)
{
	uint32_t a = *(const uint32_t *)number, b = ((const struct server_settings_client *)client)->number;

	return (a > b) - (a < b);
}

const struct server_settings_client *server_settings_find(const struct server_settings *settings, uint32_t number)
{
	return settings->client_count == 0 ? NULL
					   : bsearch(&number, settings->clients, settings->client_count,
						     sizeof(*settings->clients), settings_compare);
}

void server_settings_done(struct server_settings *settings)
{
	for (size_t i = 0; i < settings->client_count; i++) {
		free(settings->clients[i].name);
		secret_free(settings->clients[i].token);
		secret_free(settings->clients[i].stock_path);
	}
	free(settings->clients);
	free(settings->listeners);
	free(settings->certificate_pem);
	secret_free(settings->certificate_key_pem);
	free(settings->trusted_proxies);
	free(settings->page_html);
	*settings = (struct server_settings){0};
}
