/* The host's resolver (dns.h).
 *
 * The result is a command line, which is also kept in the undo list, so each word in it is checked letter by letter
 * first. The files of resolvconf are read below a root folder, so that a test can bring its own. systemd-resolved is
 * asked by D-Bus, which does not start it. A host may have none of these; then there are no uplink servers, which is no
 * failure.
 *
 * Where both tools are there resolvconf is used, as wg-quick does: /etc/resolv.conf is then made from its records, and
 * programs that read that file would never hear of servers that only resolved knows.
 *
 *     /run/resolvconf/interface/eth0.dhclient    Debian's resolvconf: DEVICE.PROGRAM, and wg-quick's tun.wg0
 *     /run/resolvconf/interfaces/eth0.dhcp       openresolv
 *     /run/resolvconf/keys/eth0.dhcp             the same, newer
 */
#include "common/net/dns.h"

#include "common/base/file.h"
#include "common/base/text.h"
#include "common/net/command.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-bus.h>
#endif

#define DNS_PORT 53
/* A resolv.conf has a few lines; the bound is for a file that is none. */
#define DNS_FILE_MAX (1u << 20)
#define DNS_PATH_MAX 4096
/* The call blocks the loop: enough for a busy service on this host, and a tunnel does not feel it. */
#define DNS_BUS_WAIT_US 300000
#define DNS_RESOLVED_SOCKET "/run/systemd/resolve/io.systemd.Resolve"

/* --- what the host has --- */

/* Is the service running? Its socket file stays behind when it ends, so it must be connected to. */
static bool resolved_runs(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = DNS_RESOLVED_SOCKET};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool runs = fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0;

	if (fd >= 0)
		close(fd);
	return runs;
}

/* "tun*" → "tun.": letters, digits and dashes before a star at the end. */
static bool take_order(const char *line, char ret[DNS_PREFIX_MAX])
{
	size_t len = 0;

	while (isalnum((unsigned char)line[len]) || line[len] == '-')
		len++;
	if (len == 0 || len + 2 > DNS_PREFIX_MAX || strcmp(line + len, "*") != 0)
		return false;
	snprintf(ret, DNS_PREFIX_MAX, "%.*s.", (int)len, line);
	return true;
}

void dns_read_interface_prefix(const char *root, char ret[DNS_PREFIX_MAX])
{
	char path[DNS_PATH_MAX], *text, *rest, *line;

	ret[0] = '\0';
	snprintf(path, sizeof(path), "%s/etc/resolvconf/interface-order", root);
	if (file_read_text(path, DNS_FILE_MAX, &text, NULL) < 0)
		return;
	for (line = strtok_r(text, " \t\r\n", &rest); line; line = strtok_r(NULL, " \t\r\n", &rest))
		if (take_order(line, ret))
			break;
	free(text);
}

void dns_look_for_tools(struct dns_tools *ret)
{
	char target[PATH_MAX];
	/* The package of systemd-resolved has a resolvconf that is a link to resolvectl, asked directly here. */
	const char *name = realpath("/usr/sbin/resolvconf", target) ? strrchr(target, '/') : NULL;

	memset(ret, 0, sizeof(*ret));
	ret->has_resolved = command_exists("resolvectl") && resolved_runs();
	ret->has_resolvconf = command_exists("resolvconf") && !(name && strcmp(name, "/resolvectl") == 0);
	dns_read_interface_prefix("", ret->interface_prefix);
}

/* --- command lines --- */

/* The same test as wg-quick's: everything else is a search domain. */
static bool is_address(const char *word)
{
	return strchr(word, ':') || word[strspn(word, "0123456789.")] == '\0';
}

static size_t count_addresses(char *const *words, size_t count)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += is_address(words[i]);
	return found;
}

static void append(char line[DNS_COMMAND_MAX + 1], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line that does not fit is cut to DNS_COMMAND_MAX characters, by which take_line() finds it. */
static void append(char line[DNS_COMMAND_MAX + 1], const char *format, ...)
{
	size_t len = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + len, DNS_COMMAND_MAX + 1 - len, format, args);
	va_end(args);
}

static void append_words(char line[DNS_COMMAND_MAX + 1], char *const *words, size_t count, bool addresses)
{
	for (size_t i = 0; i < count; i++)
		if (is_address(words[i]) == addresses)
			append(line, *words[i] == '~' ? " '%s'" : " %s", words[i]); /* no home directory of sh's */
}

