/* Addresses as one text, "203.0.113.10,2001:db8::1", without ports: on disk, in settings, over the channel. Pure. */
#pragma once

#include "common/base/addr.h"

#include <stddef.h>
#include <stdint.h>

#define ADDRESS_LIST_MAX 8u
#define ADDRESS_LIST_TEXT_MAX 400u /* eight IPv6 addresses, three of them with a zone */

/* Parse the text, each address with @port. Return: how many, 0 for "", -EINVAL for any other text, @ret untouched. */
int address_list_parse(const char *text, uint16_t port, struct addr ret[ADDRESS_LIST_MAX]);

/* Write at most ADDRESS_LIST_MAX addresses, and no address that does not fit whole. Return: @buf. */
const char *address_list_format(char buf[ADDRESS_LIST_TEXT_MAX], const struct addr *addresses, size_t count);
