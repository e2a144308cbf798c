/* See status_metrics.h.
 *
 * One function for each part of the status, one call for each family of metrics: its samples must stand together. A
 * family is a row (struct family) with the path of its value in an object: "bytes.sent". Names follow Prometheus' own
 * rules, which `promtool check metrics` checks: base units, _total for what only grows.
 *
 * The two formats differ in three points: in OpenMetrics a counter's # lines lack _total, information has a type of its
 * own, and # EOF ends the text.
 */
#include "common/status/status_metrics.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LABELS_MAX 1024

enum family_type { GAUGE, COUNTER, INFO };

struct writer {
	FILE *out;
	bool is_openmetrics;
};

struct family {
	const char *name; /* without towpath_, and of a counter without _total */
	enum family_type type;
	const char *help;
	const char *path; /* of the value, in the object of the sample */
	double scale;	  /* 0: a time in UTC, as seconds since 1970 */
	bool is_unknown_at_0;
};

/* The labels of one sample; @buf holds "" or `a="b",c="d"`. */
typedef const char *labels_fn(char buf[LABELS_MAX], const json_t *object);

/* --- text --- */

/* Both formats escape these three in a label. @used: of @buf, which a label that does not fit leaves as it was. */
static size_t add_label(char buf[LABELS_MAX], size_t used, const char *name, const char *value)
{
	size_t at = used;

	at += (size_t)snprintf(buf + at, LABELS_MAX - at, "%s%s=\"", used ? "," : "", name);
	for (; *value && at + 4 < LABELS_MAX; value++) {
		if (strchr("\\\"\n", *value))
			buf[at++] = '\\';
		buf[at++] = *value;
		if (*value == '\n')
			buf[at - 1] = 'n';
	}
	if (*value || at + 2 > LABELS_MAX) {
		buf[used] = '\0';
		return used;
	}
	buf[at++] = '"';
	buf[at] = '\0';
	return at;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void write_head(const struct writer *writer, const struct family *family)
{
	static const char *const types[] = {[GAUGE] = "gauge", [COUNTER] = "counter", [INFO] = "info"};
	const char *suffix = family->type == COUNTER ? "_total" : family->type == INFO ? "_info" : "";
	const char *type = types[family->type];

	if (writer->is_openmetrics)
		suffix = "";
	else if (family->type == INFO)
		type = "gauge";
	fprintf(writer->out, "# HELP towpath_%s%s %s\n# TYPE towpath_%s%s %s\n", family->name, suffix, family->help,
		family->name, suffix, type);
}

static void write_sample(const struct writer *writer, const struct family *family, const char *labels, double value)
{
	const char *suffix = family->type == COUNTER ? "_total" : family->type == INFO ? "_info" : "";

	fprintf(writer->out, "towpath_%s%s%s%s%s %.*g\n", family->name, suffix, *labels ? "{" : "", labels,
		*labels ? "}" : "", value == (double)(int64_t)value ? 17 : 9, value);
}

/* --- values --- */

/* Return: false: @object has no such value, or it is null. */
static bool find_value(const struct family *family, const json_t *object, double *ret)
{
	char key[32];
	const char *path = family->path;
	struct tm tm = {0};

	for (const char *dot; object && (dot = strchr(path, '.')); path = dot + 1) {
		snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
		object = json_object_get(object, key);
	}
	object = json_object_get(object, path);
	if (family->scale != 0) {
		*ret = json_number_value(object) * family->scale;
		return json_is_number(object) && (*ret != 0 || !family->is_unknown_at_0);
	}
	if (!json_is_string(object) || !strptime(json_string_value(object), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return false;
	*ret = (double)timegm(&tm);
	return true;
}

/* One family with a sample for each of @objects that has the value; without any there is no family. */
static void write_family(const struct writer *writer, const struct family *family, json_t *const *objects, size_t count,
	labels_fn *labels)
{
	bool has_head = false;
	char buf[LABELS_MAX];
	double value;

	for (size_t i = 0; i < count; i++) {
		if (!find_value(family, objects[i], &value))
			continue;
		if (!has_head)
			write_head(writer, family);
		has_head = true;
		write_sample(writer, family, labels(buf, objects[i]), value);
	}
}

/* All of @families for each element of @list. */
static void write_list(
	const struct writer *writer, const struct family *families, size_t count, const json_t *list, labels_fn *labels)
{
	size_t object_count = json_array_size(list);
	json_t **objects = calloc(object_count + 1, sizeof(json_t *));

	for (size_t i = 0; objects && i < object_count; i++)
		objects[i] = json_array_get(list, i);
	for (size_t i = 0; objects && i < count; i++)
		write_family(writer, &families[i], objects, object_count, labels);
	free(objects);
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* --- the tunnel --- */

static const char *no_labels(char buf[LABELS_MAX], const json_t *object)
{
	(void)object;
	return strcpy(buf, "");
}

static void write_tunnel(const struct writer *writer, json_t *status)
{
	static const struct family info = {"build", INFO, "The tunnel, and the version of the program."},
				   up = {"up", GAUGE, "1 where the state is up, else 0."};
	static const struct family families[] = {
		{"state_since_timestamp_seconds", GAUGE, "When the tunnel came into its state.", "since", 0},
		{"worker_restarts", COUNTER, "How often the worker was started again.", "worker_restarts", 1},
		{"sent_datagrams", COUNTER, "Datagrams sent to the other end.", "datagrams.sent", 1},
		{"received_datagrams", COUNTER, "Datagrams received from the other end.", "datagrams.received", 1},
		{"sent_bytes", COUNTER, "Bytes of datagrams sent to the other end.", "bytes.sent", 1},
		{"received_bytes", COUNTER, "Bytes of datagrams received from the other end.", "bytes.received", 1},
		{"queue_delay_seconds", GAUGE, "How long datagrams wait in the queue.", "queue.delay_ms", 1e-3},
		{"queue_datagrams", GAUGE, "Datagrams in the queue.", "queue.depth", 1},
		{"link_rtt_seconds", GAUGE, "Round trip to the hub.", "link.rtt_ms", 1e-3, true},
		{"link_connects", COUNTER, "How often the link came up.", "link.connects", 1},
	};
	char labels[LABELS_MAX];
	size_t used;

	used = add_label(labels, 0, "name", text_of(status, "name"));
	used = add_label(labels, used, "role", text_of(status, "role"));
	add_label(labels, used, "version", TOWPATH_VERSION);
	write_head(writer, &info);
	write_sample(writer, &info, labels, 1);
	write_head(writer, &up);
	write_sample(writer, &up, "", strcmp(text_of(status, "state"), "up") == 0);
	for (size_t i = 0; i < COUNT_OF(families); i++)
		write_family(writer, &families[i], &status, 1, no_labels);
}

/* Every reason, also at 0: a counter that appears with its first event hides that event. */
static void write_dropped(const struct writer *writer, const json_t *status)
{
	static const struct family family = {
		"dropped_datagrams", COUNTER, "Datagrams that were not delivered, by reason; see towpath-client(8)."};
	json_t *dropped = json_object_get(status, "dropped"), *count;
	char labels[LABELS_MAX];
	const char *reason;

	if (json_object_size(dropped) > 0)
		write_head(writer, &family);
	json_object_foreach (dropped, reason, count) {
		add_label(labels, 0, "reason", reason);
		write_sample(writer, &family, labels, json_number_value(count));
	}
}

/* --- lists --- */

/* Behind a proxy that tells no port two sessions of a client have the same labels but for the last one. */
static const char *session_labels(char buf[LABELS_MAX], const json_t *session)
{
	size_t used = add_label(buf, 0, "client", text_of(session, "client"));
	json_int_t same = json_integer_value(json_object_get(session, "same"));
	char number[24];

	used = add_label(buf, used, "from", text_of(session, "from"));
	snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, same);
	if (same > 0)
		add_label(buf, used, "session", number);
	return buf;
}

/* Number the sessions whose client and place are those of an earlier one, in a field "same". */
static json_t *number_sessions(const json_t *sessions)
{
	json_t *numbered = json_deep_copy(sessions), *seen = json_object(), *session;
	char labels[LABELS_MAX];
	size_t i;

	json_array_foreach (numbered, i, session) {
		json_int_t same = json_integer_value(json_object_get(seen, session_labels(labels, session)));

		json_object_set_new(seen, labels, json_integer(same + 1));
		json_object_set_new(session, "same", json_integer(same));
	}
	json_decref(seen);
	return numbered;
}

static void write_sessions(const struct writer *writer, const json_t *status)
{
	static const struct family count = {"sessions", GAUGE, "Clients' connections to this hub."};
	static const struct family families[] = {
		{"session_since_timestamp_seconds", GAUGE, "When the client came in.", "since", 0},
		{"session_rtt_seconds", GAUGE, "Round trip to the client.", "rtt_ms", 1e-3, true},
		{"session_sent_bytes", COUNTER, "Bytes of datagrams sent to the client.", "bytes.sent", 1},
		{"session_received_bytes", COUNTER, "Bytes of datagrams received from the client.", "bytes.received",
			1},
	};
	const json_t *sessions = json_object_get(status, "sessions");
	json_t *numbered;

	if (!sessions)
		return;
	numbered = number_sessions(sessions);
	write_head(writer, &count);
	write_sample(writer, &count, "", (double)json_array_size(sessions));
	write_list(writer, families, COUNT_OF(families), numbered, session_labels);
	json_decref(numbered);
}

static const char *peer_labels(char buf[LABELS_MAX], const json_t *peer)
{
	size_t used = add_label(buf, 0, "public_key", text_of(peer, "public_key"));

	if (*text_of(peer, "name"))
		add_label(buf, used, "name", text_of(peer, "name"));
	return buf;
}

static void write_peers(const struct writer *writer, const json_t *status)
{
	static const struct family families[] = {
		{"peer_latest_handshake_timestamp_seconds", GAUGE, "When WireGuard last shook hands with the peer.",
			"latest_handshake", 0},
		{"peer_sent_bytes", COUNTER, "Bytes sent to the peer, as WireGuard counts.", "sent_bytes", 1},
		{"peer_received_bytes", COUNTER, "Bytes received from the peer, as WireGuard counts.", "received_bytes",
			1},
	};

	write_list(writer, families, COUNT_OF(families), json_object_get(json_object_get(status, "wireguard"), "peers"),
		peer_labels);
}

/* By port, or by the first of the names: no two have the same. */
static const char *service_labels(char buf[LABELS_MAX], const json_t *service)
{
	const char *name = json_string_value(json_array_get(json_object_get(service, "server_names"), 0));
	size_t used = add_label(buf, 0, "service", name ? name : text_of(service, "port"));

	add_label(buf, used, "to", text_of(service, "to"));
	return buf;
}

static void write_services(const struct writer *writer, const json_t *status)
{
	static const struct family families[] = {
		{"publish_open_connections", GAUGE, "Strangers' connections that are open.", "connections.now", 1},
		{"publish_connections", COUNTER, "Strangers' connections since the start.", "connections.total", 1},
		{"publish_sent_bytes", COUNTER, "Bytes sent to the home host.", "bytes.sent", 1},
		{"publish_received_bytes", COUNTER, "Bytes received from the home host.", "bytes.received", 1},
	};

	write_list(writer, families, COUNT_OF(families), json_object_get(status, "publish"), service_labels);
}

static const char *claim_labels(char buf[LABELS_MAX], const json_t *claim)
{
	size_t used = add_label(buf, 0, "interface", text_of(claim, "interface"));

	const char *prefix = json_string_value(json_array_get(json_object_get(claim, "allowed_ips"), 0));

	used = add_label(buf, used, "public_key", text_of(claim, "public_key"));
	used = add_label(buf, used, "prefix", prefix ? prefix : "");
	if (*text_of(claim, "container"))
		add_label(buf, used, "container", text_of(claim, "container"));
	else if (*text_of(claim, "namespace"))
		add_label(buf, used, "namespace", text_of(claim, "namespace"));
	return buf;
}

static void write_claims(const struct writer *writer, const json_t *status)
{
	static const struct family is_true = {"claim_true", GAUGE, "1 where the claim is true, else 0."};
	static const struct family put_right = {
		"claim_put_right", COUNTER, "How often the claim was put right.", "put_right", 1};
	const json_t *claims = json_object_get(status, "claims");
	char labels[LABELS_MAX];
	json_t *claim;
	size_t i;

	if (json_array_size(claims) > 0)
		write_head(writer, &is_true);
	json_array_foreach (claims, i, claim)
		write_sample(
			writer, &is_true, claim_labels(labels, claim), strcmp(text_of(claim, "state"), "true") == 0);
	write_list(writer, &put_right, 1, claims, claim_labels);
}

char *status_metrics_format(const json_t *status, bool is_openmetrics)
{
	char *text = NULL;
	size_t len = 0;
	struct writer writer = {open_memstream(&text, &len), is_openmetrics};

	if (!writer.out)
		return NULL;
	write_tunnel(&writer, (json_t *)(uintptr_t)status);
	write_dropped(&writer, status);
	write_sessions(&writer, status);
	write_peers(&writer, status);
	write_services(&writer, status);
	write_claims(&writer, status);
	if (is_openmetrics)
		fputs("# EOF\n", writer.out);
	if (fclose(writer.out) == 0)
		return text;
	free(text);
	return NULL;
}
