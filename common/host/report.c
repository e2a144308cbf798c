/* The report (report.h), read anew for each status: the kernel keeps all of it, we keep no copy. Without memory a
 * member is missing or null, and the rest is as it should be.
 */
#include "common/host/report.h"

#include "common/base/base64.h"
#include "common/base/clock.h"
#include "common/net/link.h"
#include "common/wireguard/wg_device.h"

static json_t *key_text(const uint8_t key[WG_CONFIG_KEY_LEN])
{
	char text[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1];

	base64_encode(text, sizeof(text), key, WG_CONFIG_KEY_LEN, BASE64_STANDARD);
	return json_string(text);
}

/* As the kernel has it, not as the file has it: `wg set` may have changed it since, or have made it. A peer that has
 * not been heard of yet has no endpoint, and 0 is the kernel's word for "never". */
static json_t *describe_peer(const struct wg_state_peer *peer, const struct wg_config *config)
{
	json_t *object = json_object(), *allowed = json_array();
	char text[PREFIX_TEXT_MAX], endpoint[ADDR_TEXT_MAX] = "", handshake[32] = "";

	if (peer->endpoint.sa.sa_family != 0)
		addr_format(endpoint, sizeof(endpoint), &peer->endpoint);
	if (peer->latest_handshake_s != 0)
		clock_format_utc(handshake, sizeof(handshake), peer->latest_handshake_s);

	for (size_t i = 0; i < peer->allowed_ip_count; i++)
		json_array_append_new(allowed, json_string(prefix_format(text, sizeof(text), &peer->allowed_ips[i])));
	json_object_set_new(object, "public_key", key_text(peer->public_key));
	json_object_set_new(object, "in_file", json_boolean(wg_config_find(config, peer->public_key) != NULL));
	json_object_set_new(object, "endpoint", endpoint[0] ? json_string(endpoint) : json_null());
	json_object_set_new(object, "allowed_ips", allowed);
	json_object_set_new(object, "latest_handshake", handshake[0] ? json_string(handshake) : json_null());
	json_object_set_new(object, "received_bytes", json_integer((json_int_t)peer->received_bytes));
	json_object_set_new(object, "sent_bytes", json_integer((json_int_t)peer->sent_bytes));
	json_object_set_new(object, "persistent_keepalive_s", json_integer(peer->persistent_keepalive_s));
	return object;
}

/* Only a full tunnel has rules; its table has the number of the mark. */
static void describe_routing(const struct applied *applied, json_t *object)
{
	json_t *rules = json_array();

	for (size_t i = 0; i < applied->plan.count; i++) {
		const struct net_rule *rule = &applied->plan.changes[i].rule;

		if (applied->plan.changes[i].kind == CHANGE_RULE)
			json_array_append_new(rules,
				json_pack("{s:s, s:I, s:I}", "family", rule->family == AF_INET ? "ipv4" : "ipv6",
					"priority", (json_int_t)rule->priority, "table", (json_int_t)rule->table));
	}
	if (json_array_size(rules) > 0) {
		json_object_set_new(object, "table", json_integer(applied->mark));
		json_object_set(object, "rules", rules);
	}
	json_decref(rules);
}

/* A device that another program has deleted has no state any more; the object then has its name and "deleted". */
json_t *report_make(struct applied *applied, bool is_gone)
{
	const char *device = applied->setup->device;
	json_t *object = json_object(), *peers = json_array();
	struct wg_state state;
	struct net_link link;

	json_object_set_new(object, "interface", json_string(device));
	if (is_gone || wg_device_read(device, &state, NULL) < 0) {
		json_object_set_new(object, "deleted", json_true());
		json_object_set_new(object, "peers", peers);
		return object;
	}
	json_object_set_new(object, "index", json_integer(state.index));
	json_object_set_new(object, "public_key", state.has_key ? key_text(state.public_key) : json_null());
	json_object_set_new(object, "listen_port", json_integer(state.listen_port));
	if (state.fwmark != 0)
		json_object_set_new(object, "fwmark", json_integer(state.fwmark));
	describe_routing(applied, object);
	if (applied->facts.plan.barrier.is_up)
		json_object_set_new(object, "barrier", json_true());
	if (net_link_find(&applied->netlink, device, &link, NULL) == 0)
		json_object_set_new(object, "mtu", json_integer(link.mtu));
	for (size_t i = 0; i < state.peer_count; i++)
		json_array_append_new(peers, describe_peer(&state.peers[i], applied->setup->wireguard));
	json_object_set_new(object, "peers", peers);
	wg_state_done(&state);
	return object;
}
