/* Reads both versions of the PROXY protocol's header, and X-Forwarded-For (proxy_header.h).
 *
 * Happy path: the socket is readable, its bytes are looked at without taking them, the whole header is there, and
 * exactly the header is taken. It fails by telling what the bytes are: no header, a bad one, or the end of the
 * connection. */
#include "server/proxy_header.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define V1_MAX 107 /* with CRLF */
#define V2_SIGNATURE_LEN 12
#define V2_FIXED_LEN 16

static const uint8_t v2_signature[V2_SIGNATURE_LEN] = {
	0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* True if @buf begins with @text, or may become so when more bytes come. */
static bool begins_alike(const uint8_t *buf, size_t len, const void *text, size_t text_len)
{
	return memcmp(buf, text, len < text_len ? len : text_len) == 0;
}

/* "203.0.113.7" or "2001:db8::1", and a port of 0..65535. */
static int parse_pair(const char *host, const char *port_text, struct addr *ret)
{
	char text[ADDR_TEXT_MAX];
	char *end;
	unsigned long port = strtoul(port_text, &end, 10);
	struct addr addr;

	if (*port_text < '0' || *port_text > '9' || *end != '\0' || port > 65535)
		return -EINVAL;
	snprintf(text, sizeof(text), strchr(host, ':') ? "[%s]" : "%s", host);
	if (addr_parse(text, 1, &addr) < 0)
		return -EINVAL;
	addr_set_port(&addr, (uint16_t)port);
	*ret = addr;
	return 0;
}

/*    PROXY TCP4 203.0.113.7 192.0.2.1 51544 443\r\n    or    PROXY UNKNOWN …\r\n */
static enum proxy_header_result parse_v1(const uint8_t *buf, size_t len, size_t *ret_used, struct addr *ret_from)
{
	const uint8_t *end = memchr(buf, '\n', len < V1_MAX ? len : V1_MAX);
	char line[V1_MAX + 1], family[8], from[48], to[48], from_port[8], to_port[8];
	size_t used;

	if (!end)
		return len < V1_MAX ? PROXY_HEADER_MORE : PROXY_HEADER_BAD;
	used = (size_t)(end - buf) + 1;
	memcpy(line, buf, used);
	line[used] = '\0';
	if (used < 2 || line[used - 2] != '\r' || strlen(line) != used)
		return PROXY_HEADER_BAD;
	line[used - 2] = '\0';
	*ret_used = used;
	*ret_from = (struct addr){.sa.sa_family = AF_UNSPEC};
	if (strncmp(line, "PROXY UNKNOWN", 13) == 0) /* whatever follows it is to be ignored, says the specification */
		return PROXY_HEADER_OK;
	if (sscanf(line, "PROXY %7s %47s %47s %7s %7s", family, from, to, from_port, to_port) != 5 ||
		(strcmp(family, "TCP4") != 0 && strcmp(family, "TCP6") != 0) ||
		parse_pair(from, from_port, ret_from) < 0)
		return PROXY_HEADER_BAD;
	return PROXY_HEADER_OK;
}

/* AF_UNSPEC where it is neither (a UNIX socket, UDP): the connection is served, with the proxy's address. */
static struct addr v2_address(const uint8_t *body, size_t len, uint8_t family)
{
	struct addr addr = {.sa.sa_family = AF_UNSPEC};

	if (family == 0x11 && len >= 12) { /* IPv4, TCP: 4 + 4 + 2 + 2 */
		addr.in4.sin_family = AF_INET;
		memcpy(&addr.in4.sin_addr, body, 4);
		memcpy(&addr.in4.sin_port, body + 8, 2);
	} else if (family == 0x21 && len >= 36) { /* IPv6, TCP: 16 + 16 + 2 + 2 */
		addr.in6.sin6_family = AF_INET6;
		memcpy(&addr.in6.sin6_addr, body, 16);
		memcpy(&addr.in6.sin6_port, body + 32, 2);
	}
	return addr;
}

/*    0             12          13       14            16
 *    | signature … | ver | cmd | family | length, BE16 | addresses, TLVs … | */
static enum proxy_header_result parse_v2(const uint8_t *buf, size_t len, size_t *ret_used, struct addr *ret_from)
{
	size_t body_len;

	if (len < V2_FIXED_LEN)
		return PROXY_HEADER_MORE;
	body_len = (size_t)buf[14] << 8 | buf[15];
	if (buf[12] >> 4 != 2 || (buf[12] & 0x0f) > 1 || body_len > PROXY_HEADER_MAX - V2_FIXED_LEN)
		return PROXY_HEADER_BAD;
	if (len < V2_FIXED_LEN + body_len)
		return PROXY_HEADER_MORE;
	*ret_used = V2_FIXED_LEN + body_len;
	*ret_from = (struct addr){.sa.sa_family = AF_UNSPEC};
	if ((buf[12] & 0x0f) == 1) /* PROXY; 0 is LOCAL: the proxy itself, a health check */
		*ret_from = v2_address(buf + V2_FIXED_LEN, body_len, buf[13]);
	return PROXY_HEADER_OK;
}

/* Each version begins with bytes that neither TLS nor HTTP begins with. */
enum proxy_header_result proxy_header_parse(const uint8_t *buf, size_t len, size_t *ret_used, struct addr *ret_from)
{
	if (len == 0)
		return PROXY_HEADER_MORE;
	if (begins_alike(buf, len, v2_signature, V2_SIGNATURE_LEN))
		return parse_v2(buf, len, ret_used, ret_from);
	if (begins_alike(buf, len, "PROXY ", 6))
		return len < 6 ? PROXY_HEADER_MORE : parse_v1(buf, len, ret_used, ret_from);
	return PROXY_HEADER_NONE;
}

/* Take the next @len bytes, which a peek has shown. Return: false where they are not there any more. */
static bool consume(struct proxy_header *header, int fd, size_t len)
{
	ssize_t n = recv(fd, header->bytes + header->len, len, MSG_DONTWAIT);

	header->len += len;
	return n == (ssize_t)len;
}

enum proxy_header_result proxy_header_receive(struct proxy_header *header, int fd, struct addr *ret_from)
{
	size_t used = 0, before = header->len;
	enum proxy_header_result result;
	/* There is room: a header longer than ->bytes is PROXY_HEADER_BAD as soon as its length is known. */
	ssize_t n = recv(fd, header->bytes + before, sizeof(header->bytes) - before, MSG_PEEK | MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && errno == EAGAIN ? PROXY_HEADER_MORE : PROXY_HEADER_LOST;
	result = proxy_header_parse(header->bytes, before + (size_t)n, &used, ret_from);
	if (result == PROXY_HEADER_MORE)
		return consume(header, fd, (size_t)n) ? result : PROXY_HEADER_LOST;
	if (result != PROXY_HEADER_OK)
		return result;
	if (!consume(header, fd, used - before))
		return PROXY_HEADER_LOST;
	header->len = 0;
	return result;
}

/* IPv4 becomes IPv4-mapped IPv6. */
static struct addr as_ipv6(const struct addr *addr)
{
	struct addr mapped = {.in6 = {.sin6_family = AF_INET6}};

	if (addr->sa.sa_family == AF_INET6)
		return *addr;
	mapped.in6.sin6_addr.s6_addr[10] = mapped.in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(mapped.in6.sin6_addr.s6_addr + 12, &addr->in4.sin_addr, 4);
	addr_set_port(&mapped, addr_port(addr));
	return mapped;
}

static size_t write_v1(uint8_t *buf, const struct addr *from, const struct addr *to)
{
	char from_text[INET6_ADDRSTRLEN], to_text[INET6_ADDRSTRLEN];
	int family = from->sa.sa_family;

	inet_ntop(family, family == AF_INET ? (const void *)&from->in4.sin_addr : &from->in6.sin6_addr, from_text,
		sizeof(from_text));
	inet_ntop(family, family == AF_INET ? (const void *)&to->in4.sin_addr : &to->in6.sin6_addr, to_text,
		sizeof(to_text));
	return (size_t)snprintf((char *)buf, PROXY_HEADER_WRITE_MAX, "PROXY TCP%c %s %s %u %u\r\n",
		family == AF_INET ? '4' : '6', from_text, to_text, addr_port(from), addr_port(to));
}

/* As drawn at parse_v2(), with the command PROXY; addresses and then ports, as v2_address() reads them. */
static size_t write_v2(uint8_t *buf, const struct addr *from, const struct addr *to)
{
	bool is_ipv4 = from->sa.sa_family == AF_INET;
	size_t len = is_ipv4 ? 4 : 16;
	uint8_t *at = buf + V2_FIXED_LEN;

	memcpy(buf, v2_signature, V2_SIGNATURE_LEN);
	buf[12] = 0x21;
	buf[13] = is_ipv4 ? 0x11 : 0x21;
	buf[14] = 0;
	buf[15] = (uint8_t)(2 * len + 4);
	memcpy(at, is_ipv4 ? (const void *)&from->in4.sin_addr : &from->in6.sin6_addr, len);
	memcpy(at + len, is_ipv4 ? (const void *)&to->in4.sin_addr : &to->in6.sin6_addr, len);
	memcpy(at + 2 * len, is_ipv4 ? &from->in4.sin_port : &from->in6.sin6_port, 2);
	memcpy(at + 2 * len + 2, is_ipv4 ? &to->in4.sin_port : &to->in6.sin6_port, 2);
	return V2_FIXED_LEN + buf[15];
}

size_t proxy_header_write(
	uint8_t buf[PROXY_HEADER_WRITE_MAX], unsigned version, const struct addr *from, const struct addr *to)
{
	bool is_mixed = from->sa.sa_family != to->sa.sa_family;
	const struct addr from6 = as_ipv6(from), to6 = as_ipv6(to);

	if (is_mixed) {
		from = &from6;
		to = &to6;
	}
	return version == 1 ? write_v1(buf, from, to) : write_v2(buf, from, to);
}

/* The last field and its last entry: each proxy appends, so all before it may be the visitor's invention. */
int proxy_header_forwarded_for(const struct http_head *head, struct addr *ret_from)
{
	const struct http_field *field, *last = NULL;
	char text[ADDR_TEXT_MAX];
	const char *from;
	size_t n = 0;

	while ((field = http_head_find(head, "x-forwarded-for", n++)))
		last = field;
	if (!last || last->value.len == 0)
		return -ENOENT;
	for (from = last->value.text + last->value.len; from > last->value.text; from--)
		if (from[-1] == ',' || from[-1] == ' ')
			break;
	snprintf(text, sizeof(text), "%.*s", (int)(last->value.text + last->value.len - from), from);
	return parse_pair(text, "0", ret_from) < 0 ? -ENOENT : 0;
}
