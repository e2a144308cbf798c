/* Print what wg_config makes of each file named, as `wg show DEVICE dump` would: the other side of
 * wg_config_differential.
 *
 * A line "== FILE" for each, then "refused: REASON", or "taken" and the lines of the dump with what only a running
 * device has left out, then the hooks behind '#'. A key that is not WireGuard's is refused, as wg does.
 */
#include "common/base/base64.h"
#include "common/wireguard/wg_config.h"

#include <stdio.h>
#include <string.h>

static void print_key(const uint8_t *key, bool has)
{
	char text[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1] = "(none)";

	if (has)
		base64_encode(text, sizeof(text), key, WG_CONFIG_KEY_LEN, BASE64_STANDARD);
	printf("%s\t", text);
}

static void print_peer(const struct wg_config_peer *peer)
{
	char host[ADDR_TEXT_MAX];

	print_key(peer->public_key, peer->has_public_key);
	print_key(peer->preshared_key, peer->has_preshared_key);
	printf("%s\t", peer->endpoint ? peer->endpoint : "(none)");
	for (size_t i = 0; i < peer->allowed_ip_count; i++)
		printf("%s%s/%u", i ? "," : "", addr_format_host(host, sizeof(host), &peer->allowed_ips[i].prefix.addr),
			peer->allowed_ips[i].prefix.bits);
	printf("%s\t%u\n", peer->allowed_ip_count ? "" : "(none)", peer->persistent_keepalive_s);
}

/* As wg-quick would run them, before it puts the device's name in. */
static void print_hooks(const struct wg_config_interface *interface)
{
	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < interface->hook_count[i]; j++)
			printf("#%s\n", interface->hooks[i][j]);
}

static void print_config(const struct wg_config *config)
{
	printf("taken\n");
	print_key(config->interface.private_key, config->interface.has_private_key);
	printf("%u\t%u\n", config->interface.listen_port, config->interface.fwmark);
	for (size_t i = 0; i < config->peer_count; i++)
		print_peer(&config->peers[i]);
	print_hooks(&config->interface);
}

static void print_file(const char *path)
{
	struct ini ini;
	struct ini_report report = {0};
	struct wg_config config = {0};
	struct err err = {""};

	ini_read(path, &ini, &report, &err);
	for (size_t i = 0; i < ini.section_count; i++)
		wg_config_read_section(&config, &ini, &ini.sections[i], &report);
	wg_config_finish(&config, &ini, &report);
	for (size_t i = 0; i < config.peer_count; i++)
		if (!config.peers[i].public_key_line)
			ini_report_add(&report, path, config.peers[i].line, "no public key");
	printf("== %s\n", path);
	if (err.text[0] || report.count)
		printf("refused: %s\n", err.text[0] ? err.text : report.lines[0]);
	else
		print_config(&config);
	wg_config_done(&config);
	ini_done(&ini);
	ini_report_done(&report);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		print_file(argv[i]);
	return 0;
}
