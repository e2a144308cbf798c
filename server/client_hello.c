/* See client_hello.h. Lengths are checked before a byte is read. Nothing here fails: bytes that are not understood have
 * no length and no name. */
#include "server/client_hello.h"

#define RECORD_HEADER_LEN 5
#define RECORD_HANDSHAKE 22
#define MESSAGE_HEADER_LEN 4
#define MESSAGE_CLIENT_HELLO 1
#define NAME_HEADER_LEN 5 /* of the list and of its only entry */

static size_t load_be16(const uint8_t *at)
{
	return (size_t)at[0] << 8 | at[1];
}

/* The message's header may stand in up to four records. */
size_t client_hello_len(const uint8_t *bytes, size_t len)
{
	uint8_t header[MESSAGE_HEADER_LEN];
	size_t at = 0, have = 0;

	while (have < MESSAGE_HEADER_LEN && len - at >= RECORD_HEADER_LEN && bytes[at] == RECORD_HANDSHAKE) {
		size_t left = load_be16(bytes + at + 3);

		for (at += RECORD_HEADER_LEN; left > 0 && at < len && have < MESSAGE_HEADER_LEN; left--)
			header[have++] = bytes[at++];
	}
	if (have < MESSAGE_HEADER_LEN || header[0] != MESSAGE_CLIENT_HELLO)
		return 0;
	return MESSAGE_HEADER_LEN + ((size_t)header[1] << 16 | load_be16(header + 2));
}

const char *client_hello_name(const uint8_t *extension, size_t len, size_t *ret_len)
{
	if (len <= NAME_HEADER_LEN || load_be16(extension) != len - 2 || extension[2] != 0 ||
		load_be16(extension + 3) != len - NAME_HEADER_LEN)
		return NULL;
	*ret_len = len - NAME_HEADER_LEN;
	return (const char *)extension + NAME_HEADER_LEN;
}
