/* See full_tunnel.h.
 *
 * Theory of operation. Two rounds over the allowed IPs of all peers, because a piece is one of a full tunnel only if
 * the list as a whole is about everything:
 *
 *    first     how much of each family the list covers ──▶ is_broad; is there a /0 ──▶ has_all
 *    second    does one of them go to the table of its own (full_tunnel_has()) ──▶ is_full
 *
 * Shares are counted in units of which everything has 2^32: an IPv4 address, or a /35 of 2000::/3 (35 = 3 + 32), so
 * that sums of both families fit 64 bits. Prefixes that overlap count twice: that makes a list about everything a
 * little sooner, and does no harm there.
 *
 * A wrong "yes" costs a rule and a table that were not needed. A wrong "no" may send the tunnel's own connection
 * into the tunnel, where it goes round for ever. Hence half is enough. Cannot fail.
 */
#include "common/host/full_tunnel.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#define HALF_OF_ALL ((uint64_t)1 << 31) /* all is 2^32: IPv4's addresses, or the /35 of 2000::/3 */

/* The index of a family in arrays of both. */
static size_t slot_of(int family)
{
	return family == AF_INET6;
}

/* How much of everything @to covers, in units of HALF_OF_ALL. An IPv6 prefix longer than /35 is not worth counting. */
static uint64_t share_of(const struct prefix *to)
{
	struct prefix internet;
	unsigned bits;

	prefix_parse("2000::/3", &internet);
	if (to->addr.sa.sa_family == AF_INET)
		return (uint64_t)1 << (32 - to->bits);
	if (!prefix_contains(&internet, to))
		return prefix_contains(to, &internet) ? 2 * HALF_OF_ALL : 0;
	bits = to->bits - internet.bits;
	return bits > 32 ? 0 : (uint64_t)1 << (32 - bits);
}

/* A longer prefix is the network of one owner, whose hosts come by the tunnel. No client has a multicast address. */
static bool may_hold_client(const struct host_setup *setup, const struct prefix *to)
{
	bool is_ipv6 = to->addr.sa.sa_family == AF_INET6;
	struct prefix multicast;

	prefix_parse("224.0.0.0/3", &multicast);
	return setup->is_hub && to->bits < (is_ipv6 ? 32 : 16) && share_of(to) > 0 && !prefix_is_private(to) &&
	       !prefix_contains(&multicast, to);
}

/* A Table other than auto is the user's own routing. A private network beside a /0 stays in the main table, where it
 * wins over a wider network of this host. The servers are those of the client; a hub has none. */
bool full_tunnel_has(const struct full_tunnel *tunnel, const struct prefix *to)
{
	const struct host_setup *setup = tunnel->setup;
	size_t slot = slot_of(to->addr.sa.sa_family);

	if (setup->wireguard->interface.table_kind != WG_CONFIG_TABLE_AUTO)
		return false;
	if (to->bits == 0 || may_hold_client(setup, to) ||
		(tunnel->is_broad[slot] && (!tunnel->has_all[slot] || !prefix_is_private(to))))
		return true;
	for (size_t i = 0; setup->servers && i < setup->servers->count; i++) {
		struct prefix server = prefix_of_host(&setup->servers->addrs[i]);

		if (prefix_contains(to, &server))
			return true;
	}
	return false;
}

bool full_tunnel_is_of(const struct full_tunnel *tunnel, int family)
{
	return tunnel->is_full[slot_of(family)];
}

/* The next one of all peers' allowed IPs. @peer, @at: 0 before the first. Return: false: there is no more. */
static bool next_allowed(const struct wg_config *config, size_t *peer, size_t *at, struct prefix *ret)
{
	for (; *peer < config->peer_count; ++*peer, *at = 0)
		if (*at < config->peers[*peer].allowed_ip_count) {
			*ret = config->peers[*peer].allowed_ips[(*at)++].prefix;
			return true;
		}
	return false;
}

void full_tunnel_find(struct full_tunnel *ret, const struct host_setup *setup)
{
	struct full_tunnel tunnel = {.setup = setup};
	uint64_t shares[2] = {0};
	struct prefix to;

	for (size_t peer = 0, at = 0; next_allowed(setup->wireguard, &peer, &at, &to);) {
		size_t slot = slot_of(to.addr.sa.sa_family);

		shares[slot] += share_of(&to);
		tunnel.has_all[slot] |= to.bits == 0;
		tunnel.is_broad[slot] = shares[slot] >= HALF_OF_ALL;
	}
	for (size_t peer = 0, at = 0; next_allowed(setup->wireguard, &peer, &at, &to);)
		tunnel.is_full[slot_of(to.addr.sa.sa_family)] |= full_tunnel_has(&tunnel, &to);
	*ret = tunnel;
}

const char *full_tunnel_mark_fault(const struct full_tunnel *tunnel)
{
	uint32_t mark = tunnel->setup->wireguard->interface.fwmark;

	if (mark < RT_TABLE_DEFAULT || mark > RT_TABLE_LOCAL || (!tunnel->is_full[0] && !tunnel->is_full[1]))
		return NULL;
	return "a full tunnel's routing table has the number of its mark, and 253 to 255 are the host's own tables; "
	       "expected another mark, or none";
}

void full_tunnel_check(const struct wg_config *wireguard, const char *path, struct ini_report *report)
{
	const struct host_setup setup = {.wireguard = wireguard};
	const struct wg_config_interface *interface = &wireguard->interface;
	struct full_tunnel tunnel;

	full_tunnel_find(&tunnel, &setup);
	if (full_tunnel_mark_fault(&tunnel))
		ini_report_add(report, path, interface->fwmark_line, "FwMark: '%u': %s", interface->fwmark,
			full_tunnel_mark_fault(&tunnel));
}
