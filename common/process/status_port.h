/* The key Status of [Server] and [Client], and its listening socket, which the supervisor makes and hands to each
 * worker. */
#pragma once

#include "common/base/err.h"
#include "common/base/key_table.h"
#include "common/wireguard/wg_config.h"

#include <stdbool.h>

/* The key as plain data; zeroed: no page. */
struct status_key {
	struct addr addr;
	char text[ADDR_TEXT_MAX];
	bool is_of_device; /* an address of our device's: answers there only */
	char place[512];   /* of complaints: "home.conf:4: Status", "--status" */
};

/* For a row of KEY_ONCE, with the offset of a struct status_key. Without a port it is 9586. */
int status_key_parse(void *owner, const char *text, const struct key_place *place);

/* When the whole file is known: the address must be of the loopback, or the device's. @config: of a device of ours,
 * NULL: there is none. Return: 0, or -EINVAL after a complaint at @place. */
int status_key_check(struct status_key *key, const struct wg_config *config, const struct key_place *place);

struct status_port {
	struct status_key key;
	int fd; /* -1: no page */
};

/* Take the port, so that a failure comes before anything is changed; nothing is answered yet. An address of a device
 * need not be there. The same key as @before's (NULL: none) shares its socket. Return: 0, or a negative errno with
 * place, cause and remedy in @err; *ret is then closed. */
int status_port_open(
	struct status_port *ret, const struct status_key *key, const struct status_port *before, struct err *err);

/* Listen, where the key says so on @device only, which is up. Return: as above. */
int status_port_listen(const struct status_port *port, const char *device, struct err *err);

void status_port_close(struct status_port *port);
