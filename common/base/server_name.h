/* The name of a server as TLS tells it (SNI), against names as a configuration has them. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SERVER_NAME_MAX 253u /* of a DNS name as text, RFC 1035 §2.3.4 */

/* One of a list, as it stands in a configuration. */
struct server_name {
	char *text;
	unsigned line;
};

/* True if @name is the name @pattern, in any case, or where @pattern is "*.REST", one label in front of REST. */
bool server_name_fits(const char *pattern, const char *name, size_t len);

/* Return: NULL for the name of a host, or one with a star as its whole left label; else what is wrong with it, and what
 * is expected. */
const char *server_name_find_fault(const char *text);