/* One line for each server, and one for all domains. Openresolv puts metric 0 (-m) ahead of all other interfaces, and
 * an exclusive entry (-x) hides their servers: no name is asked of the local network. */
static void format_resolvconf(char line[DNS_COMMAND_MAX + 1], const struct dns_tools *tools, const char *device,
	char *const *words, size_t count)
{
	append(line, "{ printf 'nameserver %%s\\n'");
	append_words(line, words, count, true);
	if (count_addresses(words, count) < count) {
		append(line, "; echo search");
		append_words(line, words, count, false);
	}
	append(line, "; } | resolvconf -a %s%s -m 0 -x", tools->interface_prefix, device);
}

/* "~.": every question goes to these servers, not only those that no other link has a domain for. */
static void format_resolvectl(char line[DNS_COMMAND_MAX + 1], const char *device, char *const *words, size_t count)
{
	append(line, "resolvectl dns %s", device);
	append_words(line, words, count, true);
	append(line, " && resolvectl domain %s '~.'", device);
	append_words(line, words, count, false);
	append(line, " && resolvectl default-route %s true", device);
}

/* Without any resolver program the tunnel could come up, but names would still go to the local network: refused. */
static int check_tools(const struct dns_tools *tools, const char *device, struct err *err)
{
	/* The name stands unquoted in the command line, and resolvconf makes a file name of it. */
	if (!text_is_argument(device, "_=+.@-") || strlen(device) >= IFNAMSIZ)
		return err_set(err, -EINVAL, "'%s': not the name of a device", device);
	if (!tools->has_resolvconf && !tools->has_resolved)
		return err_set(err, -ENOENT,
			"neither resolvconf nor systemd-resolved is here; the package openresolv (or resolvconf, or "
			"systemd-resolved) helps");
	return 0;
}

static int take_line(const char line[DNS_COMMAND_MAX + 1], char ret[DNS_COMMAND_MAX], struct err *err)
{
	if (strlen(line) >= DNS_COMMAND_MAX)
		return err_set(err, -E2BIG, "too many servers and domains");
	memcpy(ret, line, strlen(line) + 1);
	return 0;
}

int dns_format_set(const struct dns_tools *tools, const char *device, char *const *words, size_t count,
	char ret[DNS_COMMAND_MAX], struct err *err)
{
	char line[DNS_COMMAND_MAX + 1] = "";
	int rc = check_tools(tools, device, err);

	if (rc < 0)
		return rc;
	/* "~" in front makes a routing domain; append_words() quotes such a word. */
	for (size_t i = 0; i < count; i++)
		if (!text_is_argument(words[i] + (*words[i] == '~'), "_=+:%.-"))
			return err_set(err, -EINVAL, "'%s': expected an address or a domain", words[i]);
	if (count_addresses(words, count) == 0)
		return take_line(line, ret, err);
	for (size_t i = 0; tools->has_resolvconf && i < count; i++)
		if (*words[i] == '~')
			return err_set(err, -EINVAL,
				"'%s': resolvconf knows no routing domains; expected '%s', a search domain, or "
				"systemd-resolved without the package resolvconf or openresolv",
				words[i], words[i] + 1);
	if (tools->has_resolvconf)
		format_resolvconf(line, tools, device, words, count);
	else
		format_resolvectl(line, device, words, count);
	return take_line(line, ret, err);
}

int dns_format_unset(const struct dns_tools *tools, const char *device, char ret[DNS_COMMAND_MAX], struct err *err)
{
	char line[DNS_COMMAND_MAX + 1] = "";
	int rc = check_tools(tools, device, err);

	if (rc < 0)
		return rc;
	/* The device may be gone by now, and with it its record (-f) or all that resolved knew of it. */
	if (tools->has_resolvconf)
		append(line, "resolvconf -d %s%s -f", tools->interface_prefix, device);
	else
		append(line, "resolvectl revert %s || test ! -e /sys/class/net/%s", device, device);
	return take_line(line, ret, err);
}

/* --- name servers of the physical links --- */

struct servers {
	struct addr list[DNS_SERVERS_MAX];
	size_t count;
};

static bool servers_have(const struct servers *servers, const struct addr *server)
{
	for (size_t i = 0; i < servers->count; i++)
		if (addr_equal(&servers->list[i], server))
			return true;
	return false;
}

