/* Text to addresses and back. The text may come from a file or from the worker, so it is checked in full: literal
 * addresses only, no names, no ports, no blanks. Fails with -EINVAL for the whole text. */
#include "client/address_list.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* addr_parse() takes ports and therefore wants brackets around an IPv6 address; here neither is allowed. */
static int parse_one(const char *text, size_t len, uint16_t port, struct addr *ret)
{
	char buf[ADDR_TEXT_MAX];

	if (len == 0 || len > sizeof(buf) - 3 || memchr(text, '[', len))
		return -EINVAL;
	snprintf(buf, sizeof(buf), memchr(text, ':', len) ? "[%.*s]" : "%.*s", (int)len, text);
	return addr_parse(buf, port, ret);
}

int address_list_parse(const char *text, uint16_t port, struct addr ret[ADDRESS_LIST_MAX])
{
	struct addr addresses[ADDRESS_LIST_MAX];
	int count = 0;

	if (text[0] == '\0')
		return 0;
	for (;;) {
		size_t len = strcspn(text, ",");

		if (count == ADDRESS_LIST_MAX || parse_one(text, len, port, &addresses[count]) < 0)
			return -EINVAL;
		count++;
		if (text[len] == '\0')
			break;
		text += len + 1;
	}
	memcpy(ret, addresses, (size_t)count * sizeof(*ret));
	return count;
}

/* An address that does not fit is left out with all behind it: half of one could be another host's. */
const char *address_list_format(char buf[ADDRESS_LIST_TEXT_MAX], const struct addr *addresses, size_t count)
{
	char text[ADDR_TEXT_MAX];
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < count && i < ADDRESS_LIST_MAX; i++) {
		size_t len = strlen(addr_format_host(text, sizeof(text), &addresses[i]));

		if (used + len + 2 > ADDRESS_LIST_TEXT_MAX)
			break;
		used += (size_t)snprintf(buf + used, ADDRESS_LIST_TEXT_MAX - used, "%s%s", used > 0 ? "," : "", text);
	}
	return buf;
}
