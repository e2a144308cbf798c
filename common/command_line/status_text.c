/* See status_text.h: a tunnel's JSON in the manner of `wg show`.
 *
 *    client: home                       write_state(), the tunnel
 *      warning: …                       write_warnings()
 *      server: …                        write_server(), write_link(): a client's
 *      transfer: …                      write_transfer(), write_dropped()
 *
 *      publish: tcp/80 to …             write_service(): a hub's, as are the claims
 *      claim: wg0 in container …        write_claim()
 *
 *      wireguard:                       write_wireguard(), the device
 *        peer: …                        write_peer()
 *
 *      sessions: 2                      write_sessions(): a hub's
 *
 * Absent fields are left out, and so are history and events, which are for the status page. A field that is not known here is shown as JSON, so that nothing vanishes when a
 * program is newer than this one.
 *
 * Missing objects are no error: jansson answers NULL for a key of NULL, and tunnel_ref_text() "" for that. So each
 * function prints what it finds, and needs no check of its own. Errors may contain words of a stranger, so they are
 * quoted: no control character reaches the terminal.
 */
#include "common/command_line/status_text.h"

#include "common/base/log.h"
#include "common/command_line/tunnel_ref.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* 0 for an absent field, so "if (number_of(…) > 0)" is "if it is there". */
static double number_of(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* "1.21 MiB", in the units of wg show; a double is exact to 8 PiB. */
static void write_bytes(FILE *out, double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;

	while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		unit++;
	}
	fprintf(out, unit ? "%.2f %s" : "%.0f %s", bytes, units[unit]);
}

/* "2 hours, 5 minutes ago", at most two units. */
static void write_ago(FILE *out, int64_t seconds)
{
	static const struct {
		int64_t seconds;
		const char *word;
	} units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
	int shown = 0;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && shown < 2; i++) {
		int64_t count = seconds / units[i].seconds;

		seconds %= units[i].seconds;
		if (count == 0)
			continue;
		fprintf(out, "%s%" PRId64 " %s%s", shown ? ", " : "", count, units[i].word, count == 1 ? "" : "s");
		shown++;
	}
	fputs(shown ? " ago" : "now", out);
}

/* "2026-11-21T02:45:00Z" as "2 minutes ago"; text that is no such time is printed unchanged. */
static void write_time_ago(FILE *out, const char *when, int64_t now_s)
{
	struct tm tm = {0};
	const char *end = strptime(when, "%Y-%m-%dT%H:%M:%SZ", &tm);

	if (end && !*end)
		write_ago(out, now_s > timegm(&tm) ? now_s - timegm(&tm) : 0);
	else
		fputs(when, out);
}

/* "  since: 2026-11-21T02:45:00Z (2 minutes ago)" */
static void write_since(FILE *out, const char *indent, const json_t *object, int64_t now_s)
{
	const char *since = tunnel_ref_text(object, "since");

	if (!*since)
		return;
	fprintf(out, "%ssince: %s (", indent, since);
	write_time_ago(out, since, now_s);
	fputs(")\n", out);
}

/* "client: home", then what the supervisor knows of itself. Restarts of the worker only if there were any. */
static void write_state(FILE *out, const json_t *object, int64_t now_s)
{
	fprintf(out, "%s: %s\n  state: %s\n", tunnel_ref_text(object, "role"), tunnel_ref_text(object, "name"),
		tunnel_ref_text(object, "state"));
	write_since(out, "  ", object, now_s);
	if (number_of(object, "pid") > 0)
		fprintf(out, "  process: %.0f\n", number_of(object, "pid"));
	if (*tunnel_ref_text(object, "sandbox_lacks"))
		fprintf(out, "  sandbox: seccomp and no capability, without %s; see the log\n",
			tunnel_ref_text(object, "sandbox_lacks"));
	if (number_of(object, "worker_restarts") > 0)
		fprintf(out, "  worker restarts: %.0f\n", number_of(object, "worker_restarts"));
	if (*tunnel_ref_text(object, "pin"))
		fprintf(out, "  pin: %s\n", tunnel_ref_text(object, "pin"));
}

