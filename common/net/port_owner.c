/* See port_owner.h.
 *
 * Theory of operation. /proc/net/tcp and its like list the sockets of our namespace, with the inode of each:
 *
 *      sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
 *       0: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20913 …
 *
 * The process that has it open is the one with a link to "socket:[20913]" among its descriptors, so /proc/PID/fd of
 * every process is looked through, but only when a socket is in the way.
 *
 * A program may take the port after the check. Then our DNAT wins, and the program hears nothing from outside: the
 * check protects against mistakes, not against races. Anything that cannot be read is no owner.
 */
#include "common/net/port_owner.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_LISTEN 0x0a      /* of TCP */
#define STATE_UNCONNECTED 0x07 /* of UDP */

/* One line of /proc/net/tcp, udp, tcp6 or udp6. */
struct socket_line {
	struct addr addr; /* IPv4-mapped becomes IPv4 */
	unsigned state;
	unsigned long inode;
};

/* Words of 32 bits as the processor has them, in hexadecimal digits. Return: false: not a socket's line. */
static bool read_line(const char *line, bool is_ipv6, struct socket_line *ret)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	uint32_t words[4];
	char host[33];
	unsigned port;

	if (sscanf(line, " %*u: %32[0-9A-F]:%4x %*32[0-9A-F]:%*4x %2x %*s %*s %*s %*u %*u %lu", host, &port,
		    &ret->state, &ret->inode) != 4 ||
		strlen(host) != (is_ipv6 ? 32u : 8u))
		return false;
	for (size_t i = 0; i < (is_ipv6 ? 4u : 1u); i++)
		if (sscanf(host + 8 * i, "%8" SCNx32, &words[i]) != 1)
			return false;
	memcpy(&in6.sin6_addr, words, is_ipv6 ? sizeof(in6.sin6_addr) : 0);
	in4.sin_addr.s_addr = words[0];
	in6.sin6_port = in4.sin_port = htons((uint16_t)port);
	addr_from_sockaddr(is_ipv6 ? (const struct sockaddr *)&in6 : (const struct sockaddr *)&in4, &ret->addr);
	return true;
}

/* A socket on [::] takes IPv4 as well unless it was told not to. The list does not show that, but then a second one can
 * have the port. */
static bool takes_ipv4(const struct service *service, uint16_t port)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool is_tcp = service->protocol == IPPROTO_TCP;
	int fd = socket(AF_INET, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0), on = 1;
	bool takes;

	if (fd < 0)
		return false;
	if (is_tcp) /* connections that have ended hold the port for a minute */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	takes = bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0 && errno == EADDRINUSE;
	close(fd);
	return takes;
}

/* A socket on one address is in the way of a service at that address, or at all of them; a wildcard socket in any
 * case, if it takes packets of the family. */
static bool is_in_the_way(const struct service *service, const struct socket_line *line)
{
	unsigned port = addr_port(&line->addr);
	struct addr host = line->addr;

	addr_set_port(&host, 0);
	if (line->state != (service->protocol == IPPROTO_TCP ? STATE_LISTEN : STATE_UNCONNECTED) ||
		port < service->ports.first || port > service->ports.last ||
		(addr_is_loopback(&host) && !addr_is_loopback(&service->address)))
		return false;
	if (addr_is_any(&host) && host.sa.sa_family != service->to.sa.sa_family)
		return host.sa.sa_family == AF_INET6 && takes_ipv4(service, (uint16_t)port);
	return addr_is_any(&host) || (host.sa.sa_family == service->to.sa.sa_family &&
					     (!service->address.sa.sa_family || addr_equal(&service->address, &host)));
}

/* @path: of a list that this kernel may not have, as without IPv6. Return: true with the first one in the way. */
static bool find_socket(const struct service *service, const char *path, bool is_ipv6, struct socket_line *ret)
{
	FILE *file = fopen(path, "re");
	char line[512];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = read_line(line, is_ipv6, ret) && is_in_the_way(service, ret);
	if (file)
		fclose(file);
	return found;
}

/* True if a descriptor of the process is that socket. */
static bool has_socket(const char *process, const char *socket)
{
	char path[300], target[64];
	struct dirent *entry;
	bool found = false;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", process);
	folder = opendir(path);
	while (folder && !found && (entry = readdir(folder))) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/%.20s/fd/%s", process, entry->d_name);
		len = readlink(path, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = '\0';
		found = strcmp(target, socket) == 0;
	}
	if (folder)
		closedir(folder);
	return found;
}

/* Sets the number and the name of the first process with that socket; a process that ends meanwhile has no name. */
static void find_process(unsigned long inode, struct port_owner *ret)
{
	char socket[64], path[64];
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	FILE *file = NULL;

	snprintf(socket, sizeof(socket), "socket:[%lu]", inode);
	while (folder && ret->pid == 0 && (entry = readdir(folder)))
		if (isdigit((unsigned char)entry->d_name[0]) && has_socket(entry->d_name, socket))
			ret->pid = atoi(entry->d_name);
	if (folder)
		closedir(folder);
	snprintf(path, sizeof(path), "/proc/%d/comm", ret->pid);
	if (ret->pid > 0)
		file = fopen(path, "re");
	if (file && fgets(ret->name, sizeof(ret->name), file))
		ret->name[strcspn(ret->name, "\n")] = '\0';
	if (file)
		fclose(file);
}

bool port_owner_find(const struct service *service, struct port_owner *ret)
{
	static const char *const paths[2][2] = {
		{"/proc/net/tcp", "/proc/net/tcp6"}, {"/proc/net/udp", "/proc/net/udp6"}};
	struct socket_line line;

	for (int i = 0; i < 2; i++)
		if (find_socket(service, paths[service->protocol == IPPROTO_UDP][i], i == 1, &line)) {
			*ret = (struct port_owner){.port = addr_port(&line.addr)};
			find_process(line.inode, ret);
			return true;
		}
	return false;
}
