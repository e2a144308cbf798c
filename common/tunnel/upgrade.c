/* The upgrade's request and answer, and a proxy's CONNECT: text in, text out.
 *
 * The happy path of a server: the head's fields are checked one by one, then three spans are handed up. The one of a
 * client: lines are written one after another, and a header of the user's takes the place of ours of the same name. A
 * request that is not a tunnel's is simply false; a buffer that is too small gives -ENOBUFS once, at the end.
 */
#include "common/tunnel/upgrade.h"

#include "common/base/base64.h"
#include "common/base/log.h"
#include "common/base/secret.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define KEY_LEN 16
#define SHA1_LEN 20
#define BEARER "authorization.bearer."
#define EVENTS "/events"
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 §1.3 */
#define PORT_HTTP 80
#define PORT_HTTPS 443
#define LOCATION_SHOWN 128 /* characters of a redirect, for the log */

struct writer {
	char *buf;
	size_t size;
	size_t len; /* what would be there if all had fitted */
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *writer, const char *format, ...)
{
	size_t room = writer->len < writer->size ? writer->size - writer->len : 0;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(room > 0 ? writer->buf + writer->len : NULL, room, format, args);
	va_end(args);
	writer->len += len < 0 ? writer->size : (size_t)len;
}

/* Return: bytes written without the terminator, which must fit too; or -ENOBUFS. */
static int finish(const struct writer *writer)
{
	return writer->len < writer->size ? (int)writer->len : -ENOBUFS;
}

static struct http_span from(struct http_span span, size_t skip)
{
	return (struct http_span){span.text + skip, span.len - skip};
}

/* The value of a field that is there exactly once; len 0 otherwise. Two Host lines, or two keys, could be read one
 * way here and another way by a proxy in front. */
static struct http_span only_value(const struct http_head *head, const char *name)
{
	const struct http_field *field = http_head_find(head, name, 0);

	if (!field || http_head_find(head, name, 1))
		return (struct http_span){"", 0};
	return field->value;
}

/* "/<prefix>/events" with nothing behind it. The prefix may hold slashes; whether it is the right one is decided by
 * admit. */
static bool read_prefix(struct http_span target, struct http_span *ret)
{
	size_t around = 1 + strlen(EVENTS);

	if (target.len <= around || target.text[0] != '/')
		return false;
	*ret = from(target, 1);
	ret->len = target.len - around;
	return memcmp(ret->text + ret->len, EVENTS, strlen(EVENTS)) == 0;
}

/* The first list entry that begins with BEARER. Names of other subprotocols around it are ignored: a stock client
 * may send kilobytes of them. */
static struct http_span find_bearer(struct http_span list)
{
	bool more = true;

	while (more) {
		struct http_span entry = http_span_trim(http_span_cut(&list, ',', &more));

		if (entry.len >= strlen(BEARER) && memcmp(entry.text, BEARER, strlen(BEARER)) == 0)
			return from(entry, strlen(BEARER));
	}
	return (struct http_span){"", 0};
}

/* The subprotocol wins, and of several such lines the first one only, as at a stock server. Else a cookie that is a
 * bare JWT: browsers cannot set the other header. */
static struct http_span find_jwt(const struct http_head *head)
{
	const struct http_field *protocols = http_head_find(head, "Sec-WebSocket-Protocol", 0);
	const struct http_field *cookie = http_head_find(head, "Cookie", 0);
	struct http_span jwt = protocols ? find_bearer(protocols->value) : (struct http_span){"", 0};

	if (jwt.len > 0 || !cookie)
		return jwt;
	for (size_t i = 0; i < cookie->value.len; i++)
		if (strchr("=;, \t", cookie->value.text[i]))
			return jwt; /* a list, or a value with a name */
	return cookie->value;
}

/* RFC 6455 §4.2.1: GET, HTTP/1.1, Host, Upgrade, Connection, a key of 16 bytes, version 13. A body is refused:
 * behind the head frames begin. False for any fault: the caller handles it as a request for the web server. */
bool upgrade_read_request(const struct http_head *head, struct upgrade_request *ret)
{
	struct upgrade_request request = {0};
	uint8_t key[KEY_LEN];

	if (!http_span_is(head->method, "GET") || head->minor_version != 1 || head->framing != HTTP_FRAMING_NONE)
		return false;
	if (only_value(head, "Host").len == 0 || !http_span_is(only_value(head, "Sec-WebSocket-Version"), "13"))
		return false;
	if (!http_head_has_token(head, "Connection", "upgrade") || !http_head_has_token(head, "Upgrade", "websocket"))
		return false;
	if (!read_prefix(head->target, &request.prefix))
		return false;
	request.key = only_value(head, "Sec-WebSocket-Key");
	if (request.key.len != UPGRADE_KEY_TEXT_LEN ||
		base64_decode(key, KEY_LEN, request.key.text, request.key.len, BASE64_STANDARD) != KEY_LEN)
		return false;
	request.jwt = find_jwt(head);
	if (request.jwt.len == 0)
		return false;
	*ret = request;
	return true;
}

