/* The settings of one tunnel's host part, handed to host_open() and read by all files of this folder: plain data. */
#pragma once

#include "common/base/addr.h"
#include "common/host/gateway.h"
#include "common/host/publish.h"
#include "common/wireguard/wg_config.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#define HOST_SERVERS_MAX 64
#define HOST_AGAIN_S 5 /* until our nftables table, which nft has refused, is made again */

/* The addresses at which the client's connection may end, as far as they are known. */
struct host_servers {
	struct addr addrs[HOST_SERVERS_MAX];
	size_t count;
};

struct host_setup {
	const char *name;	    /* of the tunnel */
	const char *typed;	    /* the same as on the command line, for commands that a message names */
	const char *config_path;    /* of the tunnel's file, for complaints */
	const char *wireguard_path; /* of the file with [Interface], which may be the same */
	const char *state_dir;
	char device[IFNAMSIZ];
	const struct wg_config *wireguard; /* borrowed until host_close(), or until host_reload() took another */
	const struct gateway *gateways;
	size_t gateway_count;
	const struct publish *publishes; /* a hub's; borrowed as wireguard is */
	size_t publish_count;
	const struct host_servers *servers; /* brought up to date by the owner before host_reload(); NULL: a hub */
	bool is_hub;	      /* forwards among its peers */
	int birth_netns_fd;   /* network namespace in which the device's UDP socket is to live; -1: this one */
	struct addr endpoint; /* of the peers that wg_config_is_through() names; family 0: there are none */
};