/* How the server was verified: by CAs or by a pin. Without TLS it was not. */
static void write_tls(FILE *out, const json_t *server)
{
	const char *verified = tunnel_ref_text(server, "verified");

	if (strcmp(verified, "no") == 0) {
		fputs(", in the clear", out);
		return;
	}
	if (*tunnel_ref_text(server, "tls"))
		fprintf(out, ", %s", tunnel_ref_text(server, "tls"));
	if (*verified)
		fprintf(out, ", verified by %s", strcmp(verified, "system") == 0 ? "the system's CAs" : verified);
}

/* A client's server; a hub has none. */
static void write_server(FILE *out, const json_t *server)
{
	if (!server)
		return;
	fprintf(out, "  server: %s", tunnel_ref_text(server, "url"));
	if (*tunnel_ref_text(server, "address"))
		fprintf(out, " (%s)", tunnel_ref_text(server, "address"));
	write_tls(out, server);
	fputc('\n', out);
}

/* The error quotes the server, which may be a stranger. */
static void write_link(FILE *out, const json_t *link)
{
	const char *error = tunnel_ref_text(link, "last_error");
	char quoted[1536];

	if (!link)
		return;
	if (number_of(link, "rtt_ms") > 0)
		fprintf(out, "  round trip: %.1f ms\n", number_of(link, "rtt_ms"));
	fprintf(out, "  connects: %.0f\n", number_of(link, "connects"));
	if (*error)
		fprintf(out, "  last error: %s (%s)\n", log_quote(quoted, sizeof(quoted), error, strlen(error)),
			tunnel_ref_text(link, "last_error_at"));
}

/* The counters of the tunnel (no @indent), or of one session of a hub. */
static void write_transfer(FILE *out, const char *indent, const json_t *object)
{
	const json_t *bytes = json_object_get(object, "bytes"), *datagrams = json_object_get(object, "datagrams");

	if (bytes) {
		fprintf(out, "%stransfer: ", indent);
		write_bytes(out, number_of(bytes, "received"));
		fputs(" received, ", out);
		write_bytes(out, number_of(bytes, "sent"));
		fputs(" sent\n", out);
	}
	if (datagrams)
		fprintf(out, "%sdatagrams: %.0f received, %.0f sent\n", indent, number_of(datagrams, "received"),
			number_of(datagrams, "sent"));
}

/* Only the reasons that occurred: there are more than a dozen, and most stay 0. */
static void write_dropped(FILE *out, const char *indent, const json_t *object)
{
	json_t *dropped = json_object_get(object, "dropped"), *count;
	const char *reason;
	bool any = false;

	json_object_foreach (dropped, reason, count) {
		if (json_number_value(count) <= 0)
			continue;
		fprintf(out, "%s%s%.0f %s", any ? "" : indent, any ? ", " : "dropped: ", json_number_value(count),
			reason);
		any = true;
	}
	if (any)
		fputc('\n', out);
}

/* One client on a hub; a client with two connections has two sessions. */
static void write_session(FILE *out, const json_t *session, int64_t now_s)
{
	fprintf(out, "\n  session: %s\n", tunnel_ref_text(session, "client"));
	fprintf(out, "    from: %s%s\n", tunnel_ref_text(session, "from"),
		json_is_true(json_object_get(session, "stock")) ? ", stock wstunnel" : "");
	write_since(out, "    ", session, now_s);
	if (number_of(session, "rtt_ms") > 0)
		fprintf(out, "    round trip: %.1f ms\n", number_of(session, "rtt_ms"));
	write_transfer(out, "    ", session);
	write_dropped(out, "    ", session);
}

/* Each connection of a client. An empty list is shown as 0: the hub runs, and nobody is there. */
static void write_sessions(FILE *out, const json_t *sessions, int64_t now_s)
{
	size_t i;
	json_t *session;

	if (!sessions)
		return;
	fprintf(out, "\n  sessions: %zu\n", json_array_size(sessions));
	json_array_foreach (sessions, i, session)
		write_session(out, session, now_s);
}

