/* The text of our nftables table (firewall.h).
 *
 * Theory of operation. The script is "add table; delete table; table { … }": nft runs it as one transaction, so the
 * old table works until the new one does, and a script that nft refuses changes nothing. One function writes each
 * chain, and only where it would not be empty: a kernel without the module for an expression
 * (firewall_missing_module()) then fails only for those who need it.
 *
 * The marks differ from wg-quick's on purpose: TCP is marked as well, because the tunnel's own connection is TCP,
 * and only our own mark is saved and restored, so that the connection marks of other programs stay what they are.
 *
 * Names of devices and tables end up in quotation marks or as words of nft. Names of tables are encoded
 * (firewall_format_table()); a device that nft cannot quote makes the whole fail. So nothing that a user writes can
 * become a rule of its own.
 *
 * Fails only by that, or where memory runs out.
 */
#include "common/net/firewall.h"

#include <ctype.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *firewall_format_table(char ret[FIREWALL_TABLE_MAX], const char *name)
{
	size_t len = (size_t)snprintf(ret, FIREWALL_TABLE_MAX, "towpath-");

	for (; *name && len < FIREWALL_TABLE_MAX - 4; name++) {
		if (isalnum((unsigned char)*name) || strchr("_-.", *name))
			len += (size_t)snprintf(ret + len, FIREWALL_TABLE_MAX - len, "%c", *name);
		else
			len += (size_t)snprintf(ret + len, FIREWALL_TABLE_MAX - len, "/%02x", (unsigned char)*name);
	}
	return ret;
}

bool firewall_is_needed(const struct firewall_setup *setup)
{
	return setup->mark != 0 || setup->guarded_count > 0 || setup->gateway_count > 0 || setup->confines ||
	       setup->among_peers || setup->service_count > 0;
}

/* A quotation mark would end the name, a star would stand for more than one device. */
bool firewall_can_name(const char *device)
{
	return device[0] != '\0' && !strpbrk(device, "\"*\\");
}

static const char *family_of(const struct prefix *prefix)
{
	return prefix->addr.sa.sa_family == AF_INET6 ? "ip6" : "ip";
}

/* "ip daddr 192.168.1.0/24"; everything has no such words in nft. @side: "saddr" or "daddr". */
static void write_match(FILE *out, const struct prefix *lan, const char *side)
{
	char text[PREFIX_TEXT_MAX];

	if (lan->bits == 0)
		fprintf(out, "meta nfproto %s", lan->addr.sa.sa_family == AF_INET6 ? "ipv6" : "ipv4");
	else
		fprintf(out, "%s %s %s", family_of(lan), side, prefix_format(text, sizeof(text), lan));
}

/* Under a full tunnel the kernel takes packets for the device's addresses from every link. A neighbour in the café
 * could find out which address a connection inside the tunnel has, and inject data into it (CVE-2019-14899). */
static void write_guard(FILE *out, const struct firewall_setup *setup)
{
	char text[ADDR_TEXT_MAX];

	if (setup->guarded_count == 0)
		return;
	fprintf(out, "\tchain guard {\n\t\ttype filter hook prerouting priority raw; policy accept;\n");
	for (size_t i = 0; i < setup->guarded_count; i++) {
		const struct prefix *own = &setup->guarded[i];
		const struct addr *addr = &own->addr;

		/* A link-local address cannot be reached from another link, and another device may rightly have the
		 * same. */
		if (addr->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&addr->in6.sin6_addr))
			fprintf(out, "\t\tiifname != \"%s\" %s daddr %s fib saddr type != local drop\n", setup->device,
				family_of(own), addr_format_host(text, sizeof(text), &own->addr));
	}
	fprintf(out, "\t}\n");
}

/* The mark of a packet of ours is kept with its connection, and put back on the answers: with rp_filter = 1 the kernel
 * drops an answer that it would not route back the same way. */
static void write_marks(FILE *out, const struct firewall_setup *setup)
{
	if (setup->mark == 0)
		return;
	fprintf(out,
		"\tchain save {\n\t\ttype filter hook postrouting priority mangle; policy accept;\n"
		"\t\tmeta mark 0x%x meta l4proto { tcp, udp } ct mark set meta mark\n\t}\n",
		setup->mark);
	fprintf(out,
		"\tchain restore {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n"
		"\t\tct mark 0x%x meta l4proto { tcp, udp } meta mark set ct mark\n\t}\n",
		setup->mark);
}

