/* The host's resolver: set for a device, taken back, and the name servers of the physical links.
 *
 * Set by resolvconf(8) as wg-quick does (openresolv, Debian's resolvconf, or systemd-resolved's under that name), else
 * by resolvectl(1) where systemd-resolved runs. Both are command lines here, run and undone by the caller.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define DNS_COMMAND_MAX 2048
#define DNS_SERVERS_MAX 8u
#define DNS_PREFIX_MAX 32

/* The tools of a host: looked for once, by the caller; a test gives its own. */
struct dns_tools {
	bool has_resolvconf;
	bool has_resolved;		       /* resolvectl, and the service runs */
	char interface_prefix[DNS_PREFIX_MAX]; /* "tun." of /etc/resolvconf/interface-order; "" without */
};

void dns_look_for_tools(struct dns_tools *ret);

/* Command lines for sh -c. @words: addresses and search domains as in DNS =. Without an address among them nothing is
 * set, as under wg-quick, and @ret is "". Return: 0; -ENOENT: neither tool is there, and @err names the package that
 * helps; -EINVAL: a word that is neither an address nor a domain; -E2BIG. */
int dns_format_set(const struct dns_tools *tools, const char *device, char *const *words, size_t count,
	char ret[DNS_COMMAND_MAX], struct err *err);
int dns_format_unset(const struct dns_tools *tools, const char *device, char ret[DNS_COMMAND_MAX], struct err *err);

/* True if the first name server in /etc/resolv.conf, below @root, is one of those in @set, a command line of
 * dns_format_set(). */
bool dns_is_asked_first(const char *root, const char *set);

/* The name servers of the physical links, which find the hub's name under a full tunnel: those of systemd-resolved,
 * link by link, by D-Bus; those in resolvconf's files of interfaces; or else those in /etc/resolv.conf. Devices of kind
 * wireguard, @except and loopback addresses are left out. Port 53. Waits for resolved at most 300 ms. Return: how many,
 * perhaps 0. */
size_t dns_uplink_servers(const char *except, struct addr ret[DNS_SERVERS_MAX]);

/* For tests: the same from files only, which may lie below another @root than "". */
void dns_read_interface_prefix(const char *root, char ret[DNS_PREFIX_MAX]);
size_t dns_read_uplink_servers(const char *root, const char *except, struct addr ret[DNS_SERVERS_MAX]);
