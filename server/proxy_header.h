/* The visitor's address as a reverse proxy in front of us tells it: the PROXY protocol's header in front of the first byte
 * (haproxy's proxy-protocol.txt, versions 1 and 2), or X-Forwarded-For. Pure. Believed only from TrustedProxies. */
#ifndef TOWPATH_SERVER_PROXY_HEADER_H
#define TOWPATH_SERVER_PROXY_HEADER_H

#include "common/base/addr.h"
#include "common/tunnel/http_head.h"

#include <stddef.h>
#include <stdint.h>

#define PROXY_HEADER_MAX 536 /* version 2: 16 + 520 bytes at most in practice; version 1: 107 */

enum proxy_header_result {
	PROXY_HEADER_NONE, /* these bytes are something else: there is no header */
	PROXY_HEADER_MORE, /* may still become one */
	PROXY_HEADER_OK,
	PROXY_HEADER_BAD, /* begins like one and is none */
};

/* Read the front of @buf. With PROXY_HEADER_OK: @ret_used its length; @ret_from the visitor, or AF_UNSPEC where the proxy
 * speaks for itself (LOCAL, UNKNOWN). */
enum proxy_header_result proxy_header_parse(const uint8_t *buf, size_t len, size_t *ret_used, struct addr *ret_from);

/* The last address of X-Forwarded-For, which is the one our own proxy has seen. Return: 0 or -ENOENT. Port 0. */
int proxy_header_forwarded_for(const struct http_head *head, struct addr *ret_from);

#endif