/* A DHCP lease is renewed from a socket that is bound to its device, also at a server beyond the router. */
static void write_barrier(FILE *out, const struct firewall_setup *setup)
{
	if (!setup->stops_ipv4 && !setup->stops_ipv6)
		return;
	fprintf(out,
		"\tchain barrier {\n\t\ttype filter hook postrouting priority filter; policy accept;\n"
		"\t\toifname { \"lo\", \"%s\" } accept\n\t\tmeta mark 0x%x accept\n"
		"\t\tip daddr { 224.0.0.0/4, 255.255.255.255 } accept\n\t\tip6 daddr { fe80::/10, ff00::/8 } accept\n"
		"\t\tudp sport 68 udp dport 67 accept\n\t\tudp sport 546 udp dport 547 accept\n",
		setup->device, setup->mark);
	for (size_t i = 0; i < setup->reachable_count; i++) {
		fprintf(out, "\t\t");
		write_match(out, &setup->reachable[i], "daddr");
		fprintf(out, " accept\n");
	}
	if (setup->stops_ipv4)
		fprintf(out, "\t\tmeta nfproto ipv4 drop\n");
	if (setup->stops_ipv6)
		fprintf(out, "\t\tmeta nfproto ipv6 drop\n");
	fprintf(out, "\t}\n");
}

/* Our device, with those of other programs that lead to published hosts. */
static void write_devices(FILE *out, const struct firewall_setup *setup)
{
	bool is_alone = true;

	for (size_t i = 0; i < setup->service_count; i++)
		is_alone &= !*setup->services[i].service->device;
	fprintf(out, is_alone ? "\"%s\"" : "{ \"%s\"", setup->device);
	for (size_t i = 0; i < setup->service_count; i++)
		if (*setup->services[i].service->device)
			fprintf(out, ", \"%s\"", setup->services[i].service->device);
	fputs(is_alone ? "" : " }", out);
}

/* TCP through the tunnel must fit its MTU: many networks drop the ICMP that would say so. */
static void write_clamp(FILE *out, const char *direction, const struct firewall_setup *setup)
{
	fprintf(out, "\t\t%s ", direction);
	write_devices(out, setup);
	fprintf(out, " tcp flags syn tcp option maxseg size set rt mtu\n");
}

/* From the tunnel into the LAN, and from the hosts of the LAN into the tunnel. A gateway to the Internet (0 bits) has
 * only the first: no host there may come in. */
static void write_passage(FILE *out, const char *device, const struct firewall_gateway *gateway)
{
	for (size_t i = 0; i < gateway->lan_count; i++) {
		fprintf(out, "\t\tiifname \"%s\" oifname \"%s\" ", device, gateway->device);
		write_match(out, &gateway->lans[i], "daddr");
		fprintf(out, " accept\n");
		if (gateway->lans[i].bits == 0)
			continue;
		fprintf(out, "\t\tiifname \"%s\" oifname \"%s\" ", gateway->device, device);
		write_match(out, &gateway->lans[i], "saddr");
		fprintf(out, " accept\n");
	}
}

/* --- published services --- */

static const char *protocol_of(const struct service *service)
{
	return service->protocol == IPPROTO_UDP ? "udp" : "tcp";
}

static const char *ip_of(const struct service *service)
{
	return service->to.sa.sa_family == AF_INET6 ? "ip6" : "ip";
}

/* "80" or "8000-8010". */
static void write_ports(FILE *out, const struct service_ports *ports)
{
	fprintf(out, ports->last > ports->first ? "%u-%u" : "%u", ports->first, ports->last);
}

/* A packet that begins a connection, before its destination is changed. */
static void write_new_match(FILE *out, const struct service *service)
{
	char text[ADDR_TEXT_MAX];

	fprintf(out, "%s dport ", protocol_of(service));
	write_ports(out, &service->ports);
	if (service->address.sa.sa_family)
		fprintf(out, " %s daddr %s ", ip_of(service), addr_format_host(text, sizeof(text), &service->address));
	else
		fprintf(out, " %s daddr != %s fib daddr type local ", ip_of(service),
			service->to.sa.sa_family == AF_INET6 ? "::1" : "127.0.0.0/8");
}

