/* Advice for a Target that is a WireGuard device of this host, brought up by another program (wg-quick): its port
 * answers to the whole network, not to the tunnel only. The operator is told how to close it. */
#pragma once

#include <net/if.h>
#include <stdint.h>

/* Warn of a WireGuard device that listens on @port, unless its name is @told; then set @told. Without the privilege to
 * read devices nothing happens. */
void open_port_warn(uint16_t port, char told[IFNAMSIZ]);
