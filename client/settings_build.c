/* See settings_build.h. Happy path: the configuration's settings are copied, the files that it names are read beside
 * them. Fails with the key and the file that cannot be read.
 *
 * The copy is shallow: only what was read from files is freed here, the rest belongs to the configuration.
 */
#include "client/settings_build.h"

#include "common/base/file.h"
#include "common/base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEM_FILE_MAX (1u << 20) /* a bundle of all public CAs is 220 KB */

/* Read again at each reload: a certificate may have been renewed. @path NULL: *ret stays NULL. */
static int read_pem(const char *key, const char *path, char **ret, struct err *err)
{
	int rc = path ? file_read_text(path, PEM_FILE_MAX, ret, err) : 0;

	if (rc < 0)
		return err_wrap(err, rc, "%s", key);
	if (path && !strstr(*ret, "-----BEGIN "))
		return err_set(err, -EINVAL, "%s: %s: no PEM in it; it begins with -----BEGIN", key, path);
	return 0;
}

/* The supervisor puts addresses into the servers that the worker is told, but not into the configuration's. */
static int copy_servers(struct client_settings *settings, struct err *err)
{
	struct client_settings_server *servers = calloc(settings->server_count, sizeof(*servers));

	if (!servers)
		return err_system(err, -ENOMEM, "settings");
	memcpy(servers, settings->servers, settings->server_count * sizeof(*servers));
	settings->servers = servers;
	return 0;
}

int client_settings_build(
	struct client_settings *ret, const struct client_config *config, const char *listen_text, struct err *err)
{
	struct client_settings settings = config->settings;
	int rc = copy_servers(&settings, err);

	if (rc < 0)
		return rc;
	snprintf(settings.name, sizeof(settings.name), "%s", config->name);
	snprintf(settings.listen_text, sizeof(settings.listen_text), "%s", listen_text);
	rc = read_pem("CA", config->ca_path, &settings.ca_pem, err);
	if (rc == 0)
		rc = read_pem(
			"ClientCertificate", config->client_certificate_path, &settings.client_certificate_pem, err);
	if (rc == 0)
		rc = read_pem("ClientKey", config->client_key_path, &settings.client_key_pem, err);
	if (rc < 0) {
		client_settings_built_done(&settings);
		return rc;
	}
	*ret = settings;
	return 0;
}

void client_settings_built_done(struct client_settings *settings)
{
	free(settings->servers);
	free(settings->ca_pem);
	free(settings->client_certificate_pem);
	secret_free(settings->client_key_pem);
	*settings = (struct client_settings){0};
}
