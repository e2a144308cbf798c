/* See hub.h. Makes the parts that depend on settings, at the start and at a reload. */
#include "server/hub.h"

#include "common/tunnel/tls.h"

int hub_make_tls(SSL_CTX **ret, const struct server_settings *settings, struct err *err)
{
	if (settings->certificate_pem)
		return tls_server_context(ret, settings->certificate_pem, settings->certificate_key_pem, err);
	*ret = NULL;
	return 0;
}
