/* Names of endpoints (endpoints.h). Peers without a public key have none.
 *
 * Happy path: getent is started for the first name that has no address yet; its answer is kept, and the next name
 * follows. A name that is not found is tried again after a pause that grows by a fifth each time, because the network
 * may just be coming up. When the patience is over, each name that is left is tried once, and the owner is told of the
 * first that was not found, with its line.
 */
#include "common/host/endpoints.h"

#include "common/base/log.h"
#include "common/base/place.h"

#include <stdio.h>
#include <string.h>

#define HOST_MAX 256
#define LOOK_UP_TIMEOUT_MS 10000
#define PAUSE_MS 1000 /* then a fifth longer each time */

static void endpoints_next(struct endpoints *endpoints);

void endpoints_take_literals(const struct wg_config *config, const struct addr *through, struct addr *addrs)
{
	for (size_t i = 0; i < config->peer_count; i++) {
		const char *text = config->peers[i].endpoint;

		if (wg_config_is_through(config, &config->peers[i], through))
			addrs[i] = *through;
		else if (!text || (addrs[i].sa.sa_family == 0 && addr_parse(text, 0, &addrs[i]) < 0))
			addrs[i] = (struct addr){.sa = {0}};
	}
}

static const struct wg_config_peer *peer_now(const struct endpoints *endpoints)
{
	return &endpoints->config->peers[endpoints->next];
}

/* The first line of getent's answer: "203.0.113.10    STREAM vps.example.org". */
static int take_answer(struct endpoints *endpoints, const char *output, uint16_t port)
{
	char address[ADDR_TEXT_MAX], text[ADDR_TEXT_MAX + 16];
	size_t len = strcspn(output, " \t\n");

	if (len == 0 || len >= sizeof(address))
		return -1;
	memcpy(address, output, len);
	address[len] = '\0';
	snprintf(text, sizeof(text), strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, port);
	return addr_parse(text, 0, &endpoints->addrs[endpoints->next]);
}

/* Patience is counted for each name anew, so the name that failed is the one to complain of. */
static void give_up(struct endpoints *endpoints)
{
	const struct wg_config_peer *peer = peer_now(endpoints);

	if (!endpoints->failure[0])
		snprintf(endpoints->failure, sizeof(endpoints->failure),
			"%.200s: Endpoint: '%.200s': name not found; check its spelling, and DNS (getent ahosts)",
			PLACE(endpoints->path, peer->endpoint_line), peer->endpoint);
	endpoints->next++;
	endpoints_next(endpoints);
}

static void on_timer(uv_timer_t *timer)
{
	endpoints_next(timer->data);
}

/* The loop's own time is as old as its turn; with it a look-up that took long would not count. */
static void try_again(struct endpoints *endpoints)
{
	uv_update_time(endpoints->loop);
	if (uv_now(endpoints->loop) - endpoints->since_ms >= endpoints->patience_ms) {
		give_up(endpoints);
		return;
	}
	log_info("wireguard", "Endpoint = %s: not found; trying again", peer_now(endpoints)->endpoint);
	uv_timer_start(endpoints->timer, on_timer, endpoints->pause_ms, 0);
	endpoints->pause_ms += endpoints->pause_ms / 5;
}

static void on_exit_of(void *owner, int status, const char *output)
{
	struct endpoints *endpoints = owner;
	char host[HOST_MAX];
	uint16_t port = 0;

	endpoints->command = NULL;
	addr_split(peer_now(endpoints)->endpoint, host, sizeof(host), &port);
	if (status != 0 || take_answer(endpoints, output, port) < 0) {
		try_again(endpoints);
		return;
	}
	if (endpoints->on_found)
		endpoints->on_found(endpoints->owner, endpoints->next);
	endpoints_next(endpoints);
}

/* By getent and not by getaddrinfo(): that would block the loop, and would let this process talk to name servers. */
static int look_up(struct endpoints *endpoints, struct err *err)
{
	char host[HOST_MAX];
	const char *const argv[] = {"getent", "ahosts", host, NULL};
	const struct command_setup setup = {
		.argv = argv, .timeout_ms = LOOK_UP_TIMEOUT_MS, .on_exit = on_exit_of, .owner = endpoints};
	uint16_t port;
	int rc = addr_split(peer_now(endpoints)->endpoint, host, sizeof(host), &port);

	if (rc < 0)
		return err_set(err, rc, "Endpoint = %s: not HOST:PORT", peer_now(endpoints)->endpoint);
	return command_start(&endpoints->command, endpoints->loop, &setup, err);
}

/* No look-up for a peer without Endpoint or key, and none for an address that is there already. */
static bool is_known(const struct endpoints *endpoints)
{
	const struct wg_config_peer *peer = peer_now(endpoints);

	return !peer->endpoint || !peer->has_public_key || endpoints->addrs[endpoints->next].sa.sa_family != 0;
}

static void endpoints_next(struct endpoints *endpoints)
{
	struct err err = {""};

	while (endpoints->next < endpoints->config->peer_count && is_known(endpoints))
		endpoints->next++;
	if (endpoints->next == endpoints->config->peer_count)
		endpoints->on_done(endpoints->owner, endpoints->failure[0] ? endpoints->failure : NULL);
	else if (look_up(endpoints, &err) < 0)
		endpoints->on_done(endpoints->owner, err.text);
}

void endpoints_start(struct endpoints *endpoints)
{
	if (endpoints->timer)
		endpoints->timer->data = endpoints;
	endpoints->next = 0;
	endpoints->since_ms = uv_now(endpoints->loop);
	endpoints->pause_ms = PAUSE_MS;
	endpoints->command = NULL;
	endpoints->failure[0] = '\0';
	endpoints_next(endpoints);
}

void endpoints_stop(struct endpoints *endpoints)
{
	command_close(endpoints->command);
	endpoints->command = NULL;
	if (endpoints->timer)
		uv_timer_stop(endpoints->timer);
}
