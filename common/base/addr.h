/* An IPv4 or IPv6 socket address, as text and as the kernel wants it. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDR_TEXT_MAX 80 /* "[" + IPv6 + "%" + zone + "]:65535" */

struct addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	};
};

/* Parse "127.0.0.1:51820", "[::1]:51820", without port if @default_port is not 0. No names. Return: 0 or -EINVAL. */
int addr_parse(const char *text, uint16_t default_port, struct addr *ret);

/* Split "host", "host:port", "[v6]:port" into its two parts; names allowed; brackets are taken off.
 * @port: 0 where the text has none. Return: 0 or -EINVAL. */
int addr_split(const char *text, char *host, size_t host_size, uint16_t *ret_port);

/* A host name (letters, digits, "-", "_" and single dots, up to 255 bytes) or an address without brackets and port. */
bool addr_is_host(const char *text);

/* "203.0.113.7:443", "[2001:db8::1]:443". @size: at least ADDR_TEXT_MAX. Return: @buf. */
const char *addr_format(char *buf, size_t size, const struct addr *addr);
/* The same without port and without brackets. */
const char *addr_format_host(char *buf, size_t size, const struct addr *addr);

socklen_t addr_len(const struct addr *addr); /* for bind() and connect() */
uint16_t addr_port(const struct addr *addr); /* host order */
void addr_set_port(struct addr *addr, uint16_t port);
bool addr_is_loopback(const struct addr *addr);		     /* 127.0.0.0/8, ::1 */
bool addr_is_any(const struct addr *addr);		     /* 0.0.0.0, ::, or none at all */
/* False for addresses at which no host listens, whichever it has: multicast, broadcast, IPv4 in the form of IPv6, and
 * link-local ones of IPv6 without their device. */
bool addr_can_listen(const struct addr *addr);
bool addr_equal(const struct addr *a, const struct addr *b); /* family, address and port */
/* Read a socket address as the kernel gave it; IPv4-mapped IPv6 becomes IPv4. */
void addr_from_sockaddr(const struct sockaddr *sa, struct addr *ret);
