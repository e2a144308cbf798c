/* See publish.h.
 *
 * Theory of operation. A [Publish] is one of two kinds, which have only To in common:
 *
 *    Port = tcp/80          the kernel forwards it, by rules in our nftables table (firewall.c)
 *    ServerName = NAME      the worker reads the name in a visitor's ClientHello, and the supervisor connects to To
 *
 * Each section opens one element, and its keys are parsed into it one by one. A key that was refused leaves its fields
 * at zero, so a check of the whole takes a zero for "complained about already" and is silent. publish_check() comes
 * when the device is known: it looks at the keys of each section, at To against Address and AllowedIPs, and at each
 * pair of sections. Every mistake becomes a line of the report.
 *
 * Nothing is looked up on the host: whether another program listens at the port, or another table's rule takes its
 * packets, is asked at bring-up and at a reload (published.c).
 */
#include "common/host/publish.h"

#include "common/base/place.h"
#include "common/base/prefix.h"
#include "common/base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EXPECTED_PORT "expected for example tcp/80, udp/27015, tcp/8000-8010, tcp/203.0.113.10:80"
#define EXPECTED_TO "expected an address with its port, as in 192.168.1.30:8080 or [fd10::2]:80"

struct publish *publish_open(struct publish **publishes, size_t *count, const struct key_place *place)
{
	struct publish *publish = key_append(publishes, count, sizeof(*publish), place);

	if (publish)
		publish->line = place->line;
	return publish;
}

/* --- parsers --- */

/* "80" or "8000-8010". Return: 0 or -EINVAL. */
static int parse_ports(const char *text, struct service_ports *ret)
{
	size_t len = strcspn(text, "-");
	uint64_t first, last;
	char word[8];

	if (len >= sizeof(word))
		return -EINVAL;
	memcpy(word, text, len);
	word[len] = '\0';
	if (text_parse_number(word, 10, UINT16_MAX, &first) < 0 || first == 0)
		return -EINVAL;
	last = first;
	if (text[len] == '-' && (text_parse_number(text + len + 1, 10, UINT16_MAX, &last) < 0 || last < first))
		return -EINVAL;
	*ret = (struct service_ports){(uint16_t)first, (uint16_t)last};
	return 0;
}

/* "192.168.1.30:8080" or "[fd10::2]:80-89". A range is no port for addr_parse(), so the host is parsed alone, with a
 * default port of 1 by which one in the host's own text is found. Return: 0 or -EINVAL. */
static int parse_place(const char *text, struct addr *ret_addr, struct service_ports *ret_ports)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	char host[ADDR_TEXT_MAX];

	if (len == 0 || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	/* an IPv6 address without brackets would take the port for its last part; behind them is nothing but the port */
	if ((host[0] == '[' ? host[len - 1] != ']' : strchr(host, ':') != NULL) ||
		addr_parse(host, 1, ret_addr) < 0 || addr_port(ret_addr) != 1 ||
		(ret_addr->sa.sa_family == AF_INET6 && ret_addr->in6.sin6_scope_id != 0))
		return -EINVAL;
	addr_set_port(ret_addr, 0);
	return parse_ports(colon + 1, ret_ports);
}

/* The address of one host, not of many, of none, or of this host alone. */
static bool is_one_host(const struct addr *addr)
{
	if (addr_is_loopback(addr) || addr_is_any(addr))
		return false;
	if (addr->sa.sa_family == AF_INET6)
		return !IN6_IS_ADDR_MULTICAST(&addr->in6.sin6_addr) && !IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr);
	return !IN_MULTICAST(ntohl(addr->in4.sin_addr.s_addr)) && addr->in4.sin_addr.s_addr != INADDR_NONE;
}

/* "tcp/80", "udp/27015-27030" or "tcp/203.0.113.10:80". A colon tells a place from bare ports, as those have none. */
static int parse_port(void *owner, const char *text, const struct key_place *place)
{
	struct publish *publish = owner;
	struct service_ports ports;
	struct addr address = {.sa = {0}};
	const char *rest;
	uint8_t protocol;

	if (strncasecmp(text, "tcp/", 4) == 0)
		protocol = IPPROTO_TCP;
	else if (strncasecmp(text, "udp/", 4) == 0)
		protocol = IPPROTO_UDP;
	else
		return key_complain(place, "begins with neither tcp/ nor udp/; " EXPECTED_PORT);
	rest = text + 4;
	if (strchr(rest, ':') ? parse_place(rest, &address, &ports) < 0 : parse_ports(rest, &ports) < 0)
		return key_complain(place, "no port, and no address with its port, behind tcp/ or udp/; " EXPECTED_PORT
					   " or tcp/[2001:db8:1::10]:80");
	if (address.sa.sa_family && !is_one_host(&address))
		return key_complain(place,
			"not an address that others reach; expected one of this host's, or none for all but the "
			"loopback, as in tcp/80");
	publish->service.protocol = protocol;
	publish->service.address = address;
	publish->service.ports = ports;
	return 0;
}