/* A range that stays the same needs no ports. nft has no words for one that is moved: each port is written. */
static void write_destination(FILE *out, const struct service *service)
{
	bool is_ipv6 = service->to.sa.sa_family == AF_INET6;
	unsigned first = service->ports.first, to = service->to_ports.first;
	char text[ADDR_TEXT_MAX];

	addr_format_host(text, sizeof(text), &service->to);
	fprintf(out, is_ipv6 ? "dnat ip6 to [%s]" : "dnat ip to %s", text);
	if (service->ports.last == first && to != first)
		fprintf(out, ":%u", to);
	if (service->ports.last == first || to == first)
		return;
	fprintf(out, ":%s dport map { ", protocol_of(service));
	for (unsigned port = first; port <= service->ports.last; port++)
		fprintf(out, "%s%u : %u", port > first ? ", " : "", port, port - first + to);
	fprintf(out, " }");
}

const char *firewall_format_counter(char ret[FIREWALL_COUNTER_MAX], const char *what, unsigned id)
{
	snprintf(ret, FIREWALL_COUNTER_MAX, "%s-%u", what, id);
	return ret;
}

/* A counter of connections counts packets, because a nat chain meets only the first one of each. */
static void write_counters(FILE *out, const struct firewall_setup *setup)
{
	for (size_t i = 0; i < setup->service_count; i++) {
		const struct firewall_service *service = &setup->services[i];

		fprintf(out,
			"\tcounter connections-%u { packets %" PRIu64 " bytes 0; }\n"
			"\tcounter sent-%u { packets 0 bytes %" PRIu64 "; }\n"
			"\tcounter received-%u { packets 0 bytes %" PRIu64 "; }\n",
			service->id, service->counts.connections, service->id, service->counts.sent_bytes, service->id,
			service->counts.received_bytes);
	}
}

/* For packets from outside @hook is prerouting, for this host's own it is output. -100 is nft's dstnat, a word that
 * older versions know in prerouting only. */
static void write_dnat(FILE *out, const struct firewall_setup *setup, const char *chain, const char *hook)
{
	fprintf(out, "\tchain %s {\n\t\ttype nat hook %s priority -100; policy accept;\n", chain, hook);
	for (size_t i = 0; i < setup->service_count; i++) {
		fprintf(out, "\t\t");
		write_new_match(out, setup->services[i].service);
		fprintf(out, "counter name connections-%u ", setup->services[i].id);
		write_destination(out, setup->services[i].service);
		fprintf(out, "\n");
	}
	fprintf(out, "\t}\n");
}

/* Peers may be on the very network of the host that they reach, and our own connections have a public address that is
 * not in the tunnel: both leave with our address in any case. */
static void write_sources(FILE *out, const struct firewall_setup *setup)
{
	char text[ADDR_TEXT_MAX];

	fprintf(out, "\tchain publish-out {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
	for (size_t i = 0; i < setup->service_count; i++) {
		const struct service *service = setup->services[i].service;
		const char *device = *service->device ? service->device : setup->device;

		/* all of them; or else those of this host, and those of peers */
		for (int peers = 0; peers <= service->keeps_source; peers++) {
			fprintf(out,
				"\t\toifname \"%s\" ct status dnat meta nfproto %s meta l4proto %s ct original proto-dst ",
				device, service->to.sa.sa_family == AF_INET6 ? "ipv6" : "ipv4",
				protocol_of(service));
			write_ports(out, &service->ports);
			if (service->address.sa.sa_family)
				fprintf(out, " ct original %s daddr %s", ip_of(service),
					addr_format_host(text, sizeof(text), &service->address));
			if (peers)
				fprintf(out, " iifname \"%s\"", device);
			else if (service->keeps_source)
				fprintf(out, " fib saddr type local");
			fprintf(out, " masquerade\n");
		}
	}
	fprintf(out, "\t}\n");
}

/* A rule with a map costs the same for any number of services; one for all of a family, a protocol and a form. */
static void write_count(FILE *out, const struct firewall_setup *setup, const char *what, const struct service *form)
{
	bool has_address = form->address.sa.sa_family, is_open = false;
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < setup->service_count; i++) {
		const struct service *service = setup->services[i].service;

		if (service->protocol != form->protocol || service->to.sa.sa_family != form->to.sa.sa_family ||
			(service->address.sa.sa_family != 0) != has_address)
			continue;
		if (!is_open) {
			fprintf(out, "\t\tmeta nfproto %s meta l4proto %s counter name ",
				service->to.sa.sa_family == AF_INET6 ? "ipv6" : "ipv4", protocol_of(service));
			if (has_address)
				fprintf(out, "ct original %s daddr . ", ip_of(service));
			fprintf(out, "ct original proto-dst map { ");
		}
		fprintf(out, "%s", is_open ? ", " : "");
		if (has_address)
			fprintf(out, "%s . ", addr_format_host(text, sizeof(text), &service->address));
		write_ports(out, &service->ports);
		fprintf(out, " : \"%s-%u\"", what, setup->services[i].id);
		is_open = true;
	}
	if (is_open)
		fprintf(out, " } accept\n");
}

