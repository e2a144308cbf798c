/* See add.h.
 *
 * Happy path of `add`: the hub's files are read as `check` does, an address is chosen that no peer has, the client's file is
 * written, a hub that runs reads its files again, and one line on standard output is the invitation. Where the hub refuses
 * what was written, the file goes again. `revoke` is the way back. Nothing that a person wrote is touched.
 */
#include "server/add.h"

#include "common/base/array.h"
#include "common/base/base64.h"
#include "common/base/clock.h"
#include "common/base/dropins.h"
#include "common/base/file.h"
#include "common/base/invitation.h"
#include "common/base/log.h"
#include "common/base/place.h"
#include "common/base/secret.h"
#include "common/base/text.h"
#include "common/tunnel/tls.h"
#include "server/app.h"
#include "server/certificate.h"
#include "server/client_file.h"
#include "server/free_address.h"
#include "server/gone.h"
#include "server/networks.h"
#include "server/own_hub.h"
#include "server/qr.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_BYTES 24
#define CLIENT_FILE_MAX 65536
#define VALID_MS (7ull * 24 * 3600 * 1000)
#define VALID_MAX_MS (10ull * 365 * 24 * 3600 * 1000)

struct add {
	struct own_hub hub;
	const struct options *options;
	const char *client;
	struct prefix lans[INVITATION_PREFIXES_MAX];
	size_t lan_count;
	struct prefix prefixes[INVITATION_PREFIXES_MAX + 2]; /* its AllowedIPs */
	size_t prefix_count;
	uint64_t valid_ms;
	char token[BASE64_LEN(TOKEN_BYTES) + 1];
	char path[PATH_MAX]; /* of the client's file */
	char *before;	     /* in it; NULL: it is new */
	bool is_app;
	char app_key[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1]; /* its private key, shown and not kept */
	uint8_t app_public[WG_CONFIG_KEY_LEN];
	struct qr *qr; /* NULL: no picture is wanted */
};

static int fail(const struct err *err)
{
	log_error("config", "%s", err->text);
	return EXIT_FAILED;
}

/* --- what the hub has --- */

static const struct server_client *find_client(const struct server_config *config, const char *name)
{
	for (size_t i = 0; i < config->client_count; i++)
		if (strcmp(config->clients[i].name, name) == 0)
			return &config->clients[i];
	return NULL;
}

/* All that other peers have: of the device, and of clients that have not joined yet. Return: how many; the caller frees
 * *ret. */
static size_t list_taken(const struct server_config *config, struct prefix **ret)
{
	struct prefix *slot;
	size_t count = 0;

	*ret = NULL;
	for (size_t i = 0; i < config->wireguard.peer_count; i++)
		for (size_t j = 0; j < config->wireguard.peers[i].allowed_ip_count; j++)
			if ((slot = array_append(ret, &count, sizeof(**ret))))
				*slot = config->wireguard.peers[i].allowed_ips[j].prefix;
	for (size_t i = 0; i < config->client_count; i++)
		for (size_t j = 0; j < config->clients[i].prefix_count; j++)
			if ((slot = array_append(ret, &count, sizeof(**ret))))
				*slot = config->clients[i].prefixes[j];
	return count;
}

/* --- options --- */

static int take_lan(struct add *add, const char *text)
{
	struct prefix lan, network;
	char shown[PREFIX_TEXT_MAX];

	if (prefix_parse(text, &lan) < 0)
		return options_refuse(add->options, "lan", "not a network; expected one such as 192.168.1.0/24");
	network = prefix_network(&lan);
	if (!addr_equal(&lan.addr, &network.addr) || lan.bits == 0 || add->lan_count == INVITATION_PREFIXES_MAX) {
		snprintf(shown, sizeof(shown), "%s",
			prefix_format((char[PREFIX_TEXT_MAX]){""}, PREFIX_TEXT_MAX, &network));
		fprintf(stderr, "add: --lan: '%.80s': not the network behind a client; expected for example %s\n", text,
			lan.bits == 0 ? "192.168.1.0/24" : shown);
		return EXIT_USAGE;
	}
	add->lans[add->lan_count++] = lan;
	return -1;
}

