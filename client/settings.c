/* See settings.h. The table names every field once; common/base/record.h writes, reads and frees by it. Conditions
 * between fields are checked at the end. A failure names the field, and nothing of the settings is kept.
 *
 * The worker checks what the supervisor has already checked: the two have different rights, and the worker must not
 * depend on how the file came about.
 */
#include "client/settings.h"

#include "common/base/record.h"

#include <errno.h>
#include <string.h>

#define URL_LEN_MAX CLIENT_SETTINGS_URL_MAX
#define SECRET_LEN_MAX CLIENT_SETTINGS_SECRET_MAX
#define LIST_MAX CLIENT_SETTINGS_LIST_MAX
#define HOST_LEN_MAX 255	  /* a name of DNS has 253 */
#define PEM_LEN_MAX (1u << 20)	  /* a chain and a key are a few KB */
#define CA_PEM_LEN_MAX (8u << 20) /* a whole system's bundle is 0.2 MB */
#define PING_MAX_MS (24u * 3600 * 1000)

static const char *find_list_fault(const char *text)
{
	struct addr addresses[ADDRESS_LIST_MAX];

	return address_list_parse(text, 1, addresses) < 0 ? "not addresses" : NULL;
}

/* A line end would let a header become two. */
static const char *find_header_fault(const char *text)
{
	return !strchr(text, ':') || text[0] == ':' || strpbrk(text, "\r\n") ? "not 'Name: value'" : NULL;
}

#define FIELD(...) RECORD_FIELD(struct client_settings_server, __VA_ARGS__)

static const struct record_field server_fields[] = {
	{FIELD(url, RECORD_TEXT, 1, URL_LEN_MAX)},
	{FIELD(host, RECORD_TEXT, 1, HOST_LEN_MAX)},
	{FIELD(port, RECORD_NUMBER, 1, UINT16_MAX)},
	{FIELD(cleartext, RECORD_BOOL, 0, 0)},
	{FIELD(addresses, RECORD_TEXT_OR_NULL, 1, ADDRESS_LIST_TEXT_MAX - 1), .find_fault = find_list_fault},
};
static const struct record server_record = {
	"server", server_fields, sizeof(server_fields) / sizeof(*server_fields), sizeof(struct client_settings_server)};

static const struct record_field pin_field = {.kind = RECORD_BYTES, .size = 32};
static const struct record pin_record = {"pin", &pin_field, 1, 32};

static const struct record_field header_field = {.kind = RECORD_TEXT,
	.size = sizeof(char *),
	.max = CLIENT_SETTINGS_HEADER_MAX,
	.find_fault = find_header_fault};
static const struct record header_record = {"header", &header_field, 1, sizeof(char *)};

#undef FIELD
#define FIELD(...) RECORD_FIELD(struct client_settings, __VA_ARGS__)
#define LIST(...) RECORD_LIST(struct client_settings, __VA_ARGS__)

static const struct record_field fields[] = {
	{FIELD(name, RECORD_CHARS, 0, 0)},
	{LIST(servers, server_count, &server_record, 1, LIST_MAX)},
	{FIELD(listen_text, RECORD_CHARS, 0, 0)},
	{FIELD(token, RECORD_TEXT_OR_NULL, 1, SECRET_LEN_MAX)},
	{LIST(pins, pin_count, &pin_record, 0, LIST_MAX)},
	{FIELD(ca_pem, RECORD_TEXT_OR_NULL, 1, CA_PEM_LEN_MAX)},
	{FIELD(client_certificate_pem, RECORD_TEXT_OR_NULL, 1, PEM_LEN_MAX)},
	{FIELD(client_key_pem, RECORD_TEXT_OR_NULL, 1, PEM_LEN_MAX)},
	{FIELD(server_name, RECORD_TEXT_OR_NULL, 1, HOST_LEN_MAX)},
	{FIELD(interception, RECORD_BOOL, 0, 0)},
	{FIELD(proxy_host, RECORD_TEXT_OR_NULL, 1, HOST_LEN_MAX)},
	{FIELD(proxy_port, RECORD_NUMBER, 0, UINT16_MAX)},
	{FIELD(proxy_user, RECORD_TEXT_OR_NULL, 0, SECRET_LEN_MAX)},
	{FIELD(proxy_password, RECORD_TEXT_OR_NULL, 0, SECRET_LEN_MAX)},
	{FIELD(nameservers, RECORD_TEXT_OR_NULL, 1, ADDRESS_LIST_TEXT_MAX - 1), .find_fault = find_list_fault},
	{FIELD(ping_interval_ms, RECORD_NUMBER, 1, PING_MAX_MS)},
	{FIELD(mask, RECORD_NUMBER, CARRIER_MASK_NONE, CARRIER_MASK_RANDOM)},
	{FIELD(stock_path, RECORD_TEXT_OR_NULL, 1, SECRET_LEN_MAX)},
	{FIELD(has_public_key, RECORD_BOOL, 0, 0)},
	{FIELD(public_key, RECORD_BYTES, 0, 0)},
	{FIELD(takes_any_target, RECORD_BOOL, 0, 0)},
	{FIELD(stock_target_host, RECORD_TEXT, 1, HOST_LEN_MAX)},
	{FIELD(stock_target_port, RECORD_NUMBER, 1, UINT16_MAX)},
	{FIELD(basic_auth, RECORD_TEXT_OR_NULL, 1, SECRET_LEN_MAX)},
	{LIST(headers, header_count, &header_record, 0, LIST_MAX)},
	{FIELD(jwt_key, RECORD_TEXT_OR_NULL, 1, SECRET_LEN_MAX)},
};
static const struct record record = {
	"settings", fields, sizeof(fields) / sizeof(*fields), sizeof(struct client_settings)};

int client_settings_write(const struct client_settings *settings, struct err *err)
{
	return record_write(&record, settings, err);
}

/* Check the fields against each other. Return: NULL, or the complaint. */
static const char *find_fault(const struct client_settings *settings)
{
	if (!settings->client_certificate_pem != !settings->client_key_pem)
		return "client_key_pem: certificate and key come together";
	if (!settings->stock_path && !settings->token)
		return "token: missing";
	if (settings->proxy_host && settings->proxy_port == 0)
		return "proxy_port: out of range";
	return NULL;
}

int client_settings_read(int fd, struct client_settings *ret, struct err *err)
{
	struct client_settings settings;
	int rc = record_read(&record, fd, &settings, err);
	const char *fault = rc < 0 ? NULL : find_fault(&settings);

	if (fault) {
		rc = err_set(err, -EINVAL, "settings: %s", fault);
		client_settings_done(&settings);
	}
	if (rc == 0)
		*ret = settings;
	return rc;
}

void client_settings_done(struct client_settings *settings)
{
	record_done(&record, settings);
}
