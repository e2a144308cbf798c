/* See settings.h. Written field by field, read field by field in the same order; whatever is missing, out of bounds,
 * of another type or unknown is refused with the field's name, and nothing of it is kept.
 */
#include "client/settings.h"

#include "common/base/base64.h"
#include "common/base/sealed.h"
#include "common/base/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS_MAX 64
#define PINS_MAX 64
#define HEADERS_MAX 64
#define URL_MAX_LEN 512
#define HOST_MAX_LEN 255
#define SECRET_MAX_LEN 1024
#define HEADER_MAX_LEN 4096
#define PEM_MAX (1u << 20)
#define CA_PEM_MAX (8u << 20) /* a whole system's bundle is 0.2 MB */
#define PIN_LEN 32

static json_t *settings_pack_server(const struct client_settings_server *server)
{
	return json_pack("{s:o, s:o, s:i, s:b, s:o}", "url", sealed_text(server->url), "host",
		sealed_text(server->host), "port", (int)server->port, "cleartext", server->cleartext, "addresses",
		sealed_text(server->addresses));
}

static json_t *settings_pack_servers(const struct client_settings *settings)
{
	json_t *array = json_array();

	for (size_t i = 0; i < settings->server_count; i++)
		if (json_array_append_new(array, settings_pack_server(&settings->servers[i])) < 0)
			goto fail;
	return array;
fail:
	json_decref(array);
	return NULL;
}

static json_t *settings_pack_pins(const struct client_settings *settings)
{
	json_t *array = json_array();

	for (size_t i = 0; i < settings->pin_count; i++) {
		char text[BASE64_LEN(PIN_LEN) + 1];

		base64_encode(text, sizeof(text), settings->pins[i], PIN_LEN, BASE64_STANDARD);
		if (json_array_append_new(array, json_string(text)) < 0)
			goto fail;
	}
	return array;
fail:
	json_decref(array);
	return NULL;
}

static json_t *settings_pack_headers(const struct client_settings *settings)
{
	json_t *array = json_array();

	for (size_t i = 0; i < settings->header_count; i++)
		if (json_array_append_new(array, json_string(settings->headers[i])) < 0)
			goto fail;
	return array;
fail:
	json_decref(array);
	return NULL;
}

static int settings_pack_identity(json_t *object, const struct client_settings *settings)
{
	int rc = 0;

	rc |= json_object_set_new(object, "token", sealed_text(settings->token));
	rc |= json_object_set_new(object, "pins", settings_pack_pins(settings));
	rc |= json_object_set_new(object, "ca_pem", sealed_text(settings->ca_pem));
	rc |= json_object_set_new(object, "client_certificate_pem", sealed_text(settings->client_certificate_pem));
	rc |= json_object_set_new(object, "client_key_pem", sealed_text(settings->client_key_pem));
	rc |= json_object_set_new(object, "server_name", sealed_text(settings->server_name));
	rc |= json_object_set_new(object, "interception", json_boolean(settings->interception));
	return rc;
}

static int settings_pack_way(json_t *object, const struct client_settings *settings)
{
	int rc = 0;

	rc |= json_object_set_new(object, "proxy_host", sealed_text(settings->proxy_host));
	rc |= json_object_set_new(object, "proxy_port", json_integer(settings->proxy_port));
	rc |= json_object_set_new(object, "proxy_user", sealed_text(settings->proxy_user));
	rc |= json_object_set_new(object, "proxy_password", sealed_text(settings->proxy_password));
	rc |= json_object_set_new(object, "nameservers", sealed_text(settings->nameservers));
	rc |= json_object_set_new(object, "ping_interval_ms", json_integer((json_int_t)settings->ping_interval_ms));
	rc |= json_object_set_new(object, "mask", json_integer(settings->mask));
	return rc;
}

static int settings_pack_stock(json_t *object, const struct client_settings *settings)
{
	int rc = 0;

	rc |= json_object_set_new(object, "stock_path", sealed_text(settings->stock_path));
	rc |= json_object_set_new(object, "stock_target_host", sealed_text(settings->stock_target_host));
	rc |= json_object_set_new(object, "stock_target_port", json_integer(settings->stock_target_port));
	rc |= json_object_set_new(object, "basic_auth", sealed_text(settings->basic_auth));
	rc |= json_object_set_new(object, "headers", settings_pack_headers(settings));
	rc |= json_object_set_new(object, "jwt_key", sealed_text(settings->jwt_key));
	return rc;
}

