/* See profile.h.
 *
 * Theory of operation. A reload does not change a profile: the next one is made beside it. Users are counted,
 * because a connection that was opened with the former settings may last for days:
 *
 *    profile_open()       1: the client
 *    profile_keep()       + 1: a link, or an attempt
 *    profile_release()    - 1: the client at a reload, a link that goes on with the next one, an attempt that closes
 *
 * The last one frees it. Only what is known of the servers changes in place: the newest TLS session, and whether and
 * by which addresses a server was reached. Addresses come with the settings from a file of the supervisor's, so they
 * may be of an earlier run.
 *
 * Fails with one line, and nothing is left.
 */
#include "client/profile.h"

#include "common/base/require.h"
#include "common/tunnel/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Without CA and without pins this reads the system's store of certificates. */
static int open_tls(struct profile *profile, profile_on_session *on_session, struct err *err)
{
	const struct client_settings *settings = &profile->settings;
	struct tls_client_setup setup = {
		.ca_pem = settings->ca_pem,
		.certificate_pem = settings->client_certificate_pem,
		.key_pem = settings->client_key_pem,
		.has_pins = settings->pin_count > 0,
	};
	int rc = tls_client_context(&profile->tls, &setup, err);

	if (rc == 0)
		tls_client_on_session(profile->tls, on_session);
	return rc;
}

/* The remembered addresses get the port that is dialled. A text that cannot be read counts as empty: it came from a
 * file. */
static int open_servers(struct profile *profile, struct err *err)
{
	const struct client_settings *settings = &profile->settings;

	profile->servers = calloc(settings->server_count, sizeof(*profile->servers));
	if (!profile->servers)
		return err_system(err, -ENOMEM, "settings");
	for (size_t i = 0; i < settings->server_count; i++) {
		struct profile_server *server = &profile->servers[i];
		const char *text = settings->servers[i].addresses;
		int count = text ? address_list_parse(text, profile_port(profile, i), server->addresses) : 0;

		server->address_count = count > 0 ? (size_t)count : 0;
		server->is_known = count > 0 && !settings->proxy_host; /* else the addresses are the proxy's */
	}
	return 0;
}

/* After a failure profile_release() frees the parts that were made. */
int profile_open(struct profile **ret, int fd, profile_on_session *on_session, struct err *err)
{
	struct profile *profile = calloc(1, sizeof(*profile));
	struct client_settings settings;
	int rc = client_settings_read(fd, &settings, err);

	if (rc < 0 || !profile) {
		free(profile);
		return rc < 0 ? rc : err_system(err, -ENOMEM, "settings");
	}
	profile->users = 1;
	profile->settings = settings;
	rc = open_servers(profile, err);
	if (rc == 0)
		rc = open_tls(profile, on_session, err);
	if (rc < 0) {
		profile_release(profile);
		return rc;
	}
	*ret = profile;
	return 0;
}

/* By the name, as the order of servers may change. TLS sessions are not taken over: their servers were verified by
 * the former settings. */
void profile_inherit(struct profile *profile, const struct profile *before)
{
	for (size_t i = 0; i < profile->settings.server_count; i++)
		for (size_t j = 0; j < before->settings.server_count; j++)
			if (strcmp(profile->settings.servers[i].host, before->settings.servers[j].host) == 0)
				profile->servers[i].is_known |= before->servers[j].is_known;
}

/* --- users --- */

struct profile *profile_keep(struct profile *profile)
{
	profile->users++;
	return profile;
}

void profile_release(struct profile *profile)
{
	if (!profile)
		return;
	require(profile->users > 0);
	if (--profile->users > 0)
		return;
	for (size_t i = 0; profile->servers && i < profile->settings.server_count; i++)
		SSL_SESSION_free(profile->servers[i].resume);
	free(profile->servers);
	SSL_CTX_free(profile->tls);
	client_settings_done(&profile->settings);
	free(profile);
}

/* With a proxy, the proxy's name is looked up and dialled, and the server's name goes into CONNECT. */
const char *profile_host(const struct profile *profile, size_t index)
{
	const struct client_settings *settings = &profile->settings;

	return settings->proxy_host ? settings->proxy_host : settings->servers[index].host;
}

uint16_t profile_port(const struct profile *profile, size_t index)
{
	const struct client_settings *settings = &profile->settings;

	return settings->proxy_host ? settings->proxy_port : settings->servers[index].port;
}
