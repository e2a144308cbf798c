/* `towpath-server list`. Happy path: the clients of the files, each with what a running hub says of its sessions. */
#include "server/add.h"

#include "common/base/base64.h"
#include "common/base/clock.h"
#include "server/own_hub.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIME_TEXT_MAX 24

static json_t *format_time(int64_t wall_s)
{
	char text[TIME_TEXT_MAX];

	return wall_s ? json_string(clock_format_utc(text, sizeof(text), wall_s)) : json_null();
}

static const char *state_of(const struct server_client *client)
{
	if (!server_client_waits(client))
		return "joined";
	return client->invited_until_s < clock_wall_s() ? "expired" : "invited";
}

/* Its addresses lie in the hub's network, the others are the LANs behind it. */
static json_t *list_prefixes(const struct server_config *config, const struct server_client *client, bool is_lan)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < client->prefix_count; i++) {
		const struct prefix *prefix = &client->prefixes[i];
		bool is_own = false;

		for (size_t j = 0; j < config->wireguard.interface.address_count; j++) {
			struct prefix network = prefix_network(&config->wireguard.interface.addresses[j].prefix);

			is_own |= prefix_contains(&network, prefix);
		}
		if (is_own == is_lan)
			continue;
		if (is_own)
			addr_format_host(text, sizeof(text), &prefix->addr);
		else
			prefix_format(text, sizeof(text), prefix);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

/* What a running hub tells of its clients, to be found by name or public key. */
struct news {
	json_t *sessions, *peers;
};

/* Of several the first. The caller lets it go. */
static json_t *find_by(const json_t *list, const char *key)
{
	json_t *found = json_object(), *one;
	size_t i;

	json_array_foreach (list, i, one)
		if (!json_object_get(found, tunnel_ref_text(one, key)))
			json_object_set(found, tunnel_ref_text(one, key), one);
	return found;
}

/* A client that is in is seen now; one that was in has had a handshake since the hub was started, or else it has at least
 * joined by the tunnel. The key of an app was made here: that says nothing of the telephone. */
static json_t *describe_seen(const struct server_client *client, const json_t *session, const json_t *peer)
{
	const char *handshake = tunnel_ref_text(peer, "latest_handshake");

	if (session)
		return format_time(clock_wall_s());
	if (*handshake)
		return json_string(handshake);
	return client->joined_from ? format_time(client->joined_s) : json_null();
}

static json_t *describe(const struct own_hub *hub, const struct server_client *client, const struct news *news)
{
	char key[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1] = "";
	const json_t *session = json_object_get(news->sessions, client->name), *peer;
	const char *from = session ? tunnel_ref_text(session, "from") : client->joined_from;
	json_t *object = json_pack("{s:s, s:o, s:o, s:s, s:o, s:o}", "name", client->name, "addresses",
		list_prefixes(&hub->config, client, false), "lan", list_prefixes(&hub->config, client, true), "state",
		state_of(client), "invited_at", format_time(client->invited_s), "joined_at",
		format_time(client->joined_s));

	if (client->has_public_key)
		base64_encode(key, sizeof(key), client->public_key, sizeof(client->public_key), BASE64_STANDARD);
	peer = json_object_get(news->peers, key);
	json_object_set_new(object, "seen_at", describe_seen(client, session, peer));
	if (!from && *tunnel_ref_text(peer, "latest_handshake"))
		from = tunnel_ref_text(peer, "endpoint");
	json_object_set_new(object, "from", from ? json_string(from) : json_null());
	return object;
}

/* "10.10.0.2 fd10::2", "-" where there is nothing. */
static const char *join(char *buf, size_t size, const json_t *list)
{
	size_t i, len = 0;
	const json_t *at;

	snprintf(buf, size, "-");
	json_array_foreach (list, i, at)
		if (len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", i > 0 ? " " : "", json_string_value(at));
	return buf;
}

static void print_line(FILE *out, const json_t *client)
{
	char addresses[256], lans[256];
	const char *from = tunnel_ref_text(client, "from");

	fprintf(out, "%-20s %-8s %-40s %-24s %s%s%s\n", tunnel_ref_text(client, "name"),
		tunnel_ref_text(client, "state"),
		join(addresses, sizeof(addresses), json_object_get(client, "addresses")),
		join(lans, sizeof(lans), json_object_get(client, "lan")), tunnel_ref_text(client, "joined_at"),
		*from ? " from " : "", from);
}

/* A client that is in and has another invitation stands in two sections, NAME and NAME+: it is listed once. */
static bool is_second(const struct server_client *client)
{
	size_t len = strlen(client->name);

	return len > 0 && client->name[len - 1] == '+' && client->invited_s;
}

/* On a terminal by a pager, as systemctl does; "less" leaves at once what fits, and need not be installed. Return: false:
 * it could not be printed. */
static bool print_list(const json_t *list)
{
	const char *pager = getenv("PAGER");
	bool is_paged = isatty(STDOUT_FILENO) && !(pager && (!*pager || strcmp(pager, "cat") == 0));
	FILE *out = is_paged ? popen(pager ? pager : "less -FRSX 2>/dev/null || cat", "w") : stdout;
	const json_t *client;
	size_t i;

	if (!out)
		return false;
	signal(SIGPIPE, SIG_IGN); /* a pager that was left */
	fprintf(out, "%-20s %-8s %-40s %-24s %s\n", "NAME", "STATE", "ADDRESSES", "LAN", "JOINED");
	json_array_foreach (list, i, client)
		print_line(out, client);
	return is_paged ? pclose(out) >= 0 : fflush(out) == 0;
}

int server_list(const struct options *options)
{
	json_t *list = json_array(), *status = NULL;
	struct news news;
	bool is_printed = true;
	struct own_hub hub;
	int code = own_hub_open(&hub, options, false);
	size_t i;

	if (code >= 0) {
		json_decref(list);
		return code;
	}
	if (tunnel_ref_ask(&hub.tunnel, "status", &status, NULL) < 0)
		status = NULL;
	news.sessions = find_by(json_object_get(status, "sessions"), "client");
	news.peers = find_by(json_object_get(json_object_get(status, "wireguard"), "peers"), "public_key");
	for (i = 0; i < hub.config.client_count; i++)
		if (!is_second(&hub.config.clients[i]))
			json_array_append_new(list, describe(&hub, &hub.config.clients[i], &news));
	if (options->json) {
		json_dumpf(list, stdout, JSON_INDENT(1));
		is_printed = putchar('\n') != EOF && fflush(stdout) == 0;
	} else {
		is_printed = print_list(list);
	}
	json_decref(news.sessions);
	json_decref(news.peers);
	json_decref(status);
	json_decref(list);
	own_hub_close(&hub);
	return is_printed ? EXIT_DONE : EXIT_FAILED;
}
