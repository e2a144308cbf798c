/* The text of our nftables table (firewall.h).
 *
 * Each chain is written where something is to be in it, by one function. The marks differ from wg-quick's on purpose: TCP as
 * well, since the link is TCP, and nothing but our own mark is saved and brought back, so that others' connection marks
 * stay what they are.
 */
#include "common/net/firewall.h"

#include <ctype.h>
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

bool firewall_is_needed(const struct firewall_plan *plan)
{
	return plan->mark != 0 || plan->guarded_count > 0 || plan->gateway_count > 0 || plan->confines ||
	       plan->among_peers;
}

/* A quotation mark would end the name, a star would stand for more than one device. */
bool firewall_can_name(const char *device)
{
	return device[0] != '\0' && !strpbrk(device, "\"*\\");
}

static bool can_name_all(const struct firewall_plan *plan)
{
	for (size_t i = 0; i < plan->gateway_count; i++)
		if (!firewall_can_name(plan->gateways[i].device))
			return false;
	return firewall_can_name(plan->device);
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

/* A link-local address is not reached from another link anyway, and may rightly be that of another device too. */
static bool is_link_local(const struct addr *addr)
{
	return addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr->in6.sin6_addr);
}

/* Under a full tunnel the kernel takes packets for the device's addresses from every link: a neighbour in the café could tell
 * which address a connection inside the tunnel has, and get words into it (CVE-2019-14899). */
static void write_guard(FILE *out, const struct firewall_plan *plan)
{
	char text[ADDR_TEXT_MAX];

	if (plan->guarded_count == 0)
		return;
	fprintf(out, "\tchain guard {\n\t\ttype filter hook prerouting priority raw; policy accept;\n");
	for (size_t i = 0; i < plan->guarded_count; i++) {
		const struct prefix *own = &plan->guarded[i];

		if (!is_link_local(&own->addr))
			fprintf(out, "\t\tiifname != \"%s\" %s daddr %s fib saddr type != local drop\n", plan->device,
				family_of(own), addr_format_host(text, sizeof(text), &own->addr));
	}
	fprintf(out, "\t}\n");
}

static void write_marks(FILE *out, const struct firewall_plan *plan)
{
	if (plan->mark == 0)
		return;
	fprintf(out,
		"\tchain save {\n\t\ttype filter hook postrouting priority mangle; policy accept;\n"
		"\t\tmeta mark 0x%x meta l4proto { tcp, udp } ct mark set meta mark\n\t}\n",
		plan->mark);
	fprintf(out,
		"\tchain restore {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n"
		"\t\tct mark 0x%x meta l4proto { tcp, udp } meta mark set ct mark\n\t}\n",
		plan->mark);
}

static void write_clamp(FILE *out, const char *direction, const char *device)
{
	fprintf(out, "\t\t%s \"%s\" tcp flags syn tcp option maxseg size set rt mtu\n", direction, device);
}

/* From the tunnel into the LAN, and from the LAN's own hosts into the tunnel. Who goes out to the Internet by us has no
 * hosts there that may come in. */
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

/* Forwarding was off before us: what nobody asked for stays as it was. */
static void write_confinement(FILE *out, const struct firewall_plan *plan)
{
	const char *device = plan->device, *family = "";

	if (plan->confined_family != 0)
		family = plan->confined_family == AF_INET6 ? "meta nfproto ipv6 " : "meta nfproto ipv4 ";
	fprintf(out, "\t\tiifname \"%s\" ct state established,related accept\n", device);
	fprintf(out, "\t\toifname \"%s\" ct state established,related accept\n", device);
	if (plan->among_peers)
		fprintf(out, "\t\tiifname \"%s\" oifname \"%s\" accept\n", device, device);
	for (size_t i = 0; i < plan->gateway_count; i++)
		write_passage(out, device, &plan->gateways[i]);
	fprintf(out, "\t\t%siifname \"%s\" drop\n", family, device);
	fprintf(out, "\t\t%soifname \"%s\" drop\n", family, device);
}

static void write_forward(FILE *out, const struct firewall_plan *plan)
{
	if (plan->gateway_count == 0 && !plan->confines && !plan->among_peers)
		return;
	fprintf(out, "\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n");
	write_clamp(out, "iifname", plan->device);
	write_clamp(out, "oifname", plan->device);
	if (plan->confines)
		write_confinement(out, plan);
	fprintf(out, "\t}\n");
}

static bool is_masquerading(const struct firewall_plan *plan)
{
	for (size_t i = 0; i < plan->gateway_count; i++)
		if (plan->gateways[i].masquerades && plan->gateways[i].lan_count > 0)
			return true;
	return false;
}

static void write_masquerade(FILE *out, const char *device, const struct firewall_gateway *gateway)
{
	for (size_t i = 0; i < gateway->lan_count; i++) {
		fprintf(out, "\t\tiifname \"%s\" oifname \"%s\" ", device, gateway->device);
		write_match(out, &gateway->lans[i], "daddr");
		fprintf(out, " masquerade\n");
	}
}

static void write_out(FILE *out, const struct firewall_plan *plan)
{
	if (!is_masquerading(plan))
		return;
	fprintf(out, "\tchain out {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
	for (size_t i = 0; i < plan->gateway_count; i++)
		if (plan->gateways[i].masquerades)
			write_masquerade(out, plan->device, &plan->gateways[i]);
	fprintf(out, "\t}\n");
}

/* Adding what is there already is no error, deleting what is not would be one. */
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

char *firewall_format(const struct firewall_plan *plan)
{
	char *text = NULL;
	size_t size;
	FILE *out = can_name_all(plan) ? open_memstream(&text, &size) : NULL;

	if (!out)
		return NULL;
	write_removal(out, plan->table);
	fprintf(out, "table inet %s {\n", plan->table);
	write_guard(out, plan);
	write_marks(out, plan);
	write_forward(out, plan);
	write_out(out, plan);
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

/* Take " @word NUMBER" out of @line wherever it stands. */
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
	cut_number(listing, " bytes ");
	cut_number(listing, " # handle ");
}
