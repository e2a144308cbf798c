/* See wg_userspace.h.
 *
 * Theory of operation. Each NAME.sock of the folder, where NAME is a device of this network namespace, is asked for
 * its configuration, and the answer read line by line:
 *
 *    ▶ get=1                                    the question, and an empty line
 *    ◀ private_key=…                            keys of the device
 *    ◀ fwmark=51820
 *    ◀ public_key=…                             begins a peer
 *    ◀ endpoint=127.0.0.1:51820                 our local port: this device goes through our tunnel
 *    ◀ errno=0                                  and an empty line: the end
 *
 * The folder is shared by all network namespaces of the host, hence the check of the device's name. A socket that no
 * program serves and a program that does not answer in time are skipped: wireguard-go beside us is rare, and not
 * finding its device only means that a full tunnel of its own has to be named by FwMark.
 */
#include "common/wireguard/wg_userspace.h"

#include "common/base/addr.h"
#include "common/base/secret.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (1u << 20) /* some 4,000 peers */
/* Each way, for each socket: the supervisor waits in the call, and a program of this host answers within 1 ms. */
#define PATIENCE_US 100000

/* Is this peer's endpoint the UDP port at which our client takes WireGuard's packets? */
static bool is_endpoint(const char *value, size_t len, uint16_t listen_port)
{
	char text[ADDR_TEXT_MAX];
	struct addr addr;

	if (len >= sizeof(text))
		return false;
	memcpy(text, value, len);
	text[len] = '\0';
	return addr_parse(text, 0, &addr) == 0 && addr_is_loopback(&addr) && addr_port(&addr) == listen_port;
}

/* Return: behind "KEY=", up to the end of all lines, or NULL for another key. */
static const char *value_of(const char *line, const char *key)
{
	size_t len = strlen(key);

	return strncmp(line, key, len) == 0 && line[len] == '=' ? line + len + 1 : NULL;
}

/* The answer of the cross-platform interface (wireguard.com/xplatform): lines KEY=VALUE, those of the device ahead of
 * the peers'. Keys that are not ours are passed over. */
int wg_userspace_read(const char *answer, uint16_t listen_port, uint32_t *ret_fwmark)
{
	uint32_t fwmark = 0;
	bool is_found = false;
	const char *value;

	while (*answer) {
		size_t len = strcspn(answer, "\n");

		value = value_of(answer, "fwmark");
		if (value)
			fwmark = (uint32_t)strtoul(value, NULL, 0);
		value = value_of(answer, "endpoint");
		if (value && is_endpoint(value, len - (size_t)(value - answer), listen_port))
			is_found = true;
		answer += len + (answer[len] == '\n');
	}
	if (is_found)
		*ret_fwmark = fwmark;
	return is_found;
}

/* --- asking --- */

/* Both directions have their time limit; connect() to a local socket waits by the one for sending. Return: a
 * descriptor, or -1. */
static int connect_to(const char *path)
{
	const struct timeval patience = {.tv_usec = PATIENCE_US};
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd;

	if (snprintf(to.sun_path, sizeof(to.sun_path), "%s", path) >= (int)sizeof(to.sun_path))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The answer ends with an empty line. Return: false if that does not come. */
static bool read_answer(int fd, char *answer)
{
	size_t used = 0;

	while (used < ANSWER_MAX) {
		ssize_t n = recv(fd, answer + used, ANSWER_MAX - used, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		used += (size_t)n;
		answer[used] = '\0';
		if (used >= 2 && strcmp(answer + used - 2, "\n\n") == 0)
			return true;
	}
	return false;
}

/* The answer is one buffer that is wiped, since it has the device's private key in it. Return: 1: found, else 0. */
static int ask(const char *path, uint16_t listen_port, uint32_t *ret_fwmark)
{
	static const char question[] = "get=1\n\n";
	char *answer;
	int found = 0;
	int fd = connect_to(path);

	if (fd < 0)
		return 0;
	answer = calloc(1, ANSWER_MAX + 1);
	if (answer && send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) == sizeof(question) - 1 &&
		read_answer(fd, answer))
		found = wg_userspace_read(answer, listen_port, ret_fwmark);
	secret_free(answer);
	close(fd);
	return found;
}

/* "wg0.sock" → "wg0", where there is such a device. */
static bool take_device(const char *file, char ret_name[IFNAMSIZ])
{
	static const char ending[] = ".sock";
	size_t len = strlen(file);
	size_t name_len = len - (sizeof(ending) - 1);

	if (len < sizeof(ending) || strcmp(file + name_len, ending) != 0 || name_len >= IFNAMSIZ)
		return false;
	memcpy(ret_name, file, name_len);
	ret_name[name_len] = '\0';
	return if_nametoindex(ret_name) != 0;
}

int wg_userspace_find_mark(const char *folder, uint16_t listen_port, char ret_name[IFNAMSIZ], uint32_t *ret_fwmark)
{
	const struct dirent *item;
	char path[512], name[IFNAMSIZ];
	DIR *items = opendir(folder);
	int found = 0;

	while (items && !found && (item = readdir(items))) {
		if (!take_device(item->d_name, name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, item->d_name);
		found = ask(path, listen_port, ret_fwmark);
		if (found)
			memcpy(ret_name, name, sizeof(name));
	}
	if (items)
		closedir(items);
	return found;
}