/* Return: -1 to go on, or the exit code. */
static int take_options(struct add *add)
{
	const struct options_key *valid = options_find(add->options, "valid");
	int code = own_hub_check_client(add->options, add->client);

	for (size_t i = 0; code < 0 && i < add->options->key_count; i++)
		if (add->options->keys[i].is_of_command && strcmp(add->options->keys[i].name, "lan") == 0)
			code = take_lan(add, add->options->keys[i].value);
	add->valid_ms = VALID_MS;
	add->is_app = options_find(add->options, "app");
	if (code < 0 && add->is_app && (add->lan_count > 0 || valid)) {
		fprintf(stderr, "add: --%s: does not go with --app\n", valid ? "valid" : "lan");
		code = EXIT_USAGE;
	}
	if (code < 0 && valid &&
		(clock_parse_span(valid->value, &add->valid_ms) < 0 || add->valid_ms < 1000 ||
			add->valid_ms > VALID_MAX_MS))
		code = options_refuse(add->options, "valid", "not a time; expected for example 7d or 12h");
	return code;
}

/* --- one more client --- */

/* By name where a client has it. */
static const char *owner_of(const struct server_config *config, const struct prefix *prefix)
{
	for (size_t i = 0; i < config->client_count; i++)
		for (size_t j = 0; j < config->clients[i].prefix_count; j++)
			if (prefix_equal(&config->clients[i].prefixes[j], prefix))
				return config->clients[i].name;
	return "the hub or another peer";
}

/* A LAN that two clients have would lead to one of them only. Return: -1, or the exit code. */
static int check_lans(const struct add *add, const struct prefix *taken, size_t taken_count)
{
	char text[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];
	struct prefix networks[NETWORKS_OWN_MAX];
	size_t network_count = networks_list_own(&add->hub.config, networks);

	for (size_t i = 0; i < add->lan_count; i++) {
		const struct prefix *found = NULL;

		for (size_t j = 0; j < taken_count; j++)
			if (prefix_contains(&taken[j], &add->lans[i]) || prefix_contains(&add->lans[i], &taken[j]))
				found = &taken[j];
		for (size_t j = 0; j < network_count; j++)
			if (prefix_contains(&networks[j], &add->lans[i]) ||
				prefix_contains(&add->lans[i], &networks[j]))
				found = &networks[j];
		if (!found)
			continue;
		log_error("config",
			"--lan: '%s': %s has %s already; expected a network that only this client has",
			prefix_format(text, sizeof(text), &add->lans[i]), owner_of(&add->hub.config, found),
			prefix_format(other, sizeof(other), found));
		return EXIT_FAILED;
	}
	return -1;
}

/* Return: -1, or the exit code. */
static int choose_prefixes(struct add *add)
{
	struct prefix networks[NETWORKS_OWN_MAX], *taken;
	size_t network_count = networks_list_own(&add->hub.config, networks);
	size_t taken_count = list_taken(&add->hub.config, &taken);
	int code = check_lans(add, taken, taken_count);

	if (code < 0 && free_address_find(networks, network_count, taken, taken_count, add->prefixes) < 0) {
		log_error("config",
			"%s: the hub's network is full; 'towpath-server list' tells the clients, revoke one of them, or make "
			"the network of Address in [Interface] larger",
			add->hub.path);
		code = EXIT_FAILED;
	}
	free(taken);
	add->prefix_count = network_count;
	for (size_t i = 0; i < add->lan_count; i++)
		add->prefixes[add->prefix_count++] = add->lans[i];
	return code;
}

static int draw_token(struct add *add)
{
	uint8_t bytes[TOKEN_BYTES];
	struct err err = {""};

	if (RAND_priv_bytes(bytes, sizeof(bytes)) != 1) {
		err_openssl(&err, -EIO, "random numbers");
		return fail(&err);
	}
	base64_encode(add->token, sizeof(add->token), bytes, sizeof(bytes), BASE64_URL);
	secret_wipe(bytes, sizeof(bytes));
	return -1;
}

static int write_client(struct add *add, const struct client_file_invitation *invitation, bool again)
{
	char folder[PATH_MAX];
	struct err err = {""};
	int rc = dropins_folder(add->hub.path, folder);

	if (rc == 0 && mkdir(folder, 0700) < 0 && errno != EEXIST)
		rc = err_system(&err, -errno, "%s", folder);
	if (rc == 0 && again)
		rc = file_read_text(add->path, CLIENT_FILE_MAX, &add->before, &err);
	if (rc == 0 && add->is_app)
		rc = client_file_write_app(add->path, invitation, add->app_public, !again, &err);
	else if (rc == 0)
		rc = again ? client_file_invite_again(add->path, invitation, &err)
			   : client_file_invite(add->path, invitation, &err);
	if (rc == -EACCES && geteuid() != 0)
		err_wrap(&err, rc, "only root may write there, sudo helps");
	if (rc < 0)
		return fail(&err);
	return -1;
}

