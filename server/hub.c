/* See hub.h. Makes the parts that depend on settings, at the start and at a reload. */
#include "server/hub.h"

#include "common/tunnel/tls.h"
#include "common/tunnel/tls_stream.h"

int hub_make_tls(SSL_CTX **ret, const struct server_settings *settings, struct err *err)
{
	int rc = 0;

	*ret = NULL;
	if (settings->certificate_pem)
		rc = tls_server_context(ret, settings->certificate_pem, settings->certificate_key_pem, err);
	if (*ret)
		tls_stream_ask_for_hello(*ret);
	return rc;
}
