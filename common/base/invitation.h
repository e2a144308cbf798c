/* The invitation by which a machine joins a hub, as one line to be copied or scanned:
 *
 *     towpath://HOST[:PORT]/#BASE64URL
 *
 * Behind the "#", in bytes; few, because the picture has to fit into a terminal's 80 columns:
 *
 *     version = 1 | until, 5, the highest first | public key, 32 | 1, pin, 32, or 0 | length, token | length, hub |
 *     length, client | addresses | allowed IPs | LANs | sum, 4
 *
 * Each of the three lists is a count, and for each prefix 4 or 6, its bits, and 4 or 16 bytes of address. The sum is the
 * beginning of SHA-256 over HOST[:PORT] and all that is in front of it, so a character that is wrong or missing is noticed
 * before anything is changed. The text is a secret. Pure.
 */
#pragma once

#include "common/base/prefix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INVITATION_TEXT_MAX 4096
#define INVITATION_PREFIXES_MAX 64
#define INVITATION_KEY_LEN 32
#define INVITATION_TOKEN_MIN 16 /* bytes */
#define INVITATION_TOKEN_MAX 64

struct invitation {
	char server[272];			      /* HOST[:PORT] */
	char hub[64];				      /* its name */
	char client[64];			      /* the client's name */
	char token[INVITATION_TOKEN_MAX / 3 * 4 + 8]; /* base64url of at least INVITATION_TOKEN_MIN bytes */
	bool has_pin;				      /* false: the certificate is verified by a CA */
	uint8_t pin[32];
	uint8_t public_key[INVITATION_KEY_LEN]; /* the hub's */
	struct prefix addresses[2];		/* of the client, with their network's length */
	size_t address_count;
	struct prefix allowed[INVITATION_PREFIXES_MAX]; /* what lies behind the hub */
	size_t allowed_count;
	struct prefix lans[INVITATION_PREFIXES_MAX]; /* for which the client is the gateway */
	size_t lan_count;
	int64_t until_s;
};

/* Return: its length, or -ENOSPC, also for a token that is not base64url. */
int invitation_format(char *buf, size_t size, const struct invitation *invitation);

/* @ret_why: what is wrong with it, in words. Return: 0 or -EINVAL. */
int invitation_parse(const char *text, struct invitation *ret, const char **ret_why);

/* Drop from what lies behind the hub what lies behind the client itself. */
void invitation_drop_lans(struct invitation *invitation);