/* --- the invitation --- */

/* The pin of our own certificate, which is made if the hub never ran. One that a CA has signed needs none. */
static int take_pin(const struct add *add, struct invitation *ret, struct err *err)
{
	char folder[PATH_MAX], *certificate = NULL, *key = NULL;
	bool is_made;
	int rc;

	if (add->hub.config.certificate_path || add->hub.config.listens[0].cleartext)
		return 0;
	rc = own_hub_state_folder(&add->hub, folder, err);
	if (rc == 0)
		rc = certificate_ensure(folder, &certificate, &key, &is_made, err);
	if (rc == 0)
		rc = tls_pin_of_pem(certificate, ret->pin, err);
	ret->has_pin = rc == 0;
	free(certificate);
	secret_free(key);
	return rc;
}

/* The client's addresses with their network's length: its device then reaches the network. */
static void fill_addresses(const struct add *add, struct invitation *ret)
{
	struct prefix networks[NETWORKS_OWN_MAX];
	size_t count = networks_list_own(&add->hub.config, networks);

	for (size_t i = 0; i < add->prefix_count; i++)
		for (size_t j = 0; j < count && ret->address_count < 2; j++)
			if (networks_hold(&networks[j], 1, &add->prefixes[i])) {
				ret->addresses[ret->address_count] = add->prefixes[i];
				ret->addresses[ret->address_count++].bits = networks[j].bits;
			}
}

/* Its own networks lie behind the client. */
static void fill_allowed(const struct add *add, struct invitation *ret)
{
	if (options_find(add->options, "all-traffic")) {
		prefix_parse("0.0.0.0/0", &ret->allowed[ret->allowed_count++]);
		prefix_parse("::/0", &ret->allowed[ret->allowed_count++]);
		return;
	}
	ret->allowed_count = networks_list_behind(&add->hub.config, ret->allowed);
	invitation_drop_lans(ret);
}

/* Return: -1 with the line in @text, or the exit code. */
static int format_invitation(
	struct add *add, const struct client_file_invitation *written, char text[INVITATION_TEXT_MAX])
{
	struct invitation invitation = {.until_s = written->until_s};
	struct err err = {""};
	const struct server_config *config = &add->hub.config;
	int rc = take_pin(add, &invitation, &err);

	snprintf(invitation.server, sizeof(invitation.server), "%s", config->public_name);
	snprintf(invitation.hub, sizeof(invitation.hub), "%s", config->name);
	snprintf(invitation.client, sizeof(invitation.client), "%s", add->client);
	snprintf(invitation.token, sizeof(invitation.token), "%s", add->token);
	memcpy(invitation.lans, add->lans, sizeof(invitation.lans));
	invitation.lan_count = add->lan_count;
	fill_addresses(add, &invitation);
	fill_allowed(add, &invitation);
	if (rc == 0 && !wg_config_public_key(config->wireguard.interface.private_key, invitation.public_key))
		rc = err_openssl(&err, -EIO, "%s: PrivateKey", config->path);
	if (rc == 0)
		rc = add->is_app ? app_format(text, INVITATION_TEXT_MAX, config, &invitation, add->app_key)
				 : invitation_format(text, INVITATION_TEXT_MAX, &invitation);
	if (rc == -ENOSPC && !err.text[0]) /* not that of the disk */
		err_set(&err, rc, "the invitation would be too long; expected fewer networks behind the clients");
	if (rc >= 0 && options_find(add->options, "qr"))
		rc = qr_make(&add->qr, text, &err);
	secret_wipe(&invitation, sizeof(invitation));
	return rc < 0 ? fail(&err) : -1;
}

/* --- add --- */

/* Can this hub have clients of ours? Return: -1, or the exit code. */
static int check_hub(const struct add *add)
{
	const struct server_config *config = &add->hub.config;
	const char *why = NULL;

	if (config->wireguard_path)
		why = "WireGuard = PATH: its peers are in another program's file; expected [Interface] in the hub's";
	else if (!config->has_device || !config->wireguard.interface.has_private_key)
		why = "[Interface]: missing, or without PrivateKey; 'towpath-server init' makes a hub that has it";
	else if (config->wireguard.interface.address_count == 0)
		why = "Address: missing in [Interface]; expected the hub's address and network, as in 10.10.0.1/24";
	else if (!config->public_name)
		why = "PublicName: missing in [Server]; expected the name or address by which clients reach the hub";
	if (!why)
		return -1;
	log_error("config", "%s: %s", config->path, why);
	return EXIT_FAILED;
}

