/* See reload.h.
 *
 * Happy path: everything new is made beside the old; sessions of clients that may not come in any more are revoked,
 * and all that a proxy has brought which is not trusted any more; then the clients' flows, which have no session now,
 * are closed; then new takes the place of old. It fails before anything is changed.
 */
#include "server/reload.h"

#include "common/base/text.h"
#include "server/passage.h"
#include "server/session.h"

#include <errno.h>
#include <string.h>

/* True if another machine has used the invitation by which this one came in. */
static bool is_outrun(const struct server_settings *settings, const struct admit_grant *grant)
{
	const struct server_settings_client *now = server_settings_find(settings, grant->client);

	return now && now->has_joined && grant->has_public_key &&
	       memcmp(now->joined_key, grant->public_key, sizeof(now->joined_key)) != 0;
}

/* True if the stock path or token that let @client in is still valid. */
static bool is_admitted(const struct hub *hub, const struct server_settings *settings, uint32_t client, bool is_stock)
{
	const struct server_settings_client *before = server_settings_find(&hub->settings, client);
	const struct server_settings_client *now = server_settings_find(settings, client);

	if (!before || !now)
		return false;
	return is_stock ? text_is_same(before->stock_path, now->stock_path) : text_is_same(before->token, now->token);
}

static void revoke_clients(struct hub *hub, const struct server_settings *settings)
{
	for (struct session_node *node = hub->sessions.first, *next; node; node = next) {
		const struct admit_grant *grant = session_grant(node->session);

		next = node->next;
		if (session_lost_proxy(node->session, settings))
			session_revoke(node->session, "its proxy is none of TrustedProxies any more");
		else if (grant && !is_admitted(hub, settings, grant->client, grant->is_stock))
			session_revoke(node->session, "it may not come in any more");
		else if (grant && is_outrun(settings, grant))
			session_revoke(node->session, "another machine has used its invitation");
	}
	/* Only flows of clients that came by a token outlive their sessions. */
	for (size_t i = 0; i < hub->settings.client_count; i++)
		if (!is_admitted(hub, settings, hub->settings.clients[i].number, false))
			flow_table_end_lonely(&hub->flows, hub->settings.clients[i].number);
}

/* With the same certificate the old context stays, because clients resume their TLS sessions by its keys. */
static int renew_tls(SSL_CTX **ret, struct hub *hub, const struct server_settings *settings, struct err *err)
{
	if (!text_is_same(hub->settings.certificate_pem, settings->certificate_pem) ||
		!text_is_same(hub->settings.certificate_key_pem, settings->certificate_key_pem))
		return hub_make_tls(ret, settings, err);
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
		rc = admit_table_open(&admit, settings, err);
	if (rc == 0 && passages_reload(hub, settings) < 0) {
		admit_table_close(admit);
		rc = err_system(err, -ENOMEM, "published services");
	}
	if (rc < 0) {
		SSL_CTX_free(tls);
		return rc;
	}
	revoke_clients(hub, settings);
	SSL_CTX_free(hub->tls);
	admit_table_close(hub->admit);
	server_settings_done(&hub->settings);
	hub->tls = tls;
	hub->admit = admit;
	hub->settings = *settings;
	return 0;
}
