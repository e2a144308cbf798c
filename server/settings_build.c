/* See settings_build.h.
 *
 * Theory of operation. A build turns one configuration into all that depends on it and that can fail:
 *
 *    configuration ──▶ client numbers (on disk) ──▶ certificate and page (on disk) ──▶ settings in a sealed memory file
 *
 * The supervisor keeps the build in use and makes the next one beside it. A build that fails is closed, and the one in
 * use has not changed. Only the files on disk stay: a number that was assigned, a certificate or a page that was made.
 *
 * Published names have numbers by which the worker asks for a connection. Each build begins its numbers behind those
 * of the build before (frame->home_number), so a request that was under way during a reload fits none of the new ones
 * and is refused, and never reaches another service.
 */
#include "server/settings_build.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/secret.h"
#include "common/tunnel/tls.h"
#include "server/certificate.h"
#include "server/gone.h"
#include "server/networks.h"
#include "server/page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Log the pin once, not at each reload: clients need it to trust a certificate that no CA has signed. */
static int tell_pin(struct settings_build_frame *frame, const char *certificate_pem, bool is_made, struct err *err)
{
	uint8_t pin[TLS_PIN_LEN];
	char text[TLS_PIN_TEXT_MAX];
	int rc;

	if (frame->has_told_pin)
		return 0;
	rc = tls_pin_of_pem(certificate_pem, pin, err);
	if (rc < 0)
		return rc;
	frame->has_told_pin = true;
	log_notice("config", "certificate %s by ourselves; clients need: Pin = %s", is_made ? "made" : "was made",
		tls_pin_format(text, pin));
	return 0;
}

/* The certificate of the file, or else our own, made at the first start. */
static int read_files(struct settings_build_frame *frame, const struct server_config *config,
	struct server_settings *settings, struct err *err)
{
	bool is_made = false, speaks_tls = false;
	int rc;

	for (size_t i = 0; i < frame->listener_count; i++)
		speaks_tls |= !frame->listeners[i].cleartext;
	if (!speaks_tls) /* behind a reverse proxy */
		return 0;
	if (config->certificate_path)
		return certificate_load(config->certificate_path, config->certificate_key_path,
			&settings->certificate_pem, &settings->certificate_key_pem, err);
	rc = certificate_ensure(
		frame->folder, &settings->certificate_pem, &settings->certificate_key_pem, &is_made, err);
	return rc < 0 ? rc : tell_pin(frame, settings->certificate_pem, is_made, err);
}

/* One name of the certificate. Names with a star are left out: such a certificate may be for others, too. Without
 * memory the name is missing, and only a star of [Publish] that covers it could take its visitors. */
static void add_own_name(void *owner, const char *text)
{
	struct server_settings *settings = owner;
	struct server_name *name = NULL;

	if (!server_name_find_fault(text) && *text != '*')
		name = array_append(&settings->own_names, &settings->own_name_count, sizeof(*name));
	if (name)
		name->text = strdup(text);
	if (name && !name->text)
		settings->own_name_count--;
}

/* What is published by name. The names stay the configuration's. */
static int take_publishes(struct settings_build *build, struct settings_build_frame *frame,
	const struct server_config *config, struct server_settings *settings, struct err *err)
{
	build->home_number = settings->publish_number = frame->home_number;
	settings->publishes = calloc(config->named_count + 1, sizeof(*settings->publishes));
	build->homes = calloc(config->named_count + 1, sizeof(*build->homes));
	if (!settings->publishes || !build->homes)
		return err_system(err, -ENOMEM, "settings");
	for (size_t i = 0; i < config->named_count; i++) {
		const struct publish *publish = &config->publishes[config->publish_count + i];
		struct server_settings_publish *slot = &settings->publishes[i];

		*slot = (struct server_settings_publish){.names = publish->names,
			.name_count = publish->name_count,
			.to = publish->service.to,
			.proxy_protocol = (uint8_t)publish->proxy_protocol};
		addr_set_port(&slot->to, publish->service.to_ports.first);
		build->homes[i] = slot->to;
	}
	build->home_count = settings->publish_count = config->named_count;
	frame->home_number += (uint32_t)build->home_count;
	if (settings->certificate_pem && settings->publish_count > 0)
		certificate_each_name(settings->certificate_pem, add_own_name, settings);
	return 0;
}

