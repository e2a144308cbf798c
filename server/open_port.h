/* A WireGuard device that somebody else brought up (wg-quick), whose port is Target's: it answers to everybody, not to the tunnel
 * only, and the operator is told how to close it. */
#ifndef TOWPATH_SERVER_OPEN_PORT_H
#define TOWPATH_SERVER_OPEN_PORT_H

#include <net/if.h>
#include <stdint.h>

/* Look, and warn of a device of another name than @told, which is set. Without the privilege to read devices: nothing. */
void open_port_warn(uint16_t port, char told[IFNAMSIZ]);

#endif
