/* The manager's own file: /etc/wireguard/INTERFACE.conf as the program that rewrites the device has it, which is where
 * wg-easy and wg-quick keep it. Read for two questions: to which peer does it give a prefix, and is it another one than
 * before? Nothing secret of it is kept.
 */
#pragma once

#include "common/base/prefix.h"
#include "common/wireguard/wg_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct claim_file_line {
	uint8_t public_key[WG_CONFIG_KEY_LEN];
	struct prefix prefix;
};

/* Zero-initialised: there is none. */
struct claim_file {
	struct stat status; /* of the file that was read; zeros: none */
	uint64_t content;   /* a number for what was in it; 0: none */
	struct claim_file_line *lines;
	size_t count;
};

/**
 * claim_file_look() - Read the file, if it is another one than the last time or has changed
 * @namespace_path: of the device's namespace, "" for ours
 *
 * In a container's namespace, /proc/PID/ns/net, the file is that process's; in a named one that of /etc/netns/NAME, as
 * ip-netns(8) has it, or else the host's. A file that is missing or cannot be read gives nothing to anybody.
 */
void claim_file_look(struct claim_file *file, const char *namespace_path, const char *interface);
void claim_file_done(struct claim_file *file);

/* True if the peer with that key has that prefix in it. */
bool claim_file_gives(
	const struct claim_file *file, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct prefix *prefix);

/* True if it was written within the last second: its writer may not be done with it. */
bool claim_file_is_fresh(const struct claim_file *file);