/* The tokens of revoked clients, but those that somebody has given to another client since. Return: what they are borrowed
 * from. */
static json_t *take_gone(
	const struct settings_build_frame *frame, const struct server_config *config, struct server_settings *settings)
{
	json_t *list = gone_read(frame->folder, clock_wall_s()), *at;
	const char *token;

	for (size_t i = 0; i < config->client_count; i++)
		if (config->clients[i].token)
			json_object_del(list, config->clients[i].token);
	settings->gone = calloc(json_object_size(list) + 1, sizeof(*settings->gone));
	json_object_foreach (list, token, at)
		if (settings->gone)
			settings->gone[settings->gone_count++].token = (char *)(uintptr_t)token;
	return list;
}

/* A memory file, because the worker may open none and gets all it needs by a descriptor; a sealed one cannot be changed
 * behind its back. All that the settings point to is borrowed, except certificate, key and page, which are the
 * caller's. */
static int write_settings(struct settings_build *build, const struct settings_build_frame *frame,
	const struct server_config *config, struct server_settings *settings, struct err *err)
{
	char networks[NETWORKS_TEXT_MAX];
	json_t *gone;

	snprintf(settings->name, sizeof(settings->name), "%s", config->name);
	settings->listeners = frame->listeners;
	settings->listener_count = frame->listener_count;
	settings->target = frame->target;
	settings->client_count = build->clients.count;
	settings->clients = calloc(settings->client_count + 1, sizeof(*settings->clients));
	if (!settings->clients)
		return err_system(err, -ENOMEM, "settings");
	for (size_t i = 0; i < settings->client_count; i++) {
		const struct client_list_entry *entry = &build->clients.entries[i];

		settings->clients[i] = (struct server_settings_client){.number = entry->number,
			.name = entry->client->name,
			.token = entry->client->token,
			.stock_path = entry->client->stock_path,
			.waits_until_s =
				server_client_waits(entry->client) ? (uint64_t)entry->client->invited_until_s : 0,
			.has_joined = entry->client->joined_s && entry->client->has_public_key};
		memcpy(settings->clients[i].joined_key, entry->client->public_key,
			sizeof(settings->clients[i].joined_key));
	}
	networks_format_behind(config, networks);
	settings->networks = networks[0] ? networks : NULL;
	gone = take_gone(frame, config, settings);
	build->settings_fd = server_settings_write(settings, err);
	json_decref(gone);
	free(settings->gone);
	free(settings->clients);
	return build->settings_fd < 0 ? build->settings_fd : 0;
}

/* The key is wiped as soon as the worker's file holds it. The certificate is kept, by which a later change of it is
 * told. */
static int build_settings(struct settings_build *build, struct settings_build_frame *frame,
	const struct server_config *config, struct err *err)
{
	struct server_settings settings = config->settings; /* what it points to stays the configuration's */
	int rc = read_files(frame, config, &settings, err);

	if (rc == 0)
		rc = page_ensure(frame->folder, &settings.page_html, err);
	if (rc == 0)
		rc = take_publishes(build, frame, config, &settings, err);
	if (rc == 0)
		rc = write_settings(build, frame, config, &settings, err);
	build->certificate_pem = settings.certificate_pem;
	secret_free(settings.certificate_key_pem);
	free(settings.page_html);
	free(settings.publishes);
	for (size_t i = 0; i < settings.own_name_count; i++)
		free(settings.own_names[i].text);
	free(settings.own_names);
	return rc;
}

int settings_build_open(struct settings_build *ret, struct settings_build_frame *frame,
	const struct server_config *config, struct err *err)
{
	struct settings_build build = {.settings_fd = -1};
	int rc = client_list_open(&build.clients, frame->sources, config, err);

	certificate_marks_look(&build.marks, config->certificate_path, config->certificate_key_path);
	if (rc == 0)
		rc = build_settings(&build, frame, config, err);
	if (rc < 0) {
		settings_build_close(&build);
		return rc;
	}
	*ret = build;
	return 0;
}

void settings_build_close(struct settings_build *build)
{
	client_list_close(&build->clients);
	free(build->certificate_pem);
	build->certificate_pem = NULL;
	free(build->homes);
	build->homes = NULL;
	if (build->settings_fd >= 0)
		close(build->settings_fd);
	build->settings_fd = -1;
}