bool upgrade_read_lost(const struct http_head *head, struct upgrade_request *ret)
{
	struct upgrade_request request = {.jwt = find_jwt(head)};

	if (!http_span_is(head->method, "GET") || head->framing != HTTP_FRAMING_NONE ||
		!read_prefix(head->target, &request.prefix) || request.jwt.len == 0)
		return false;
	if (!http_head_has_token(head, "Upgrade", "websocket"))
		request.lost = "Upgrade";
	else if (!http_head_has_token(head, "Connection", "upgrade"))
		request.lost = "Connection";
	else if (head->minor_version != 1)
		request.lost = "HTTP/1.1";
	*ret = request;
	return request.lost;
}

/* Is @header, "Name: value", of that name (in any case)? */
static bool has_name(const char *header, const char *name)
{
	size_t len = strlen(name);

	return strncasecmp(header, name, len) == 0 && header[len] == ':';
}

/* Write the user's headers of that name. Return: how many there were. */
static size_t put_own(struct writer *writer, const char *const *headers, const char *name)
{
	size_t count = 0;

	for (; headers && *headers; headers++) {
		if (!has_name(*headers, name))
			continue;
		put(writer, "%s\r\n", *headers);
		count++;
	}
	return count;
}

/* IPv6 in brackets, as a URI and Host want it (RFC 3986 §3.2.2). */
static void put_host(struct writer *writer, const char *host)
{
	int len = (int)strlen(host);

	put(writer, strchr(host, ':') ? "[%.*s]" : "%.*s", len, host);
}

/* RFC 7617. @password NULL: @user has it already, behind a colon. Both are wiped from the buffers used here; the
 * request itself is the caller's. */
static void put_basic(struct writer *writer, const char *name, const char *user, const char *password)
{
	size_t plain_size = strlen(user) + 1 + (password ? strlen(password) : 0) + 1;
	size_t text_size = BASE64_LEN(plain_size) + 1;
	char *plain = calloc(1, plain_size), *text = calloc(1, text_size);

	if (plain && text) {
		snprintf(plain, plain_size, "%s%s%s", user, password ? ":" : "", password ? password : "");
		base64_encode(text, text_size, plain, strlen(plain), BASE64_STANDARD);
		put(writer, "%s: Basic %s\r\n", name, text);
	} else {
		writer->len += writer->size; /* told as -ENOBUFS */
	}
	secret_free(plain);
	secret_free(text);
}

static void put_host_header(struct writer *writer, const struct upgrade_ask *ask)
{
	if (put_own(writer, ask->headers, "host") > 0)
		return;
	put(writer, "host: ");
	put_host(writer, ask->host);
	if (ask->port != PORT_HTTP && ask->port != PORT_HTTPS)
		put(writer, ":%u", ask->port);
	put(writer, "\r\n");
}

/* The order is a stock client's, so that nothing on the way can tell the two apart. Names that have a place of their
 * own stand in `places`; a header of the user's of such a name is written there, in place of ours. All others come
 * last. */
int upgrade_write_request(char *buf, size_t size, const struct upgrade_ask *ask)
{
	struct writer writer = {.buf = buf, .size = size};
	const struct {
		const char *name, *before, *value;
	} places[] = {
		{"host", NULL, NULL},
		{"upgrade", "", "websocket"},
		{"connection", "", "upgrade"},
		{"sec-websocket-key", "", ask->key},
		{"sec-websocket-version", "", "13"},
		{"sec-websocket-protocol", "v1, " BEARER, ask->jwt},
		{"authorization", NULL, NULL},
	};
	const size_t count = sizeof(places) / sizeof(places[0]);
	size_t i;

	put(&writer, "GET /%s" EVENTS " HTTP/1.1\r\n", ask->prefix);
	put_host_header(&writer, ask);
	for (i = 1; i < count - 1; i++)
		if (put_own(&writer, ask->headers, places[i].name) == 0)
			put(&writer, "%s: %s%s\r\n", places[i].name, places[i].before, places[i].value);
	if (put_own(&writer, ask->headers, "authorization") == 0 && ask->basic_auth)
		put_basic(&writer, "authorization", ask->basic_auth, NULL);
	for (const char *const *header = ask->headers; header && *header; header++) {
		for (i = 0; i < count && !has_name(*header, places[i].name);)
			i++;
		if (i == count)
			put(&writer, "%s\r\n", *header);
	}
	put(&writer, "\r\n");
	return finish(&writer);
}