static json_t *settings_pack(const struct client_settings *settings)
{
	json_t *object = sealed_new_object();
	int rc = 0;

	rc |= json_object_set_new(object, "name", sealed_text(settings->name));
	rc |= json_object_set_new(object, "servers", settings_pack_servers(settings));
	rc |= json_object_set_new(object, "listen_text", sealed_text(settings->listen_text));
	rc |= settings_pack_identity(object, settings);
	rc |= settings_pack_way(object, settings);
	rc |= settings_pack_stock(object, settings);
	if (rc == 0)
		return object;
	json_decref(object);
	return NULL;
}

int client_settings_write(const struct client_settings *settings, struct err *err)
{
	return sealed_write("settings", settings_pack(settings), err);
}

static void *settings_new_array(struct fields *fields, size_t count, size_t size)
{
	void *array = calloc(count ? count : 1, size);

	if (!array)
		fields->code = err_set(fields->err, -ENOMEM, "settings: out of memory");
	return array;
}

/* As a list of addresses, or NULL. */
static char *settings_take_addresses(struct fields *fields, const char *key)
{
	char *text = fields_take_text(fields, key, 1, ADDRESS_LIST_TEXT_MAX - 1, FIELDS_MAY_BE_NULL);
	struct addr addresses[ADDRESS_LIST_MAX];

	if (text && address_list_parse(text, 1, addresses) < 0)
		fields_fail(fields, key, "not addresses");
	return text;
}

static void settings_take_servers(struct fields *fields, struct client_settings *settings)
{
	const json_t *array = fields_take_array(fields, "servers", 1, SERVERS_MAX);

	if (array)
		settings->servers = settings_new_array(fields, json_array_size(array), sizeof(*settings->servers));
	while (settings->servers && fields->code == 0 && settings->server_count < json_array_size(array)) {
		struct client_settings_server *server = &settings->servers[settings->server_count];
		struct fields inner;

		fields_open(&inner, json_array_get(array, settings->server_count++), "server", fields->err);
		server->url = fields_take_text(&inner, "url", 1, URL_MAX_LEN, FIELDS_REQUIRED);
		server->host = fields_take_text(&inner, "host", 1, HOST_MAX_LEN, FIELDS_REQUIRED);
		server->port = (uint16_t)fields_take_number(&inner, "port", 1, 65535);
		server->cleartext = fields_take_bool(&inner, "cleartext");
		server->addresses = settings_take_addresses(&inner, "addresses");
		fields->code = fields_close(&inner);
	}
}

static void settings_take_pins(struct fields *fields, struct client_settings *settings)
{
	const json_t *array = fields_take_array(fields, "pins", 0, PINS_MAX);

	if (array && json_array_size(array) > 0)
		settings->pins = settings_new_array(fields, json_array_size(array), sizeof(*settings->pins));
	while (settings->pins && fields->code == 0 && settings->pin_count < json_array_size(array)) {
		const json_t *text = json_array_get(array, settings->pin_count);
		uint8_t *pin = settings->pins[settings->pin_count++];

		if (!json_is_string(text) || base64_decode(pin, PIN_LEN, json_string_value(text),
						     json_string_length(text), BASE64_STANDARD) != PIN_LEN)
			fields_fail(fields, "pins", "not base64 of 32 bytes");
	}
}

static bool settings_is_header(const json_t *text)
{
	const char *value = json_string_value(text);
	const char *colon = value ? strchr(value, ':') : NULL;

	return colon && colon != value && json_string_length(text) <= HEADER_MAX_LEN && !strpbrk(value, "\r\n");
}

static void settings_take_headers(struct fields *fields, struct client_settings *settings)
{
	const json_t *array = fields_take_array(fields, "headers", 0, HEADERS_MAX);

	if (array)
		settings->headers = settings_new_array(fields, json_array_size(array) + 1, sizeof(*settings->headers));
	while (settings->headers && fields->code == 0 && settings->header_count < json_array_size(array)) {
		const json_t *text = json_array_get(array, settings->header_count);

		if (!settings_is_header(text)) {
			fields_fail(fields, "headers", "not 'Name: value'");
			return;
		}
		settings->headers[settings->header_count] = strdup(json_string_value(text));
		if (!settings->headers[settings->header_count++])
			fields->code = err_set(fields->err, -ENOMEM, "settings: out of memory");
	}
}

