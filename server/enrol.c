/* See enrol.h. Happy path: the client waits, the key is nobody else's, the file of the client takes it. The worker may be
 * in a stranger's hand, so it is believed no more than it could say anyway: it names a client by its number, and only one
 * that waits; it brings 32 bytes, which nothing here reads as text; and the file that is written is the one in which the
 * client stands. */
#include "server/enrol.h"

#include "common/base/base64.h"
#include "common/base/log.h"
#include "common/base/place.h"
#include "server/client_file.h"

#include <errno.h>
#include <string.h>

/* A key that another peer has would make the whole configuration wrong. */
static const char *find_fault(const struct server_config *config, const struct server_client *client,
	const struct channel_enrol *enrol, int64_t now_s)
{
	static const uint8_t no_key[sizeof(enrol->public_key)] = {0};

	if (!server_client_waits(client))
		return "it waits for no machine";
	if (client->invited_until_s < now_s)
		return "its invitation has expired";
	if (enrol->from.sa.sa_family != AF_INET && enrol->from.sa.sa_family != AF_INET6)
		return "its address is none";
	if (memcmp(enrol->public_key, no_key, sizeof(no_key)) == 0)
		return "its public key is none";
	if (wg_config_find(&config->wireguard, enrol->public_key))
		return "its public key is another peer's";
	return NULL;
}

int enrol_take(const struct server_config *config, const struct client_list *clients, const struct channel_enrol *enrol,
	int64_t now_s)
{
	struct client_list_entry *entry = client_list_find(clients, enrol->client);
	const char *path = config->path, *fault;
	char from[ADDR_TEXT_MAX];
	struct err err = {""};
	int rc;

	if (!entry) /* a reload has taken it out */
		return 0;
	fault = find_fault(config, entry->client, enrol, now_s);
	place_split(&path, entry->client->line);
	if (!fault && path == config->path)
		fault = "its [Peer] is in a file that a person writes; expected PublicKey there";
	if (fault) {
		log_notice("session", "%s: does not join: %s", entry->client->name, fault);
		return 0;
	}
	addr_format_host(from, sizeof(from), &enrol->from);
	rc = client_file_enrol(path, entry->client->token, enrol->public_key, from, now_s, &err);
	if (rc == -EALREADY || rc == -ENOENT) /* the reload that follows from it is on its way */
		return 0;
	if (rc < 0) {
		log_error("session",
			"%s: its public key cannot be written down: %s; it is asked again when it comes again",
			entry->client->name, err.text);
		return rc;
	}
	log_notice("session", "%s: has joined, from %s", entry->client->name, from);
	return 1;
}