/* A published service: "tcp/80 to 192.168.1.30:8080", or with its server names in front. */
static void write_service(FILE *out, const json_t *service)
{
	const json_t *connections = json_object_get(service, "connections");
	const char *error = tunnel_ref_text(service, "last_error");
	char quoted[1536];
	json_t *name;
	size_t i;

	fprintf(out, "\n  publish: %s", tunnel_ref_text(service, "port"));
	json_array_foreach (json_object_get(service, "server_names"), i, name)
		fprintf(out, "%s%s", i > 0 ? ", " : "", json_string_value(name));
	fprintf(out, " to %s\n    connections: %.0f now, %.0f in all\n", tunnel_ref_text(service, "to"),
		number_of(connections, "now"), number_of(connections, "total"));
	write_transfer(out, "    ", service);
	if (*error)
		fprintf(out, "    last error: %s\n", log_quote(quoted, sizeof(quoted), error, strlen(error)));
}

static void write_publish(FILE *out, const json_t *publish)
{
	json_t *service;
	size_t i;

	json_array_foreach (publish, i, service)
		write_service(out, service);
}

/* --- the device, in wg show's own words --- */

/* "(none)" as wg show has it: such a peer can send nothing through the tunnel, which an operator wants to see. */
static void write_allowed_ips(FILE *out, const json_t *list)
{
	size_t i;
	json_t *prefix;

	fputs("      allowed ips: ", out);
	json_array_foreach (list, i, prefix)
		fprintf(out, "%s%s", i > 0 ? ", " : "", json_string_value(prefix));
	fputs(json_array_size(list) > 0 ? "\n" : "(none)\n", out);
}

/* As wg show: no line for a peer that has neither sent nor received. */
static void write_peer_transfer(FILE *out, const json_t *peer)
{
	double received = number_of(peer, "received_bytes"), sent = number_of(peer, "sent_bytes");

	if (received == 0 && sent == 0)
		return;
	fputs("      transfer: ", out);
	write_bytes(out, received);
	fputs(" received, ", out);
	write_bytes(out, sent);
	fputs(" sent\n", out);
}

/* Key, name, endpoint, … in the order of wg show. */
static void write_peer(FILE *out, const json_t *peer, int64_t now_s)
{
	fprintf(out, "\n    peer: %s%s\n", tunnel_ref_text(peer, "public_key"),
		json_is_false(json_object_get(peer, "in_file")) ? " (not in the file)" : "");
	if (*tunnel_ref_text(peer, "name"))
		fprintf(out, "      name: %s\n", tunnel_ref_text(peer, "name"));
	if (*tunnel_ref_text(peer, "endpoint"))
		fprintf(out, "      endpoint: %s\n", tunnel_ref_text(peer, "endpoint"));
	write_allowed_ips(out, json_object_get(peer, "allowed_ips"));
	if (*tunnel_ref_text(peer, "latest_handshake")) {
		fputs("      latest handshake: ", out);
		write_time_ago(out, tunnel_ref_text(peer, "latest_handshake"), now_s);
		fputc('\n', out);
	}
	write_peer_transfer(out, peer);
	if (number_of(peer, "persistent_keepalive_s") > 0)
		fprintf(out, "      persistent keepalive: every %.0f second%s\n",
			number_of(peer, "persistent_keepalive_s"),
			number_of(peer, "persistent_keepalive_s") == 1 ? "" : "s");
}

/* Not wg's: the policy routing rules that we have made, with the numbers that `ip rule` shows. */
static void write_rules(FILE *out, const json_t *rules)
{
	size_t i;
	json_t *rule;

	if (json_array_size(rules) == 0)
		return;
	fputs("    rules: ", out);
	json_array_foreach (rules, i, rule)
		fprintf(out, "%s%s %.0f: table %.0f", i > 0 ? ", " : "", tunnel_ref_text(rule, "family"),
			number_of(rule, "priority"), number_of(rule, "table"));
	fputc('\n', out);
}

