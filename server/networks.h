/* The networks of a hub: its device's own, and what lies behind it. Pure. */
#pragma once

#include "server/config.h"

#define NETWORKS_OWN_MAX 2     /* one of each family */
#define NETWORKS_BEHIND_MAX 64 /* as many as an invitation has, see common/base/invitation.h */
#define NETWORKS_TEXT_MAX 3072 /* of all of them, with commas */

/* The addresses of the hub's device, with their networks' lengths, one of each family. Return: how many. */
size_t networks_list_own(const struct server_config *config, struct prefix ret[NETWORKS_OWN_MAX]);

/* True if one of @networks holds all of @prefix. */
bool networks_hold(const struct prefix *networks, size_t count, const struct prefix *prefix);

/* List all that clients reach through the hub: its own networks, then those of peers that lie outside of them, each once; no
 * way to the Internet. Return: how many, at most NETWORKS_BEHIND_MAX. */
size_t networks_list_behind(const struct server_config *config, struct prefix ret[NETWORKS_BEHIND_MAX]);

/* The same as text: "10.10.0.0/24,192.168.1.0/24", "" for none. */
void networks_format_behind(const struct server_config *config, char ret[NETWORKS_TEXT_MAX]);
