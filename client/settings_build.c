/* The worker's settings out of the configuration.
 *
 * Happy path: certificates and key are read, everything else is borrowed.
 * Fails with the key and the file that cannot be read.
 */
#include "client/settings_build.h"

#include "common/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_FILE_MAX (1u << 20) /* a bundle of all public CAs is 220 KB */
#define STOCK_TARGET_DEFAULT "127.0.0.1:51820"

static int read_pem(const char *key, const char *path, char **ret, struct err *err)
{
	char *text;
	ssize_t got;
	int fd;

	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_system(err, -errno, "%s: %s", key, path);
	text = calloc(1, PEM_FILE_MAX + 1);
	got = text ? read(fd, text, PEM_FILE_MAX + 1) : -1;
	close(fd);
	if (got < 0) {
		secret_free(text);
		return err_system(err, errno ? -errno : -ENOMEM, "%s: %s", key, path);
	}
	if (got > (ssize_t)PEM_FILE_MAX || !strstr(text, "-----BEGIN ")) {
		secret_free(text);
		return err_set(err, -EINVAL, "%s: %s: no PEM in it; it begins with -----BEGIN", key, path);
	}
	*ret = text;
	return 0;
}

static int read_files(const struct client_config *config, struct client_settings *settings, struct err *err)
{
	int rc = read_pem("CA", config->ca_path, &settings->ca_pem, err);

	if (rc == 0)
		rc = read_pem(
			"ClientCertificate", config->client_certificate_path, &settings->client_certificate_pem, err);
	if (rc == 0)
		rc = read_pem("ClientKey", config->client_key_path, &settings->client_key_pem, err);
	return rc;
}

static int borrow_servers(const struct client_config *config, struct client_settings *settings, struct err *err)
{
	settings->servers = calloc(config->server_count, sizeof(*settings->servers));
	if (!settings->servers)
		return err_system(err, -ENOMEM, "settings");
	settings->server_count = config->server_count;
	for (size_t i = 0; i < config->server_count; i++)
		settings->servers[i] = (struct client_settings_server){.url = config->servers[i].url,
			.host = config->servers[i].host,
			.port = config->servers[i].port,
			.cleartext = config->servers[i].cleartext};
	return 0;
}

static void borrow_link(const struct client_config *config, struct client_settings *settings)
{
	snprintf(settings->name, sizeof(settings->name), "%s", config->name);
	settings->token = config->token;
	settings->pins = config->pins;
	settings->pin_count = config->pin_count;
	settings->server_name = config->server_name;
	settings->interception = config->interception;
	settings->proxy_host = config->proxy.host;
	settings->proxy_port = config->proxy.host ? config->proxy.port : 0;
	settings->proxy_user = config->proxy.user;
	settings->proxy_password = config->proxy.password;
	settings->ping_interval_ms = config->ping_interval_ms;
	settings->mask = config->mask;
}

static void borrow_stock(const struct client_config *config, struct client_settings *settings)
{
	settings->stock_path = config->stock_path;
	settings->basic_auth = config->basic_auth;
	settings->headers = config->headers;
	settings->header_count = config->header_count;
	settings->jwt_key = config->jwt_key;
}

/* Return: 0, or -EINVAL. */
static int build_target(const struct client_config *config, struct client_settings *settings, struct err *err)
{
	const char *target = config->stock_target ? config->stock_target : STOCK_TARGET_DEFAULT;
	char host[256];

	if (addr_split(target, host, sizeof(host), &settings->stock_target_port) < 0 ||
		settings->stock_target_port == 0)
		return err_set(err, -EINVAL, "Target: '%s' is not HOST:PORT", target);
	settings->stock_target_host = strdup(host);
	return settings->stock_target_host ? 0 : err_system(err, -ENOMEM, "settings");
}

int client_settings_build(
	struct client_settings *ret, const struct client_config *config, const char *listen_text, struct err *err)
{
	struct client_settings settings = {0};
	int rc = borrow_servers(config, &settings, err);

	if (rc == 0)
		rc = read_files(config, &settings, err);
	if (rc == 0)
		rc = build_target(config, &settings, err);
	if (rc < 0) {
		client_settings_built_done(&settings);
		return rc;
	}
	borrow_link(config, &settings);
	borrow_stock(config, &settings);
	snprintf(settings.listen_text, sizeof(settings.listen_text), "%s", listen_text);
	*ret = settings;
	return 0;
}

void client_settings_built_done(struct client_settings *settings)
{
	free(settings->servers);
	free(settings->ca_pem);
	free(settings->client_certificate_pem);
	secret_free(settings->client_key_pem);
	free(settings->stock_target_host);
	*settings = (struct client_settings){0};
}
