/* The ClientHello: no byte is read beyond what has come, a length that is known stays when more comes, and a name lies
 * within its extension and fits itself and no shorter one.
 */
#include "common/base/server_name.h"
#include "server/client_hello.h"
#include "tests/fuzz/fuzz.h"

static void check_len(const uint8_t *data, size_t size)
{
	size_t len = client_hello_len(data, size);

	CLAIM(len == 0 || (len >= 4 && size >= 9));
	for (size_t less = 1; less < size && less < 64; less++) {
		uint8_t *front = fuzz_copy(data, less);
		size_t then = client_hello_len(front, less);

		CLAIM(then == 0 || then == len);
		free(front);
	}
}

static void check_name(const uint8_t *data, size_t size)
{
	size_t len = 0;
	const char *name = client_hello_name(data, size, &len);
	char text[SERVER_NAME_MAX + 1];

	if (!name)
		return;
	CLAIM(len > 0 && (const uint8_t *)name + len == data + size);
	if (len > SERVER_NAME_MAX)
		return;
	memcpy(text, name, len);
	text[len] = '\0';
	if (memchr(name, '\0', len) || server_name_find_fault(text))
		return;
	CLAIM(text[0] == '*' || server_name_fits(text, name, len));
	CLAIM(!server_name_fits(text, name, len - 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (size == 0)
		return 0;
	copy = fuzz_copy(data, size);
	check_len(copy, size);
	check_name(copy, size);
	free(copy);
	return 0;
}
