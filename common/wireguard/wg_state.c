/* The state of a device: found by key, freed. See wg_state.h. */
#include "common/wireguard/wg_state.h"

#include <stdlib.h>
#include <string.h>

struct wg_state_peer *wg_state_find(const struct wg_state *state, const uint8_t public_key[WG_CONFIG_KEY_LEN])
{
	for (size_t i = 0; i < state->peer_count; i++)
		if (memcmp(state->peers[i].public_key, public_key, WG_CONFIG_KEY_LEN) == 0)
			return &state->peers[i];
	return NULL;
}

/* Nothing here is secret: preshared keys are only noted as being there. */
void wg_state_done(struct wg_state *state)
{
	for (size_t i = 0; i < state->peer_count; i++)
		free(state->peers[i].allowed_ips);
	free(state->peers);
	*state = (struct wg_state){0};
}
