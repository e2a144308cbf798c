/* Addresses as one text, "203.0.113.10,2001:db8::1", without ports: on disk, in settings, over the channel. Pure. */
#ifndef TOWPATH_CLIENT_ADDRESS_LIST_H
#define TOWPATH_CLIENT_ADDRESS_LIST_H

#include "common/base/addr.h"

#include <stddef.h>
#include <stdint.h>

#define ADDRESS_LIST_MAX 8u
#define ADDRESS_LIST_TEXT_MAX 400u /* eight IPv6 addresses, three of them with a zone */

/* All of them or nothing. Return: how many, 0 for "", -EINVAL for anything that is no such text. */
int address_list_parse(const char *text, uint16_t port, struct addr ret[ADDRESS_LIST_MAX]);

/* The first ADDRESS_LIST_MAX, and of these as many as fit whole. Return: @buf. */
const char *address_list_format(char buf[ADDRESS_LIST_TEXT_MAX], const struct addr *addresses, size_t count);

#endif