/* A device that another program has deleted has only its name left. */
static void write_wireguard(FILE *out, const json_t *wireguard, int64_t now_s)
{
	size_t i;
	json_t *peer;

	if (!wireguard)
		return;
	fprintf(out, "\n  wireguard:\n    interface: %s%s\n", tunnel_ref_text(wireguard, "interface"),
		json_is_true(json_object_get(wireguard, "deleted")) ? " (deleted by another program)" : "");
	if (*tunnel_ref_text(wireguard, "public_key"))
		fprintf(out, "    public key: %s\n", tunnel_ref_text(wireguard, "public_key"));
	if (number_of(wireguard, "listen_port") > 0)
		fprintf(out, "    listening port: %.0f\n", number_of(wireguard, "listen_port"));
	if (number_of(wireguard, "fwmark") > 0)
		fprintf(out, "    fwmark: 0x%x\n", (unsigned)number_of(wireguard, "fwmark"));
	if (number_of(wireguard, "mtu") > 0)
		fprintf(out, "    mtu: %.0f\n", number_of(wireguard, "mtu"));
	write_rules(out, json_object_get(wireguard, "rules"));
	if (json_is_true(json_object_get(wireguard, "barrier")))
		fputs("    barrier: another program takes the rules away; what would leave past the tunnel is "
		      "dropped\n",
			out);
	json_array_foreach (json_object_get(wireguard, "peers"), i, peer)
		write_peer(out, peer, now_s);
}

/* The device of another program, the networks that are to stay there, and whether they do. */
static void write_claim(FILE *out, const json_t *claim, int64_t now_s)
{
	const char *container = tunnel_ref_text(claim, "container"), *path = tunnel_ref_text(claim, "namespace");
	const char *reason = tunnel_ref_text(claim, "reason"), *last = tunnel_ref_text(claim, "last_at");
	char quoted[1536];
	json_t *prefix;
	size_t i;

	fprintf(out, "\n  claim: %s%s%s\n    peer: %s\n    allowed ips: ", tunnel_ref_text(claim, "interface"),
		*container ? " in container " : *path ? " in " : "", *container ? container : path,
		tunnel_ref_text(claim, "public_key"));
	json_array_foreach (json_object_get(claim, "allowed_ips"), i, prefix)
		fprintf(out, "%s%s", i > 0 ? ", " : "", json_string_value(prefix));
	fprintf(out, "\n    state: %s%s%s\n", tunnel_ref_text(claim, "state"), *reason ? ": " : "",
		log_quote(quoted, sizeof(quoted), reason, strlen(reason)));
	write_since(out, "    ", claim, now_s);
	if (!*last)
		return;
	fprintf(out, "    put right: %.0f times, the last one ", number_of(claim, "put_right"));
	write_time_ago(out, last, now_s);
	fputc('\n', out);
}

/* Fields that no function here knows, one a line. */
static void write_unknown(FILE *out, const json_t *object)
{
	static const char *const known[] = {"name", "role", "state", "since", "pid", "worker_pid", "worker_restarts",
		"sandbox_lacks", "pin", "server", "link", "sessions", "datagrams", "bytes", "queue", "dropped",
		"wireguard", "warnings", "publish", "claims", "history", "events", NULL};
	const char *key;
	json_t *value, *all = json_copy((json_t *)(uintptr_t)object);

	for (size_t i = 0; known[i]; i++)
		json_object_del(all, known[i]);
	json_object_foreach (all, key, value) {
		char *text = json_dumps(value, JSON_ENCODE_ANY);

		fprintf(out, "  %s: %s\n", key, text ? text : "");
		free(text);
	}
	json_decref(all);
}

static void write_warnings(FILE *out, const json_t *warnings)
{
	json_t *warning;
	size_t i;

	json_array_foreach (warnings, i, warning)
		fprintf(out, "  warning: %s\n", json_string_value(warning));
}

/* Order: the tunnel, what it publishes, the device with its peers, the sessions: the longest list last. */
void status_text_write(FILE *out, const json_t *object, int64_t now_s)
{
	const json_t *queue = json_object_get(object, "queue");
	json_t *claim;
	size_t i;

	write_state(out, object, now_s);
	write_warnings(out, json_object_get(object, "warnings"));
	write_server(out, json_object_get(object, "server"));
	write_link(out, json_object_get(object, "link"));
	write_transfer(out, "  ", object);
	if (queue)
		fprintf(out, "  queue: %.1f ms, %.0f datagrams\n", number_of(queue, "delay_ms"),
			number_of(queue, "depth"));
	write_dropped(out, "  ", object);
	write_unknown(out, object);
	write_publish(out, json_object_get(object, "publish"));
	json_array_foreach (json_object_get(object, "claims"), i, claim)
		write_claim(out, claim, now_s);
	write_wireguard(out, json_object_get(object, "wireguard"), now_s);
	write_sessions(out, json_object_get(object, "sessions"), now_s);
}