/* @what: "sent" or "received". */
static void write_counts(FILE *out, const struct firewall_setup *setup, const char *what)
{
	fprintf(out, "\tchain %s {\n", what);
	for (int i = 0; i < 8; i++) {
		int family = i & 1 ? AF_INET6 : AF_INET;
		const struct service form = {.protocol = i & 2 ? IPPROTO_UDP : IPPROTO_TCP,
			.to = {.sa = {.sa_family = (sa_family_t)family}},
			.address = {.sa = {.sa_family = (sa_family_t)(i & 4 ? family : 0)}}};

		write_count(out, setup, what, &form);
	}
	fprintf(out, "\t}\n");
}

/* This host's own connections do not pass the forward chain. They begin with the MTU of the loopback, and the hook still
 * has that for their device. */
static void write_services(FILE *out, const struct firewall_setup *setup)
{
	if (setup->service_count == 0)
		return;
	write_counters(out, setup);
	write_dnat(out, setup, "publish", "prerouting");
	write_dnat(out, setup, "publish-own", "output");
	write_sources(out, setup);
	write_counts(out, setup, "sent");
	write_counts(out, setup, "received");
	fprintf(out,
		"\tchain own-sent {\n\t\ttype filter hook output priority filter; policy accept;\n"
		"\t\tct status dnat tcp flags syn tcp option maxseg size set rt mtu\n"
		"\t\tct status dnat ct direction original jump sent\n\t}\n"
		"\tchain own-received {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tiifname ");
	write_devices(out, setup);
	fprintf(out, " ct status dnat ct direction reply jump received\n\t}\n");
}

/* --- forwarding --- */

/* Forwarding was off before us: whatever the configuration does not ask for is still not forwarded. */
static void write_confinement(FILE *out, const struct firewall_setup *setup)
{
	const char *device = setup->device, *family = "";

	if (setup->confined_family != 0)
		family = setup->confined_family == AF_INET6 ? "meta nfproto ipv6 " : "meta nfproto ipv4 ";
	/* A hub without a gateway or a service lets nothing in or out that could have an answer, and needs no nft_ct. */
	if (setup->gateway_count > 0 || setup->service_count > 0)
		fprintf(out,
			"\t\tiifname \"%s\" ct state established,related accept\n"
			"\t\toifname \"%s\" ct state established,related accept\n",
			device, device);
	if (setup->among_peers)
		fprintf(out, "\t\tiifname \"%s\" oifname \"%s\" accept\n", device, device);
	for (size_t i = 0; i < setup->gateway_count; i++)
		write_passage(out, device, &setup->gateways[i]);
	fprintf(out, "\t\t%siifname \"%s\" drop\n", family, device);
	fprintf(out, "\t\t%soifname \"%s\" drop\n", family, device);
	for (size_t i = 0; i < setup->opened_count; i++) {
		fprintf(out, "\t\tmeta nfproto ipv4 iifname \"%s\" oifname != ", setup->opened[i]);
		write_devices(out, setup);
		fprintf(out, " drop\n");
	}
}

/* The chain is there for every tunnel that forwards, also where it confines nothing: TCP must fit the MTU all the
 * same. */
