/* [Publish] as plain data: one service of the home side that is reached at this host. Only a hub's file has it. */
#pragma once

#include "common/base/key_table.h"
#include "common/base/server_name.h"
#include "common/host/claim.h"
#include "common/net/service.h"
#include "common/wireguard/wg_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PUBLISH_TEXT_MAX (ADDR_TEXT_MAX + 8) /* "tcp/[2001:db8:1::10]:8000-8010" */

struct publish {
	struct service service;	   /* with ServerName only ->to and ->to_ports */
	struct server_name *names; /* ServerName: on our own port, by TLS */
	size_t name_count;
	int proxy_protocol;			       /* the version of the header that To is sent; 0: none */
	unsigned line;				       /* of the section's header */
	unsigned port_line, name_line, to_line, keep_source_line, proxy_protocol_line; /* 0: not given */
};

/* The keys of [Publish], parsed into a struct publish. */
extern const struct key_table publish_table;

/* A section begins at @place: one more element, which is the owner of its keys until the next one is opened.
 * Return: it, or NULL after a complaint. */
struct publish *publish_open(struct publish **publishes, size_t *count, const struct key_place *place);

/**
 * publish_check() - Complain about what only the whole file shows
 * @wireguard: the device's; NULL: we bring none up
 * @claims: a service to a host that only a claim leads to gets the device of that
 *
 * A key that is missing, or does not go with the others, ranges of different size, two families, two sections for one
 * port or name, and a To that no peer has.
 */
void publish_check(struct publish *publishes, size_t count, const struct wg_config *wireguard,
	const struct claim *claims, size_t claim_count, const char *path, struct ini_report *report);

/* Free all of it. */
void publishes_done(struct publish *publishes, size_t count);

/* Do packets to @address at port @port belong to @service, whose family is @address's? A wildcard is every address. */
bool publish_has(const struct service *service, uint8_t protocol, const struct addr *address, uint16_t port);

/* The same service at the same port in the same way. */
bool publish_is_same(const struct service *a, const struct service *b);

/* "tcp/80", "udp/203.0.113.10:8000-8010". Return: @buf. */
const char *publish_format_port(char buf[PUBLISH_TEXT_MAX], const struct service *service);
/* "192.168.1.30:8080", "[fd10::2]:9000-9010". Return: @buf. */
const char *publish_format_to(char buf[PUBLISH_TEXT_MAX], const struct service *service);