static void settings_take_identity(struct fields *fields, struct client_settings *settings)
{
	settings->token = fields_take_text(fields, "token", 1, SECRET_MAX_LEN, FIELDS_MAY_BE_NULL);
	settings_take_pins(fields, settings);
	settings->ca_pem = fields_take_text(fields, "ca_pem", 1, CA_PEM_MAX, FIELDS_MAY_BE_NULL);
	settings->client_certificate_pem =
		fields_take_text(fields, "client_certificate_pem", 1, PEM_MAX, FIELDS_MAY_BE_NULL);
	settings->client_key_pem = fields_take_text(fields, "client_key_pem", 1, PEM_MAX, FIELDS_MAY_BE_NULL);
	if (!settings->client_certificate_pem != !settings->client_key_pem)
		fields_fail(fields, "client_key_pem", "certificate and key come together");
	settings->server_name = fields_take_text(fields, "server_name", 1, HOST_MAX_LEN, FIELDS_MAY_BE_NULL);
	settings->interception = fields_take_bool(fields, "interception");
}

static void settings_take_way(struct fields *fields, struct client_settings *settings)
{
	settings->proxy_host = fields_take_text(fields, "proxy_host", 1, HOST_MAX_LEN, FIELDS_MAY_BE_NULL);
	settings->proxy_port = (uint16_t)fields_take_number(fields, "proxy_port", settings->proxy_host ? 1 : 0, 65535);
	settings->proxy_user = fields_take_text(fields, "proxy_user", 0, SECRET_MAX_LEN, FIELDS_MAY_BE_NULL);
	settings->proxy_password = fields_take_text(fields, "proxy_password", 0, SECRET_MAX_LEN, FIELDS_MAY_BE_NULL);
	settings->nameservers = settings_take_addresses(fields, "nameservers");
	settings->ping_interval_ms = fields_take_number(fields, "ping_interval_ms", 1, 24u * 3600u * 1000u);
	settings->mask = (enum client_settings_mask)fields_take_number(
		fields, "mask", CLIENT_SETTINGS_MASK_ZERO, CLIENT_SETTINGS_MASK_NONE);
}

static void settings_take_stock(struct fields *fields, struct client_settings *settings)
{
	settings->stock_path = fields_take_text(fields, "stock_path", 1, SECRET_MAX_LEN, FIELDS_MAY_BE_NULL);
	if (!settings->stock_path && !settings->token)
		fields_fail(fields, "token", "missing");
	settings->stock_target_host = fields_take_text(fields, "stock_target_host", 1, HOST_MAX_LEN, FIELDS_REQUIRED);
	settings->stock_target_port = (uint16_t)fields_take_number(fields, "stock_target_port", 1, 65535);
	settings->basic_auth = fields_take_text(fields, "basic_auth", 1, SECRET_MAX_LEN, FIELDS_MAY_BE_NULL);
	settings_take_headers(fields, settings);
	settings->jwt_key = fields_take_text(fields, "jwt_key", 1, SECRET_MAX_LEN, FIELDS_MAY_BE_NULL);
}

static void settings_take_all(struct fields *fields, struct client_settings *settings)
{
	fields_take_text_into(fields, "name", settings->name, sizeof(settings->name));
	settings_take_servers(fields, settings);
	fields_take_text_into(fields, "listen_text", settings->listen_text, sizeof(settings->listen_text));
	settings_take_identity(fields, settings);
	settings_take_way(fields, settings);
	settings_take_stock(fields, settings);
}

int client_settings_read(int fd, struct client_settings *ret, struct err *err)
{
	struct client_settings settings = {0};
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
		client_settings_done(&settings);
		return rc;
	}
	*ret = settings;
	return 0;
}

static void settings_free_servers(struct client_settings *settings)
{
	for (size_t i = 0; i < settings->server_count; i++) {
		free(settings->servers[i].url);
		free(settings->servers[i].host);
		free(settings->servers[i].addresses);
	}
	free(settings->servers);
}

static void settings_free_headers(struct client_settings *settings)
{
	for (size_t i = 0; i < settings->header_count; i++)
		secret_free(settings->headers[i]);
	free(settings->headers);
}

void client_settings_done(struct client_settings *settings)
{
	settings_free_servers(settings);
	settings_free_headers(settings);
	secret_free(settings->token);
	free(settings->pins);
	free(settings->ca_pem);
	free(settings->client_certificate_pem);
	secret_free(settings->client_key_pem);
	free(settings->nameservers);
	free(settings->server_name);
	free(settings->proxy_host);
	secret_free(settings->proxy_user);
	secret_free(settings->proxy_password);
	secret_free(settings->stock_path);
	free(settings->stock_target_host);
	secret_free(settings->basic_auth);
	secret_free(settings->jwt_key);
	*settings = (struct client_settings){0};
}