/* IMF-fixdate (RFC 9110 §5.6.7), in English whatever the locale. */
static void put_date(struct writer *writer, int64_t wall_s)
{
	static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t time = (time_t)wall_s;
	struct tm tm;

	if (!gmtime_r(&time, &tm))
		return;
	put(writer, "date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
		tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

int upgrade_write_answer(char *buf, size_t size, struct http_span key, int64_t wall_s, const struct upgrade_told *told)
{
	struct writer writer = {.buf = buf, .size = size};
	char accept[UPGRADE_ACCEPT_TEXT_LEN + 1];

	upgrade_accept(accept, key);
	put(&writer, "HTTP/1.1 101 Switching Protocols\r\n"
		     "connection: upgrade\r\n"
		     "upgrade: websocket\r\n");
	put(&writer, "sec-websocket-accept: %s\r\n", accept);
	put(&writer, "sec-websocket-protocol: v1\r\n");
	put_date(&writer, wall_s);
	if (told->networks)
		put(&writer, "networks: %s\r\n", told->networks);
	if (told->is_beside)
		put(&writer, "beside: yes\r\n");
	put(&writer, "\r\n");
	return finish(&writer);
}

void upgrade_make_key(char out[UPGRADE_KEY_TEXT_LEN + 1])
{
	uint8_t bytes[KEY_LEN];

	arc4random_buf(bytes, sizeof(bytes));
	base64_encode(out, UPGRADE_KEY_TEXT_LEN + 1, bytes, sizeof(bytes), BASE64_STANDARD);
}

void upgrade_accept(char out[UPGRADE_ACCEPT_TEXT_LEN + 1], struct http_span key)
{
	/* RFC 6455 §4.2.2: base64 of the SHA-1 of key and GUID. An empty text after a failure equals no answer. */
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t hash[SHA1_LEN] = {0};
	unsigned len = 0;

	out[0] = '\0';
	if (context && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1 &&
		EVP_DigestUpdate(context, key.text, key.len) == 1 &&
		EVP_DigestUpdate(context, GUID, strlen(GUID)) == 1 && EVP_DigestFinal_ex(context, hash, &len) == 1 &&
		len == SHA1_LEN)
		base64_encode(out, UPGRADE_ACCEPT_TEXT_LEN + 1, hash, sizeof(hash), BASE64_STANDARD);
	EVP_MD_CTX_free(context);
}

const char *upgrade_check_answer(const struct http_head *head, const char *key, char *buf, size_t size)
{
	const struct http_field *location = http_head_find(head, "Location", 0);
	char accept[UPGRADE_ACCEPT_TEXT_LEN + 1], quoted[LOCATION_SHOWN];

	/* A redirect is told with its target: it is how a captive portal answers. */
	if (location && head->status >= 300 && head->status <= 399)
		log_quote(quoted, sizeof(quoted), location->value.text, location->value.len);
	else
		quoted[0] = '\0';
	if (head->status != 101) {
		snprintf(buf, size, "status %u%s%s", head->status, quoted[0] ? ", redirect to " : "", quoted);
		return buf;
	}
	if (!http_head_has_token(head, "Upgrade", "websocket"))
		return "status 101 without Upgrade: websocket";
	if (!http_head_has_token(head, "Connection", "upgrade"))
		return "status 101 without Connection: upgrade";
	upgrade_accept(accept, (struct http_span){key, strlen(key)});
	if (accept[0] == '\0' || !http_span_is(only_value(head, "Sec-WebSocket-Accept"), accept))
		return "Sec-WebSocket-Accept does not answer our key";
	if (http_head_find(head, "Sec-WebSocket-Extensions", 0))
		return "a WebSocket extension that was not asked for";
	return NULL;
}

int upgrade_write_connect(
	char *buf, size_t size, const char *host, uint16_t port, const char *user, const char *password)
{
	struct writer writer = {.buf = buf, .size = size};

	put(&writer, "CONNECT ");
	put_host(&writer, host);
	put(&writer, ":%u HTTP/1.1\r\nhost: ", port);
	put_host(&writer, host);
	put(&writer, ":%u\r\n", port);
	if (user)
		put_basic(&writer, "proxy-authorization", user, password ? password : "");
	put(&writer, "\r\n");
	return finish(&writer);
}
