/* The hub's own certificate where none is given: ECDSA P-256, 90 days, renewed with the same key so that the pin stays.
 * Lives in STATE_DIR/NAME/certificate.pem and key.pem (0600). Used by the supervisor. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>

/* Read both from @folder. Make what is missing there; renew a certificate that has less than a third of its time left.
 * Its subject and alternative name are the host's own name; nothing names the program. Files are written whole or not
 * at all. @ret_made: the key is new, and so is the pin. Return: 0 (free() the certificate, secret_free() the key) or a
 * negative errno. */
int certificate_ensure(
	const char *folder, char **ret_certificate_pem, char **ret_key_pem, bool *ret_made, struct err *err);

/* Read the operator's certificate and key; check that they are PEM, belong together, and can be served.
 * Return: as above. */
int certificate_load(const char *certificate_path, const char *key_path, char **ret_certificate_pem, char **ret_key_pem,
	struct err *err);

/* Call @on_name with the common name and each other DNS name of @pem, the first certificate of a chain; where @pem is
 * NULL, with the name that our own would have. */
void certificate_each_name(const char *pem, void (*on_name)(void *owner, const char *name), void *owner);

/* Log that @pem, of the file @path, takes the place of @before_pem for new connections; and the new pin, if its key is
 * another one. */
void certificate_tell_change(const char *path, const char *before_pem, const char *pem);

/* Warn of a certificate that has expired or is not valid yet. */
void certificate_warn_dates(const char *path, const char *pem);
