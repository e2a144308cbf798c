/* Which server a TLS ClientHello asks for. Pure.
 *
 * OpenSSL parses the hello (tls_stream.h). Here is the rest: how long the message is, and the name in its extension.
 * With Encrypted Client Hello that is the outer name, which is all that can be read.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CLIENT_HELLO_MAX 16384u /* bytes of the longest message that is looked at, its header of four included */

/**
 * client_hello_len() - Length of the ClientHello that a connection has begun with
 * @bytes: what has come, from the connection's first byte on
 *
 *    0    1         3            5
 *    | 22 | version | len, BE16  | fragment …                          a record, RFC 8446 §5.1
 *                                | 1 | len, BE24 | body …              the message, §4, in any number of records
 *
 * Return: bytes of the message, its header included; 0 where they are not known yet, or where it is none.
 */
size_t client_hello_len(const uint8_t *bytes, size_t len);

/**
 * client_hello_name() - The host name of a server_name extension
 * @extension: its data
 *
 *    0                2            3            5
 *    | list len, BE16 | type, 0    | len, BE16  | name …                   RFC 6066 §3
 *
 * Return: the name, not terminated, borrowed from @extension; NULL where there is not just one name, of type 0.
 */
const char *client_hello_name(const uint8_t *extension, size_t len, size_t *ret_len);
