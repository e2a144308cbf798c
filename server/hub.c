/* See hub.h. Happy path of a reload: everything new is made beside the old, sessions of who may not come in any more end, then
 * it is swapped. It fails before anything is swapped. */
#include "server/hub.h"

#include "common/base/text.h"
#include "common/tunnel/tls.h"
#include "server/session.h"

#include <errno.h>

const char *hub_client_name(const struct hub *hub, uint32_t client)
{
	return server_settings_find(&hub->settings, client)->name;
}

/* --- what is made of settings --- */

/* *ret: NULL where all listeners are cleartext. */
static int make_tls(SSL_CTX **ret, const struct server_settings *settings, struct err *err)
{
	if (settings->certificate_pem)
		return tls_server_context(ret, settings->certificate_pem, settings->certificate_key_pem, err);
	*ret = NULL;
	return 0;
}

static int make_admit(struct admit_table **ret, const struct server_settings *settings, struct err *err)
{
	return admit_table_open(ret, settings->clients, settings->client_count, &settings->target, err);
}

int hub_open(struct hub *hub, struct err *err)
{
	int rc = make_tls(&hub->tls, &hub->settings, err);

	return rc < 0 ? rc : make_admit(&hub->admit, &hub->settings, err);
}

/* --- reload --- */

/* Is the word that lets @client in still the same? */
static bool is_valid(const struct hub *hub, const struct server_settings *settings, uint32_t client, bool is_stock)
{
	const struct server_settings_client *before = server_settings_find(&hub->settings, client);
	const struct server_settings_client *now = server_settings_find(settings, client);

	if (!now)
		return false;
	return is_stock ? text_is_same(before->stock_path, now->stock_path) : text_is_same(before->token, now->token);
}

static void end_sessions(struct hub *hub, const struct server_settings *settings)
{
	struct session *session = hub->sessions;

	while (session) {
		struct session *next = session_next(session);
		const struct admit_grant *grant = session_grant(session);

		if (grant && !is_valid(hub, settings, grant->client, grant->is_stock))
			session_revoke(session);
		session = next;
	}
}

/* Only those that came by a token outlive their sessions. */
static void end_flows(struct hub *hub, const struct server_settings *settings)
{
	for (size_t i = 0; i < hub->settings.client_count; i++)
		if (!is_valid(hub, settings, hub->settings.clients[i].number, false))
			flow_table_end(&hub->flows, hub->settings.clients[i].number);
}

/* With the same certificate the old one stays: clients resume their TLS sessions by it. */
static int renew_tls(SSL_CTX **ret, struct hub *hub, const struct server_settings *settings, struct err *err)
{
	if (!text_is_same(hub->settings.certificate_pem, settings->certificate_pem) ||
		!text_is_same(hub->settings.certificate_key_pem, settings->certificate_key_pem))
		return make_tls(ret, settings, err);
	*ret = hub->tls;
	if (hub->tls)
		SSL_CTX_up_ref(hub->tls);
	return 0;
}

int hub_reload(struct hub *hub, struct server_settings *settings, struct err *err)
{
	struct admit_table *admit = NULL;
	SSL_CTX *tls = NULL;
	int rc;

	if (settings->listener_count != hub->settings.listener_count)
		return err_set(err, -EPROTO, "other listeners than at the start");
	rc = renew_tls(&tls, hub, settings, err);
	if (rc == 0)
		rc = make_admit(&admit, settings, err);
	if (rc < 0) {
		SSL_CTX_free(tls);
		return rc;
	}
	end_sessions(hub, settings);
	end_flows(hub, settings);
	SSL_CTX_free(hub->tls);
	admit_table_close(hub->admit);
	server_settings_done(&hub->settings);
	hub->tls = tls;
	hub->admit = admit;
	hub->settings = *settings;
	return 0;
}