/* Each server once. A loopback address is a forwarder on this host, which would ask through the tunnel. */
static void servers_add(struct servers *servers, const struct addr *server)
{
	if (servers->count < DNS_SERVERS_MAX && !addr_is_loopback(server) && !servers_have(servers, server))
		servers->list[servers->count++] = *server;
}

/* By sysfs and not by netlink, so that a test can lay out devices in a folder. */
static bool is_wireguard(const char *root, const char *device)
{
	char path[DNS_PATH_MAX], *text;
	bool is;

	snprintf(path, sizeof(path), "%s/sys/class/net/%s/uevent", root, device);
	if (file_read_text(path, DNS_FILE_MAX, &text, NULL) < 0)
		return false;
	is = strstr(text, "DEVTYPE=wireguard\n") != NULL;
	free(text);
	return is;
}

/* "eth0", "eth0.dhclient", "tun.eth0"; the name of a device may have dots itself, so the record is compared and not
 * taken apart. */
static bool is_record_of(const char *record, const char *device)
{
	size_t len = strlen(device), record_len = strlen(record);

	if (strncmp(record, device, len) == 0 && (record[len] == '\0' || record[len] == '.'))
		return true;
	return record_len > len && record[record_len - len - 1] == '.' &&
	       strcmp(record + record_len - len, device) == 0;
}

/* True if a record of resolvconf belongs to a WireGuard device, to @except or to the loopback: its servers lie inside a
 * tunnel. */
static bool is_tunnel_record(const char *root, const char *record, const char *except)
{
	char path[DNS_PATH_MAX];
	struct dirent *entry;
	bool is = is_record_of(record, except) || is_record_of(record, "lo");
	DIR *devices;

	snprintf(path, sizeof(path), "%s/sys/class/net", root);
	devices = is ? NULL : opendir(path);
	if (!devices)
		return is;
	while (!is && (entry = readdir(devices)))
		is = entry->d_name[0] != '.' && is_record_of(record, entry->d_name) &&
		     is_wireguard(root, entry->d_name);
	closedir(devices);
	return is;
}

/* Read the lines "nameserver ADDRESS" of a resolv.conf. @except: NULL, or servers to be left out. */
static void read_resolv_conf(const char *path, const struct servers *except, struct servers *servers)
{
	char *text, *rest, *line, address[ADDR_TEXT_MAX];
	struct addr server;

	if (file_read_text(path, DNS_FILE_MAX, &text, NULL) < 0)
		return;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, " nameserver %79s", address) == 1 && addr_parse(address, DNS_PORT, &server) == 0 &&
			!(except && servers_have(except, &server)))
			servers_add(servers, &server);
	}
	free(text);
}

bool dns_is_asked_first(const char *root, const char *set)
{
	char path[DNS_PATH_MAX], *text, *at, address[ADDR_TEXT_MAX];
	const char *found;
	size_t len = 0;

	snprintf(path, sizeof(path), "%s/etc/resolv.conf", root);
	if (file_read_text(path, DNS_FILE_MAX, &text, NULL) < 0)
		return false;
	for (char *rest = text; len == 0 && (at = strsep(&rest, "\n"));)
		if (sscanf(at, " nameserver %79s", address) == 1)
			len = strlen(address);
	free(text);
	for (found = len > 0 ? strstr(set, address) : NULL; found; found = strstr(found + 1, address))
		if (found > set && found[-1] == ' ' && strchr(" ;", found[len]))
			return true;
	return false;
}