static int parse_to(void *owner, const char *text, const struct key_place *place)
{
	struct publish *publish = owner;
	struct service_ports ports;
	struct addr to;

	if (parse_place(text, &to, &ports) < 0)
		return key_complain(place, "not an address with its port; " EXPECTED_TO);
	if (!is_one_host(&to))
		return key_complain(place, "not a host behind the tunnel; " EXPECTED_TO);
	publish->service.to = to;
	publish->service.to_ports = ports;
	return 0;
}

static int parse_name(void *owner, const char *text, const struct key_place *place)
{
	struct publish *publish = owner;
	const char *fault = server_name_find_fault(text);
	struct server_name *name;

	if (fault)
		return key_complain(place, "%s", fault);
	name = key_append(&publish->names, &publish->name_count, sizeof(*name), place);
	if (!name)
		return -EINVAL;
	name->line = place->line;
	return key_copy(text, &name->text, place);
}

static const char *const proxy_protocols[] = {"no", "v1", "v2", NULL};

#define AT(field) offsetof(struct publish, field)

static const struct key_row rows[] = {
	{"Port", KEY_ONCE, parse_port, .line_offset = AT(port_line)},
	{"ServerName", KEY_LIST, parse_name, .line_offset = AT(name_line)},
	{"To", KEY_ONCE, parse_to, .line_offset = AT(to_line)},
	{"KeepSource", KEY_ONCE, key_set_bool, AT(service.keeps_source), .line_offset = AT(keep_source_line)},
	{"ProxyProtocol", KEY_ONCE, key_set_choice, AT(proxy_protocol), .words = proxy_protocols,
		.line_offset = AT(proxy_protocol_line)},
};
const struct key_table publish_table = {"Publish", rows, sizeof(rows) / sizeof(*rows)};

/* --- the whole --- */

/* True for a Port with a To. ServerName has no port of its own, and a key that was refused has left a zero. */
static bool is_whole(const struct service *service)
{
	return service->protocol != 0 && service->to.sa.sa_family != 0;
}

static unsigned count_of(const struct service_ports *ports)
{
	return ports->last - ports->first + 1u;
}

static const char *name_of(int family)
{
	return family == AF_INET6 ? "IPv6" : "IPv4";
}

/* Masquerading takes an address of the device, and answers go to it. */
static bool has_address(const struct wg_config *wireguard, int family)
{
	for (size_t i = 0; i < wireguard->interface.address_count; i++)
		if (wireguard->interface.addresses[i].prefix.addr.sa.sa_family == family)
			return true;
	return false;
}

/* A DNAT to an address of this host would end here, and not behind the tunnel. */
static bool is_own(const struct wg_config *wireguard, const struct addr *to)
{
	for (size_t i = 0; i < wireguard->interface.address_count; i++)
		if (addr_equal(&wireguard->interface.addresses[i].prefix.addr, to))
			return true;
	return false;
}

/* AllowedIPs are WireGuard's routing table. Any peer will do: which of them gets the packet is the kernel's matter. */
static bool has_peer(const struct wg_config *wireguard, const struct addr *to)
{
	struct prefix host = prefix_of_host(to);

	for (size_t i = 0; i < wireguard->peer_count; i++)
		for (size_t j = 0; j < wireguard->peers[i].allowed_ip_count; j++)
			if (prefix_contains(&wireguard->peers[i].allowed_ips[j].prefix, &host))
				return true;
	return false;
}

/* The routes of a claim are those of its device's namespace, so only one in our own leads there. Its name becomes a word
 * of nft and iptables. Return: NULL where there is none. */
static const struct claim *find_claim(const struct claim *claims, size_t count, const struct addr *to)
{
	struct prefix host = prefix_of_host(to);

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < claims[i].peer.allowed_ip_count; j++)
			if (!claims[i].container && !claims[i].namespace_path &&
				text_is_argument(claims[i].interface, "_=.@-") &&
				prefix_contains(&claims[i].peer.allowed_ips[j].prefix, &host))
				return &claims[i];
	return NULL;
}

