/* The visitor's address as a reverse proxy in front of us tells it: in the PROXY protocol's header in front of the
 * first byte (haproxy's proxy-protocol.txt, versions 1 and 2), or in X-Forwarded-For. The caller believes it only from
 * one of TrustedProxies. And the header in the other direction, to a published server. All pure, except
 * proxy_header_receive(), which reads a socket. */
#pragma once

#include "common/base/addr.h"
#include "common/tunnel/http_head.h"

#include <stddef.h>
#include <stdint.h>

#define PROXY_HEADER_MAX 536 /* version 2: 16 + 520 bytes at most in practice; version 1: 107 */

enum proxy_header_result {
	PROXY_HEADER_NONE, /* the bytes are something else; there is no header */
	PROXY_HEADER_MORE, /* they may become a header */
	PROXY_HEADER_OK,
	PROXY_HEADER_BAD,  /* they begin like a header and are none */
	PROXY_HEADER_LOST, /* proxy_header_receive(): the connection has ended or failed */
};

/* Parse the front of @buf. With PROXY_HEADER_OK @ret_used is the header's length and @ret_from the visitor, or
 * AF_UNSPEC where the proxy speaks for itself (LOCAL, UNKNOWN). Never returns PROXY_HEADER_LOST. */
enum proxy_header_result proxy_header_parse(const uint8_t *buf, size_t len, size_t *ret_used, struct addr *ret_from);

/* The bytes taken from a socket so far. All zero at first. */
struct proxy_header {
	uint8_t bytes[PROXY_HEADER_MAX];
	size_t len;
};

/**
 * proxy_header_receive() - Read a header from a readable, non-blocking socket, and no byte behind it
 *
 * Bytes behind the header belong to TLS, which reads the socket itself, so they are looked at and left there. The
 * beginning of a header is taken, because bytes that stay would keep the socket readable and the loop busy.
 *
 * Return: as proxy_header_parse(). PROXY_HEADER_MORE: call again when the socket is readable. PROXY_HEADER_OK: @header
 * is empty. PROXY_HEADER_NONE: @header holds what was taken, the beginning of what the peer says.
 */
enum proxy_header_result proxy_header_receive(struct proxy_header *header, int fd, struct addr *ret_from);

#define PROXY_HEADER_WRITE_MAX 108 /* version 1 with its terminator; version 2 with IPv6 has 52 */

/**
 * proxy_header_write() - The header that tells another server of a connection
 * @version: 1 or 2
 * @from: the visitor
 * @to: where it has connected to; where only one of the two is IPv6, both are told as IPv6
 *
 * Return: bytes in @buf.
 */
size_t proxy_header_write(
	uint8_t buf[PROXY_HEADER_WRITE_MAX], unsigned version, const struct addr *from, const struct addr *to);

/* The last address of X-Forwarded-For, which is the one our own proxy has seen. Return: 0 or -ENOENT. Port 0. */
int proxy_header_forwarded_for(const struct http_head *head, struct addr *ret_from);