/* All records of one folder, in the order of their names. A folder that is not there has none. */
static void read_records(
	const char *root, const char *folder, const char *except, struct servers *uplinks, struct servers *tunnels)
{
	char path[DNS_PATH_MAX], file[2 * DNS_PATH_MAX];
	struct dirent **entries;
	int count;

	snprintf(path, sizeof(path), "%s%s", root, folder);
	count = scandir(path, &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		const char *record = entries[i]->d_name;

		snprintf(file, sizeof(file), "%s/%s", path, record);
		if (record[0] != '.')
			read_resolv_conf(file, NULL, is_tunnel_record(root, record, except) ? tunnels : uplinks);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

/* /etc/resolv.conf counts only where no record names a server: under resolvconf it holds the tunnel's servers as well,
 * and those are then left out by their addresses. */
size_t dns_read_uplink_servers(const char *root, const char *except, struct addr ret[DNS_SERVERS_MAX])
{
	struct servers uplinks = {.count = 0}, tunnels = {.count = 0};
	char path[DNS_PATH_MAX];

	read_records(root, "/run/resolvconf/interface", except, &uplinks, &tunnels);
	read_records(root, "/run/resolvconf/interfaces", except, &uplinks, &tunnels);
	read_records(root, "/run/resolvconf/keys", except, &uplinks, &tunnels);
	if (uplinks.count == 0) {
		snprintf(path, sizeof(path), "%s/etc/resolv.conf", root);
		read_resolv_conf(path, &tunnels, &uplinks);
	}
	memcpy(ret, uplinks.list, uplinks.count * sizeof(*ret));
	return uplinks.count;
}

#ifdef HAVE_SYSTEMD
static bool is_tunnel_index(int index, const char *except)
{
	char device[IFNAMSIZ];

	if (index <= 0 || !if_indextoname((unsigned)index, device))
		return false;
	return strcmp(device, except) == 0 || strcmp(device, "lo") == 0 || is_wireguard("", device);
}

/* A link-local server is reached only by its own link, so the link becomes part of the address. */
static bool take_address(int family, const void *bytes, size_t len, int index, struct addr *ret)
{
	struct addr addr = {0};

	addr.sa.sa_family = (sa_family_t)family;
	if (family == AF_INET && len == sizeof(addr.in4.sin_addr))
		memcpy(&addr.in4.sin_addr, bytes, len);
	else if (family == AF_INET6 && len == sizeof(addr.in6.sin6_addr))
		memcpy(&addr.in6.sin6_addr, bytes, len);
	else
		return false;
	if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr.in6.sin6_addr))
		addr.in6.sin6_scope_id = (uint32_t)index;
	addr_set_port(&addr, DNS_PORT);
	*ret = addr;
	return true;
}

/* Array of (interface, family, address); interface 0: for all links. */
static void take_servers(sd_bus_message *reply, const char *except, struct servers *servers)
{
	struct addr server;
	const void *bytes;
	size_t len;
	int index, family;

	if (sd_bus_message_enter_container(reply, 'v', "a(iiay)") < 0 ||
		sd_bus_message_enter_container(reply, 'a', "(iiay)") < 0)
		return;
	while (sd_bus_message_enter_container(reply, 'r', "iiay") > 0) {
		if (sd_bus_message_read(reply, "ii", &index, &family) < 0 ||
			sd_bus_message_read_array(reply, 'y', &bytes, &len) < 0 ||
			sd_bus_message_exit_container(reply) < 0)
			return;
		if (take_address(family, bytes, len, index, &server) && !is_tunnel_index(index, except))
			servers_add(servers, &server);
	}
}

/* The property "DNS" of the manager: the servers of all links in one answer. Without auto-start, because a service that
 * the administrator has stopped shall stay so. */
static void ask_resolved(sd_bus *bus, const char *except, struct servers *servers)
{
	sd_bus_message *question = NULL, *reply = NULL;

	if (sd_bus_message_new_method_call(bus, &question, "org.freedesktop.resolve1", "/org/freedesktop/resolve1",
		    "org.freedesktop.DBus.Properties", "Get") >= 0 &&
		sd_bus_message_set_auto_start(question, 0) >= 0 &&
		sd_bus_message_append(question, "ss", "org.freedesktop.resolve1.Manager", "DNS") >= 0 &&
		sd_bus_call(bus, question, DNS_BUS_WAIT_US, NULL, &reply) >= 0)
		take_servers(reply, except, servers);
	sd_bus_message_unref(reply);
	sd_bus_message_unref(question);
}

static size_t resolved_servers(const char *except, struct addr ret[DNS_SERVERS_MAX])
{
	struct servers servers = {.count = 0};
	sd_bus *bus = NULL;

	if (sd_bus_open_system(&bus) < 0)
		return 0;
	ask_resolved(bus, except, &servers);
	sd_bus_close_unref(bus);
	memcpy(ret, servers.list, servers.count * sizeof(*ret));
	return servers.count;
}
#endif

/* Resolved comes first: where it runs, /etc/resolv.conf names only its stub, 127.0.0.53, and the stub would ask through
 * the tunnel. */
size_t dns_uplink_servers(const char *except, struct addr ret[DNS_SERVERS_MAX])
{
#ifdef HAVE_SYSTEMD
	size_t count = resolved_servers(except, ret);

	if (count > 0)
		return count;
#endif
	return dns_read_uplink_servers("", except, ret);
}