/* Without a peer that has it, a packet for To would leave by the default route. @claim: that leads there, or NULL. */
static void check_to(struct publish *publish, const struct wg_config *wireguard, const struct claim *claim,
	const char *path, struct ini_report *report)
{
	int family = publish->service.to.sa.sa_family;
	char to[PUBLISH_TEXT_MAX], host[ADDR_TEXT_MAX];

	publish_format_to(to, &publish->service);
	addr_format_host(host, sizeof(host), &publish->service.to);
	if (is_own(wireguard, &publish->service.to))
		ini_report_add(report, path, publish->to_line,
			"To: '%s': is this host's own address in the tunnel; expected one behind a [Peer]", to);
	else if (!has_peer(wireguard, &publish->service.to) && claim)
		memcpy(publish->service.device, claim->interface, sizeof(publish->service.device));
	else if (!has_peer(wireguard, &publish->service.to))
		ini_report_add(report, path, publish->to_line,
			"To: '%s': in the AllowedIPs of no [Peer], so it would be looked for on the Internet; expected %s in "
			"the AllowedIPs of the peer that leads there, or of a [Claim] without Container and Namespace",
			to, host);
	else if (!has_address(wireguard, family))
		ini_report_add(report, path, publish->to_line,
			"To: '%s': the device has no %s address, and answers would not come back; expected one in Address "
			"of [Interface]",
			to, name_of(family));
}

/* Keys that do not go together, or are missing. */
static void check_keys(const struct publish *publish, const char *path, struct ini_report *report)
{
	const char *name = publish->name_count > 0 ? publish->names[0].text : "";

	if (!publish->port_line && !publish->name_line)
		ini_report_add(report, path, publish->line,
			"Port: missing; " EXPECTED_PORT
			", or ServerName = home.example.org for a TLS server on our own "
			"port");
	if (publish->port_line && publish->name_line)
		ini_report_add(report, path, publish->name_line,
			"ServerName: '%s': stands beside Port in %s; expected one of them, and a [Publish] for each", name,
			PLACE_REFER(path, publish->port_line, publish->name_line));
	if (publish->name_line && publish->keep_source_line)
		ini_report_add(report, path, publish->keep_source_line,
			"KeepSource: is for Port; with ServerName the connection to To is the hub's own; expected "
			"ProxyProtocol = v1 or v2, which tells To the visitor's address");
	if (!publish->name_line && publish->proxy_protocol_line)
		ini_report_add(report, path, publish->proxy_protocol_line,
			"ProxyProtocol: is for ServerName; with Port To sees the visitor's address by KeepSource = yes");
	if (!publish->to_line)
		ini_report_add(report, path, publish->line, "To: missing; " EXPECTED_TO);
}

/* @wireguard: NULL: we bring no device up. The rest is silent where To, or both Port and ServerName, were refused or
 * are missing: that has its line already. */
static void check_one(struct publish *publish, const struct wg_config *wireguard, const struct claim *claim,
	const char *path, struct ini_report *report)
{
	int family = publish->service.to.sa.sa_family;
	char to[PUBLISH_TEXT_MAX];

	check_keys(publish, path, report);
	if (!wireguard && !publish->name_line) /* our rules name it; a connection of ours goes where the routes lead */
		ini_report_add(report, path, publish->line,
			"[Publish]: needs a device of ours; expected [Interface] in this file, or WireGuard = PATH");
	if (!publish->service.to.sa.sa_family || (publish->service.protocol == 0 && publish->name_count == 0))
		return;
	publish_format_to(to, &publish->service);
	if (publish->name_count > 0 && count_of(&publish->service.to_ports) > 1)
		ini_report_add(report, path, publish->to_line,
			"To: '%s': a range of ports is for Port; expected one port with ServerName", to);
	if (publish->service.protocol != 0 && count_of(&publish->service.to_ports) != count_of(&publish->service.ports))
		ini_report_add(report, path, publish->to_line,
			"To: '%s': %u ports for the %u of Port in %s; expected as many", to,
			count_of(&publish->service.to_ports), count_of(&publish->service.ports),
			PLACE_REFER(path, publish->port_line, publish->to_line));
	if (publish->service.address.sa.sa_family && publish->service.address.sa.sa_family != family)
		ini_report_add(report, path, publish->to_line,
			"To: '%s': is %s, and the address of Port in %s is %s; expected one family, and a section for "
			"each",
			to, name_of(family), PLACE_REFER(path, publish->port_line, publish->to_line),
			name_of(publish->service.address.sa.sa_family));
	if (wireguard)
		check_to(publish, wireguard, claim, path, report);
}

/* Does a service have a port in common with the question? An address that either side leaves open is every address.
 * @family: of the place that is asked about. */