/* The prefixes of a client that is there stay. Return: -1, or the exit code. */
static int take_there(struct add *add, const struct server_client *there)
{
	struct prefix networks[NETWORKS_OWN_MAX];
	size_t count = networks_list_own(&add->hub.config, networks);

	if (access(add->path, F_OK) < 0) {
		log_error("config",
			"%s: its [Peer] is not in %s; only clients of 'towpath-server add' get another invitation",
			add->client, add->path);
		return EXIT_FAILED;
	}
	if (add->lan_count > 0) {
		fprintf(stderr, "add: --lan: does not go with --again; 'towpath-server revoke %s' and add anew\n",
			add->client);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < there->prefix_count && i < INVITATION_PREFIXES_MAX; i++) {
		add->prefixes[add->prefix_count++] = there->prefixes[i];
		if (!networks_hold(networks, count, &there->prefixes[i]))
			add->lans[add->lan_count++] = there->prefixes[i];
	}
	return -1;
}

/* Choose addresses. Return: -1, or the exit code. */
static int take_place(struct add *add, bool *ret_again)
{
	const struct server_client *there = find_client(&add->hub.config, add->client);
	bool is_there = there || access(add->path, F_OK) == 0;

	*ret_again = options_find(add->options, "again");
	if (is_there && !*ret_again) {
		log_error("config", "%s: is there already; 'towpath-server add --again %s' makes another invitation",
			add->client, add->client);
		return EXIT_FAILED;
	}
	if (*ret_again && !there) {
		log_error("config", "%s: no such client; without --again it is added", add->client);
		return EXIT_FAILED;
	}
	return there ? take_there(add, there) : choose_prefixes(add);
}

/* The file as it was before, and for a hub that has read it meanwhile. */
static void put_back(const struct add *add)
{
	struct err err = {""};
	bool runs;

	if (add->before ? file_write_text(add->path, add->before, &err) < 0 : unlink(add->path) < 0)
		log_error("config", "%s: stays changed: %s", add->path, add->before ? err.text : strerror(errno));
	own_hub_reload(&add->hub, &runs, NULL);
}

/* Machines that are in know of no network that comes after them. */
static void tell_others(const struct add *add)
{
	char names[256] = "", text[PREFIX_TEXT_MAX], lines[512] = "";
	size_t left_out = 0;

	for (size_t i = 0; i < add->hub.config.client_count; i++) {
		const struct server_client *client = &add->hub.config.clients[i];

		if (!client->has_public_key)
			continue; /* it is told when it joins */
		if (strlen(names) + strlen(client->name) + 2 < sizeof(names))
			text_append_word(names, sizeof(names), client->name);
		else
			left_out++;
	}
	for (size_t i = 0; i < add->lan_count; i++)
		snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%s%s", i > 0 ? ", " : "",
			prefix_format(text, sizeof(text), &add->lans[i]));
	if (names[0] && lines[0])
		log_notice("config",
			"%s%s: joined before, and %s not what is behind %s; add 'AllowedIPs = %s' to [Peer] in the file "
			"there, and 'towpath-client reload' it",
			names, left_out > 0 ? " and others" : "", strchr(names, ',') ? "reach" : "reaches", add->client,
			lines);
}

/* Written files that a hub refuses would keep it from starting. Return: -1, or the exit code. */
static int make_heard(struct add *add)
{
	struct err err = {""};
	bool runs;

	if (own_hub_reload(&add->hub, &runs, &err) < 0) {
		put_back(add);
		log_error("config", "%s", err.text);
		log_error("config",
			"%s: the hub does not take it, and %s; 'towpath-server status %s' tells how the hub is",
			add->client, add->before ? "its invitation is the one before" : "it is taken out again",
			add->hub.tunnel.typed);
		return EXIT_FAILED;
	}
	if (!runs && !add->options->quiet)
		log_notice("config", "%s does not run; the invitation takes effect at 'towpath-server up %s'",
			add->hub.config.name, add->hub.tunnel.typed);
	return -1;
}

/* Return: -1, or the exit code; then nothing is left. */
static int print(const struct add *add, const char *text)
{
	struct err err = {""};

	const struct options_key *qr = options_find(add->options, "qr");
	const char *no_colour = getenv("NO_COLOR");
	int rc = add->qr && qr->value ? qr_write_png(add->qr, qr->value, &err) : 0;

	if (rc == 0) {
		printf(add->is_app ? "%s" : "%s\n", text);
		if (add->qr && !qr->value)
			qr_print(add->qr, stdout, isatty(STDOUT_FILENO) && !(no_colour && *no_colour));
		rc = fflush(stdout) == 0 && !ferror(stdout) ? 0 : err_system(&err, -errno, "standard output");
	}
	if (rc == 0)
		return -1;
	put_back(add);
	return fail(&err);
}

