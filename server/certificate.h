/* The hub's own certificate where none is given: ECDSA P-256, 90 days, renewed with the same key so that the pin stays.
 * Lives in STATE_DIR/NAME/certificate.pem and key.pem (0600). Used by the supervisor. */
#ifndef TOWPATH_SERVER_CERTIFICATE_H
#define TOWPATH_SERVER_CERTIFICATE_H

#include "common/base/err.h"

#include <stdbool.h>

/* Read or make it; renew it where less than a third of its time is left. The subject and the alternative name are the host's own name; nothing
 * names the program. Files are written atomically. Return: 0 (free both, the key with secret_free()) or a negative errno. */
int certificate_ensure(
	const char *folder, char **ret_certificate_pem, char **ret_key_pem, bool *ret_made, struct err *err);

/* Read the administrator's certificate and key, check that they match and are PEM. */
int certificate_load(const char *certificate_path, const char *key_path, char **ret_certificate_pem, char **ret_key_pem,
	struct err *err);

#endif