static bool meets(const struct service *service, uint8_t protocol, const struct addr *address, int family,
	const struct service_ports *ports)
{
	return service->protocol == protocol && service->to.sa.sa_family == family &&
	       service->ports.first <= ports->last && ports->first <= service->ports.last &&
	       (!service->address.sa.sa_family || addr_is_any(address) || addr_equal(&service->address, address));
}

/* Compared as they are written, a star too: "*.example.org" and "a.example.org" may stand in two sections, because a
 * whole name goes before a star. @first == @second: within one section. */
static void check_names(
	const struct publish *first, const struct publish *second, const char *path, struct ini_report *report)
{
	for (size_t i = 0; i < second->name_count; i++)
		for (size_t j = 0; j < (first == second ? i : first->name_count); j++) {
			if (strcasecmp(first->names[j].text, second->names[i].text) == 0)
				ini_report_add(report, path, second->names[i].line,
					"ServerName: '%s': published already, in %s; expected a name once",
					second->names[i].text,
					PLACE_REFER(path, first->names[j].line, second->names[i].line));
		}
}

/* With and without an address is one port twice, too: which of the two it is must not hang on the order of rules. */
static void check_two(
	const struct publish *first, const struct publish *second, const char *path, struct ini_report *report)
{
	const struct service *a = &first->service, *b = &second->service;
	char port[PUBLISH_TEXT_MAX], other[PUBLISH_TEXT_MAX];

	if (is_whole(a) && is_whole(b) && meets(a, b->protocol, &b->address, b->to.sa.sa_family, &b->ports))
		ini_report_add(report, path, second->port_line,
			"Port: '%s': published already, as %s in %s; expected a port in one [Publish] only",
			publish_format_port(port, b), publish_format_port(other, a),
			PLACE_REFER(path, first->port_line, second->port_line));
}

void publish_check(struct publish *publishes, size_t count, const struct wg_config *wireguard,
	const struct claim *claims, size_t claim_count, const char *path, struct ini_report *report)
{
	for (size_t i = 0; i < count; i++) {
		check_one(&publishes[i], wireguard, find_claim(claims, claim_count, &publishes[i].service.to), path, report);
		for (size_t j = 0; j < i; j++)
			check_two(&publishes[j], &publishes[i], path, report);
		for (size_t j = 0; j <= i; j++)
			check_names(&publishes[j], &publishes[i], path, report);
	}
}

void publishes_done(struct publish *publishes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < publishes[i].name_count; j++)
			free(publishes[i].names[j].text);
		free(publishes[i].names);
	}
	free(publishes);
}

bool publish_has(const struct service *service, uint8_t protocol, const struct addr *address, uint16_t port)
{
	const struct service_ports ports = {port, port};
	struct addr host = *address;

	addr_set_port(&host, 0);
	return !addr_is_loopback(&host) && meets(service, protocol, &host, host.sa.sa_family, &ports);
}

bool publish_is_same(const struct service *a, const struct service *b)
{
	return a->protocol == b->protocol && addr_equal(&a->address, &b->address) && addr_equal(&a->to, &b->to) &&
	       memcmp(&a->ports, &b->ports, sizeof(a->ports)) == 0 &&
	       memcmp(&a->to_ports, &b->to_ports, sizeof(a->to_ports)) == 0 && a->keeps_source == b->keeps_source &&
	       strcmp(a->device, b->device) == 0;
}

/* --- as text --- */

/* "80", "203.0.113.10:8000-8010" */
static void format_place(char *buf, size_t size, const struct addr *addr, const struct service_ports *ports)
{
	struct addr with_port = *addr;
	char text[ADDR_TEXT_MAX];

	addr_set_port(&with_port, ports->first);
	if (addr->sa.sa_family)
		addr_format(text, sizeof(text), &with_port);
	else
		snprintf(text, sizeof(text), "%u", ports->first);
	if (ports->last > ports->first)
		snprintf(buf, size, "%s-%u", text, ports->last);
	else
		snprintf(buf, size, "%s", text);
}

const char *publish_format_port(char buf[PUBLISH_TEXT_MAX], const struct service *service)
{
	size_t len = (size_t)snprintf(buf, PUBLISH_TEXT_MAX, service->protocol == IPPROTO_UDP ? "udp/" : "tcp/");

	format_place(buf + len, PUBLISH_TEXT_MAX - len, &service->address, &service->ports);
	return buf;
}

const char *publish_format_to(char buf[PUBLISH_TEXT_MAX], const struct service *service)
{
	format_place(buf, PUBLISH_TEXT_MAX, &service->to, &service->to_ports);
	return buf;
}