/* For --app. Return: -1, or the exit code. */
static int draw_app_key(struct add *add)
{
	uint8_t key[WG_CONFIG_KEY_LEN];
	bool is_made =
		wg_config_draw_key(add->app_key) &&
		base64_decode(key, sizeof(key), add->app_key, strlen(add->app_key), BASE64_STANDARD) == sizeof(key) &&
		wg_config_public_key(key, add->app_public);

	secret_wipe(key, sizeof(key));
	if (is_made)
		return -1;
	log_error("config", "random numbers: none are to be had");
	return EXIT_FAILED;
}

static int add_client(struct add *add)
{
	int64_t now_s = clock_wall_s();
	struct client_file_invitation invitation = {.name = add->client,
		.token = add->token,
		.prefixes = add->prefixes,
		.now_s = now_s,
		.until_s = now_s + (int64_t)(add->valid_ms / 1000)};
	char text[INVITATION_TEXT_MAX];
	bool again = false;
	int code = check_hub(add);

	if (code < 0 && add->is_app)
		code = app_check_hub(&add->hub.config);
	if (code < 0)
		code = take_place(add, &again);
	if (code < 0)
		code = draw_token(add);
	if (code < 0 && add->is_app)
		code = draw_app_key(add);
	invitation.prefix_count = add->prefix_count;
	if (code < 0)
		code = format_invitation(add, &invitation, text);
	if (code < 0)
		code = write_client(add, &invitation, again);
	if (code < 0)
		code = make_heard(add);
	if (code < 0)
		code = print(add, text);
	if (code < 0 && !again)
		tell_others(add);
	secret_wipe(text, sizeof(text));
	return code < 0 ? EXIT_DONE : code;
}

int server_add(const struct options *options)
{
	struct add add = {.options = options, .client = options->tunnel_word};
	struct err err = {""};
	int code = take_options(&add);

	if (code < 0)
		code = own_hub_open(&add.hub, options, true);
	if (code >= 0)
		return code;
	code = client_file_path(add.hub.path, add.client, add.path, &err) < 0 ? fail(&err) : add_client(&add);
	own_hub_close(&add.hub);
	secret_wipe(add.token, sizeof(add.token));
	secret_wipe(add.app_key, sizeof(add.app_key));
	secret_free(add.before);
	qr_free(add.qr);
	return code;
}

/* --- revoke --- */

/* The tokens of the client's file, for late guests. */
static void remember(const struct own_hub *hub, const char *path)
{
	char folder[PATH_MAX];
	struct err err = {""};

	for (size_t i = 0; i < hub->config.client_count; i++) {
		const struct server_client *client = &hub->config.clients[i];
		const char *file = hub->path;

		place_split(&file, client->line);
		if (client->token && strcmp(file, path) == 0 &&
			(own_hub_state_folder(hub, folder, &err) < 0 ||
				gone_add(folder, client->token, clock_wall_s(), &err) < 0))
			log_warning("config", "%s: %s; a late guest will be a visitor", client->name, err.text);
	}
}

static int take_out(struct own_hub *hub, const char *client)
{
	char path[PATH_MAX];
	struct err err = {""};
	bool runs;

	if (client_file_path(hub->path, client, path, &err) < 0)
		return fail(&err);
	if (access(path, F_OK) < 0) {
		log_error("config", "%s: no such client%s; 'towpath-server list' names them", client,
			find_client(&hub->config, client)
				? " of 'towpath-server add': a person wrote its [Peer], and takes it out"
				: "");
		return EXIT_FAILED;
	}
	remember(hub, path);
	if (unlink(path) < 0) {
		err_system(&err, -errno, "%s", path);
		return fail(&err);
	}
	if (own_hub_reload(hub, &runs, &err) < 0)
		return fail(&err);
	if (!hub->options->quiet)
		printf("%s: revoked%s\n", client, runs ? ", and its connection is closed" : "");
	return EXIT_DONE;
}

int server_revoke(const struct options *options)
{
	struct own_hub hub;
	int code = own_hub_check_client(options, options->tunnel_word);

	if (code < 0)
		code = own_hub_open(&hub, options, true);
	if (code >= 0)
		return code;
	code = take_out(&hub, options->tunnel_word);
	own_hub_close(&hub);
	return code;
}