static void write_forward(FILE *out, const struct firewall_setup *setup)
{
	if (setup->gateway_count == 0 && !setup->confines && !setup->among_peers && setup->service_count == 0)
		return;
	fprintf(out, "\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n");
	write_clamp(out, "iifname", setup);
	write_clamp(out, "oifname", setup);
	if (setup->service_count > 0) {
		fprintf(out, "\t\toifname ");
		write_devices(out, setup);
		fprintf(out, " ct status dnat ct direction original jump sent\n\t\tiifname ");
		write_devices(out, setup);
		fprintf(out, " ct status dnat ct direction reply jump received\n");
	}
	if (setup->confines)
		write_confinement(out, setup);
	fprintf(out, "\t}\n");
}

/* With masquerading, peers leave by the gateway's device with this host's address, so that the hosts of the LAN need
 * no route to them. */
static void write_out(FILE *out, const struct firewall_setup *setup)
{
	bool is_open = false; /* the chain is written with its first rule */

	for (size_t i = 0; i < setup->gateway_count; i++) {
		const struct firewall_gateway *gateway = &setup->gateways[i];

		for (size_t j = 0; gateway->masquerades && j < gateway->lan_count; j++) {
			if (!is_open)
				fprintf(out,
					"\tchain out {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
			is_open = true;
			fprintf(out, "\t\tiifname \"%s\" oifname \"%s\" ", setup->device, gateway->device);
			write_match(out, &gateway->lans[j], "daddr");
			fprintf(out, " masquerade\n");
		}
	}
	if (is_open)
		fprintf(out, "\t}\n");
}

/* nft may add a table that is there already, but must not delete one that is not: so it is added first. */
static void write_removal(FILE *out, const char *table)
{
	fprintf(out, "add table inet %s\ndelete table inet %s\n", table, table);
}

/* Return: @text, or NULL where memory ran out on the way. */
static char *text_of(FILE *out, char **text)
{
	bool failed = ferror(out);

	if (fclose(out) == 0 && !failed)
		return *text;
	free(*text);
	return NULL;
}

char *firewall_format(const struct firewall_setup *setup)
{
	char *text = NULL;
	bool has_names = firewall_can_name(setup->device);
	size_t size;
	FILE *out;

	for (size_t i = 0; i < setup->gateway_count; i++)
		has_names &= firewall_can_name(setup->gateways[i].device);
	out = has_names ? open_memstream(&text, &size) : NULL;
	if (!out)
		return NULL;
	write_removal(out, setup->table);
	fprintf(out, "table inet %s {\n", setup->table);
	write_guard(out, setup);
	write_marks(out, setup);
	write_barrier(out, setup);
	write_forward(out, setup);
	write_out(out, setup);
	write_services(out, setup);
	fprintf(out, "}\n");
	return text_of(out, &text);
}

char *firewall_format_removal(const char *table)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	write_removal(out, table);
	return text_of(out, &text);
}

const char *firewall_missing_module(const char *said)
{
	static const struct {
		const char *word, *module;
	} expressions[] = {
		{" fib ", "nft_fib_inet"},
		{"ct state", "nft_ct"},
		{"ct status", "nft_ct"},
		{"ct mark", "nft_ct"},
		{"maxseg", "nft_exthdr"},
		{"masquerade", "nft_masq"},
		{"dnat ip", "nft_nat"},
		{"type nat", "nft_chain_nat"},
	};

	if (!strstr(said, "No such file or directory") && !strstr(said, "not supported"))
		return NULL;
	for (size_t i = 0; i < sizeof(expressions) / sizeof(*expressions); i++)
		if (strstr(said, expressions[i].word))
			return expressions[i].module;
	return "nf_tables";
}

/* Remove "@word NUMBER" from @line wherever it stands: counters and handles differ in two listings of the same
 * table. */
static void cut_number(char *line, const char *word)
{
	char *at, *end;

	for (at = line; (at = strstr(at, word));) {
		end = at + strlen(word);
		if (!isdigit((unsigned char)*end)) {
			at = end;
			continue;
		}
		end += strspn(end, "0123456789");
		memmove(at, end, strlen(end) + 1);
	}
}

void firewall_normalise(char *listing)
{
	cut_number(listing, " packets ");
	cut_number(listing, "\tpackets "); /* of a counter with a name */
	cut_number(listing, " bytes ");
	cut_number(listing, " # handle ");
}
