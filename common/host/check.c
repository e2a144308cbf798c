/* See check.h. Happy path: one question after the other, from what everything needs (privilege, WireGuard) to what only
 * some files need. The first "no" is the refusal. Gateways and the resolver are looked up by facts.c, which needs the
 * answers. It is asked here as well, because hooks run between this check and the plan.
 *
 * In one thing this is stricter than wg-quick(8): a Table = NUMBER that has another program's routes is refused as a
 * whole, not only where one of our routes would clash. That program's rules send traffic there, and one more route may
 * catch some of it. The tables that every host has (main, default, local) are shared by all: there only a clash is
 * refused.
 */
#include "common/host/check.h"

#include "common/base/file.h"
#include "common/base/place.h"
#include "common/base/text.h"
#include "common/host/facts.h"
#include "common/host/full_tunnel.h"
#include "common/host/plan.h"
#include "common/net/address.h"
#include "common/net/command.h"
#include "common/net/link.h"
#include "common/net/route.h"
#include "common/net/sysctl.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_TEXT_MAX 128
#define STATE_FILE_MAX 65536 /* what NetworkManager and systemd-networkd write about one device is a few lines */

struct checking {
	struct netlink *netlink;
	const struct host_setup *setup;
	const struct wg_config_interface *interface;
	struct err *err;
	/* For a reload: */
	int index;		      /* of our device, whose routes do not count as clashes; 0: it is not there yet */
	const struct plan_index *had; /* our routes that are there already; NULL: none */
};

/* A refusal: the value, and its place in the file. */
struct spot {
	const char *path;
	unsigned line;
	const char *key;
	const char *value; /* NULL: none */
};

/* "FILE:LINE: KEY: 'VALUE': what is wrong; what helps" */
static int refuse(const struct checking *checking, int code, const struct spot *spot, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int refuse(const struct checking *checking, int code, const struct spot *spot, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!spot->value)
		return err_set(checking->err, code, "%s: %s: %s", PLACE(spot->path, spot->line), spot->key, text);
	return err_set(checking->err, code, "%s: %s: '%s': %s", PLACE(spot->path, spot->line), spot->key, spot->value,
		text);
}

/* @line 0: the key is missing, which is reported at its section's header. */
static struct spot spot_of(const struct checking *checking, unsigned line, const char *key, const char *value)
{
	return (struct spot){checking->setup->wireguard_path, line ? line : checking->interface->line, key, value};
}

/* For what a full tunnel, a gateway or a hub needs: the header of the section that asks for it. */
static struct spot spot_of_setup(const struct checking *checking)
{
	const struct host_setup *setup = checking->setup;

	if (setup->gateway_count > 0)
		return (struct spot){setup->config_path, setup->gateways[0].line, "[Gateway]", NULL};
	return spot_of(checking, 0, "[Interface]", NULL);
}

/* The device's name, for complaints that have its index. */
static const char *name_of(const struct checking *checking, int index, char buf[IFNAMSIZ])
{
	struct net_link link;
	struct err ignored;

	snprintf(buf, IFNAMSIZ, "%s", "nowhere");
	if (index > 0 && net_link_get(checking->netlink, index, &link, &ignored) == 0)
		snprintf(buf, IFNAMSIZ, "%s", link.name);
	return buf;
}

/* --- privilege and WireGuard --- */

bool check_has_capability(unsigned capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capget, &header, data) == 0 &&
	       (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability));
}

static int check_privilege(const struct checking *checking, bool is_hidden)
{
	struct spot spot = spot_of(checking, 0, "[Interface]", NULL);

	if (!check_has_capability(CAP_NET_ADMIN))
		return refuse(checking, -EPERM, &spot,
			"a device is made with CAP_NET_ADMIN only; start this program as root, or by its systemd unit, "
			"a container with docker run --cap-add NET_ADMIN");
	if (is_hidden && !check_has_capability(CAP_SYS_ADMIN))
		return refuse(checking, -EPERM, &spot,
			"a device's UDP port is hidden with CAP_SYS_ADMIN only; start this program as root, a "
			"container with docker run --cap-add SYS_ADMIN; Hidden = no works without, and this host then "
			"answers at that port");
	return 0;
}

/* Asking loads the module where there is one, so "no" is the kernel's last word. */
static int check_kernel(const struct checking *checking)
{
	struct spot spot = spot_of(checking, 0, "[Interface]", NULL);

	if (wg_device_kernel_has())
		return 0;
	return refuse(checking, -EOPNOTSUPP, &spot,
		"this kernel has no WireGuard; Linux has it since 5.6 (reboot where a newer kernel is installed), "
		"older ones with apt install wireguard-dkms; else leave the device to wg-quick with wireguard-go, and "
		"take [Interface] out");
}

int check_capable(const char *path, const struct wg_config *wireguard, bool is_hidden, struct err *err)
{
	const struct host_setup setup = {.wireguard_path = path, .wireguard = wireguard};
	const struct checking checking = {.setup = &setup, .interface = &wireguard->interface, .err = err};
	int rc = check_privilege(&checking, is_hidden);

	return rc < 0 ? rc : check_kernel(&checking);
}

/* --- the device --- */

/* True if a state file of another program contains @word. A file that is missing or too large says nothing. */
static bool says(const char *path, const char *word)
{
	struct err ignored;
	char *text;
	bool found;

	if (file_read_text(path, STATE_FILE_MAX, &text, &ignored) < 0)
		return false;
	found = strstr(text, word);
	free(text);
	return found;
}

/* Name the program that has made the device, and the command that removes it. Return: false if that is not known. */
static bool find_owner(const struct net_link *link, const char **ret_owner, char remedy[PATH_TEXT_MAX])
{
	char path[PATH_TEXT_MAX];

	snprintf(path, sizeof(path), "/run/NetworkManager/devices/%d", link->index);
	if (says(path, "connection-uuid=")) {
		*ret_owner = "NetworkManager's";
		snprintf(remedy, PATH_TEXT_MAX, "nmcli device disconnect %s", link->name);
		return true;
	}
	snprintf(path, sizeof(path), "/run/systemd/netif/links/%d", link->index);
	if (says(path, "NETWORK_FILE=/")) {
		*ret_owner = "systemd-networkd's";
		snprintf(remedy, PATH_TEXT_MAX, "networkctl delete %s, and its .netdev file elsewhere,", link->name);
		return true;
	}
	snprintf(path, sizeof(path), "/etc/wireguard/%s.conf", link->name);
	if ((strcmp(link->kind, "wireguard") == 0 || strcmp(link->kind, "tun") == 0) && access(path, F_OK) == 0) {
		*ret_owner = "wg-quick's, as it seems";
		snprintf(remedy, PATH_TEXT_MAX, "wg-quick down %s", link->name);
		return true;
	}
	return false;
}

/* A device of that name is never taken over or deleted: it may carry traffic. */
static int check_device(const struct checking *checking)
{
	struct spot spot = spot_of(checking, 0, "[Interface]", checking->setup->device);
	char remedy[PATH_TEXT_MAX];
	const char *owner;
	struct net_link link;
	int rc = net_link_find(checking->netlink, checking->setup->device, &link, checking->err);

	if (rc == -ENODEV)
		return 0;
	if (rc < 0)
		return rc;
	if (find_owner(&link, &owner, remedy))
		return refuse(checking, -EEXIST, &spot,
			"a device of that name is there already (%s), %s; %s helps, or another name for this tunnel",
			*link.kind ? link.kind : "hardware", owner, remedy);
	if (!*link.kind)
		return refuse(checking, -EEXIST, &spot,
			"a device of that name is there already (hardware); another name for this tunnel helps");
	return refuse(checking, -EEXIST, &spot,
		"a device of that name is there already (%s), and not made by us; ip link del %s helps, or another "
		"name for this tunnel",
		link.kind, link.name);
}

/* --- its port --- */

/* Binding is the surest question: it also meets sockets of the kernel, as WireGuard's own, which no process owns.
 * Return: 0, -EADDRINUSE, or another negative errno. */
static int try_port(int family, uint16_t port)
{
	struct addr addr = {.sa.sa_family = (sa_family_t)family};
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), yes = 1, rc = 0;

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : -errno;
	addr_set_port(&addr, port);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
	if (bind(fd, &addr.sa, addr_len(&addr)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* The WireGuard device that is up and has that port. Return: 1, 0 or a negative errno. */
static int find_holder(const struct checking *checking, uint16_t port, char ret_name[IFNAMSIZ])
{
	struct wg_state state;
	struct net_link *links;
	size_t count;
	int rc = net_link_list(checking->netlink, &links, &count, checking->err);
	int found = 0;

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count && !found; i++) {
		if (!links[i].is_up || strcmp(links[i].kind, "wireguard") != 0 ||
			wg_device_read(links[i].name, &state, checking->err) < 0)
			continue;
		found = state.listen_port == port;
		if (found)
			memcpy(ret_name, links[i].name, IFNAMSIZ);
		wg_state_done(&state);
	}
	free(links);
	return found;
}

/* A hidden device has its socket in another namespace, where no other program can have the port. The kernel would
 * refuse only when the device comes up, after PreUp. */
static int check_port(const struct checking *checking)
{
	uint16_t port = checking->interface->listen_port;
	char text[8] = "", holder[IFNAMSIZ];
	struct spot spot = spot_of(checking, checking->interface->listen_port_line, "ListenPort", text);
	int rc;

	if (port == 0 || checking->setup->birth_netns_fd >= 0)
		return 0;
	snprintf(text, sizeof(text), "%u", port);
	if (try_port(AF_INET, port) != -EADDRINUSE && try_port(AF_INET6, port) != -EADDRINUSE)
		return 0;
	rc = find_holder(checking, port, holder);
	if (rc < 0)
		return rc;
	if (rc == 1)
		return refuse(checking, -EADDRINUSE, &spot,
			"the WireGuard device %s has this UDP port; another port helps, or ip link set %s down", holder,
			holder);
	return refuse(checking, -EADDRINUSE, &spot,
		"another program has this UDP port, ss -lunp 'sport = :%u' says which; another port helps, or to stop "
		"it",
		port);
}

/* --- its addresses --- */

/* True if IPv6 is switched off for new devices. On a kernel without any IPv6 this is false: there its addresses and
 * routes are left out, with a warning. */
static bool ipv6_is_off(void)
{
	char value[SYSCTL_VALUE_MAX];
	struct err ignored;

	return sysctl_read("net/ipv6/conf/default/disable_ipv6", value, &ignored) == 0 && strcmp(value, "1") == 0;
}

/* If the device of an earlier run is still there, that device is the problem and not its address. */
static int refuse_address(const struct checking *checking, const struct spot *spot, const struct net_address *taken)
{
	char device[IFNAMSIZ], other[PREFIX_TEXT_MAX], remedy[PATH_TEXT_MAX];
	const char *owner;
	struct net_link link;
	struct err ignored;

	if (net_link_get(checking->netlink, taken->index, &link, &ignored) == 0 &&
		strcmp(link.kind, "wireguard") == 0 && find_owner(&link, &owner, remedy))
		return refuse(checking, -EADDRINUSE, spot,
			"device %s, %s, has this address already; %s helps, or another address", link.name, owner,
			remedy);
	name_of(checking, taken->index, device);
	return refuse(checking, -EADDRINUSE, spot,
		"device %s has this address already; another one helps, or ip address del %s dev %s", device,
		prefix_format(other, sizeof(other), &taken->prefix), device);
}

static int refuse_ipv6(const struct checking *checking, const struct spot *spot, const char *what)
{
	return refuse(checking, -EAFNOSUPPORT, spot,
		"IPv6 is switched off on this host; sysctl -w net.ipv6.conf.default.disable_ipv6=0 helps (a container: "
		"docker run --sysctl net.ipv6.conf.all.disable_ipv6=0), or no IPv6 %s",
		what);
}

/* The kernel itself would allow an address twice, and then answer on whichever device comes first. */
static int check_address(const struct checking *checking, const struct wg_config_prefix *written,
	const struct net_address *taken, size_t count)
{
	char text[PREFIX_TEXT_MAX];
	const struct addr *addr = &written->prefix.addr;
	struct spot spot =
		spot_of(checking, written->line, "Address", prefix_format(text, sizeof(text), &written->prefix));

	if (addr->sa.sa_family == AF_INET6 && ipv6_is_off())
		return refuse_ipv6(checking, &spot, "address");
	for (size_t i = 0; i < count; i++)
		if (addr_equal(&taken[i].prefix.addr, addr))
			return refuse_address(checking, &spot, &taken[i]);
	return 0;
}

static int check_addresses(const struct checking *checking)
{
	const struct wg_config_interface *interface = checking->interface;
	struct net_address *taken;
	size_t count;
	int rc = net_address_list(checking->netlink, &taken, &count, checking->err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < interface->address_count && rc == 0; i++)
		rc = check_address(checking, &interface->addresses[i], taken, count);
	free(taken);
	return rc;
}

/* --- its routes --- */

/* "192.168.1.0/24 by eth0" */
static const char *format_route(const struct checking *checking, const struct net_route *route, char *buf, size_t size)
{
	char to[PREFIX_TEXT_MAX], device[IFNAMSIZ];

	snprintf(buf, size, "%s by %s", prefix_format(to, sizeof(to), &route->to),
		name_of(checking, route->index, device));
	return buf;
}

static int check_table(const struct checking *checking)
{
	const struct wg_config_interface *interface = checking->interface;
	char text[16] = "", where[PATH_TEXT_MAX];
	struct spot spot = spot_of(checking, interface->table_line, "Table", text);
	struct net_route other;
	int rc;

	if (interface->table_kind != WG_CONFIG_TABLE_NUMBER || interface->table == RT_TABLE_MAIN ||
		interface->table == RT_TABLE_DEFAULT || interface->table == RT_TABLE_LOCAL)
		return 0; /* the three that every host has, and every program adds to */
	rc = net_route_find_any(checking->netlink, interface->table, &other, checking->err);
	if (rc <= 0)
		return rc;
	snprintf(text, sizeof(text), "%u", interface->table);
	return refuse(checking, -EEXIST, &spot,
		"this routing table is in use: %s; another number helps, or Table = off with the routes in PostUp",
		format_route(checking, &other, where, sizeof(where)));
}

/* True if a network of the device's own addresses contains the prefix, so that no route is needed. */
static bool is_covered(const struct wg_config_interface *interface, const struct prefix *to)
{
	for (size_t i = 0; i < interface->address_count; i++)
		if (prefix_contains(&interface->addresses[i].prefix, to))
			return true;
	return false;
}

/* As with wg-quick the table of a full tunnel has the number of its mark. */
static int refuse_mark(const struct checking *checking, const struct net_route *other)
{
	uint32_t mark = checking->interface->fwmark;
	char text[16], where[PATH_TEXT_MAX];
	struct spot spot = spot_of(checking, checking->interface->fwmark_line, "FwMark", text);

	snprintf(text, sizeof(text), "0x%x", mark);
	return refuse(checking, -EEXIST, &spot,
		"the mark is also the number of the full tunnel's routing table, and table %u is in use: %s; another "
		"mark helps, or none",
		mark, format_route(checking, other, where, sizeof(where)));
}

/* The routes of a full tunnel go to a table of its own, which without FwMark in the file is a free one. A prefix inside
 * the device's own network needs no route in the main table. After a reload routes of ours are no rivals. */
static int check_route(const struct checking *checking, const struct full_tunnel *full, const struct net_routes *there,
	const struct wg_config_prefix *allowed)
{
	const struct wg_config_interface *interface = checking->interface;
	struct net_route route = {.to = allowed->prefix, .table = interface->table}, other;
	bool is_full = full_tunnel_has(full, &route.to);
	char text[PREFIX_TEXT_MAX], where[PATH_TEXT_MAX];
	struct spot spot = spot_of(checking, allowed->line, "AllowedIPs", prefix_format(text, sizeof(text), &route.to));

	if (route.to.addr.sa.sa_family == AF_INET6 && ipv6_is_off())
		return refuse_ipv6(checking, &spot, "network, or Table = off");
	if (is_full)
		route.table = interface->fwmark;
	else if (interface->table_kind == WG_CONFIG_TABLE_AUTO)
		route.table = NET_ROUTE_TABLE_MAIN;
	if (route.table == 0 || (route.table == NET_ROUTE_TABLE_MAIN && is_covered(interface, &route.to)))
		return 0;
	if (checking->had && plan_index_has(checking->had, &route.to))
		return 0;
	if (!net_routes_find_rival(there, &route, &other) || (checking->index && other.index == checking->index))
		return 0;
	if (is_full)
		return refuse_mark(checking, &other);
	return refuse(checking, -EEXIST, &spot,
		"this host has that route already: %s (table %u); two halves of the prefix would win over it, else "
		"take it out, or say Table = off",
		format_route(checking, &other, where, sizeof(where)), route.table);
}

/* One read for all: a hub has a route for each of its peers. */
static int check_every_route(const struct checking *checking)
{
	const struct wg_config *config = checking->setup->wireguard;
	struct full_tunnel full;
	struct net_routes there;
	struct spot spot = spot_of(checking, checking->interface->fwmark_line, "FwMark", NULL);
	int rc;

	full_tunnel_find(&full, checking->setup);
	if (full_tunnel_mark_fault(&full))
		return refuse(checking, -EEXIST, &spot, "%s", full_tunnel_mark_fault(&full));
	rc = net_routes_read(checking->netlink, 0, 0, &there, checking->err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < config->peer_count; i++)
		for (size_t j = 0; j < config->peers[i].allowed_ip_count && rc == 0; j++)
			rc = check_route(checking, &full, &there, &config->peers[i].allowed_ips[j]);
	net_routes_done(&there);
	return rc;
}

static int check_routes(const struct checking *checking)
{
	int rc = check_table(checking);

	if (rc < 0 || checking->interface->table_kind == WG_CONFIG_TABLE_OFF)
		return rc;
	return check_every_route(checking);
}

/* --- parameters --- */

/* Parameters that the host must let us set: most containers have a read-only /proc/sys. A new device takes its
 * forwarding from "default", which ip_forward sets for all. */
static int check_parameters(const struct checking *checking)
{
	const struct host_setup *setup = checking->setup;
	struct full_tunnel full;

	full_tunnel_find(&full, setup);
	const struct {
		bool is_needed;
		const char *path, *option;
	} parameters[] = {
		{full.is_full[0], "net/ipv4/conf/all/src_valid_mark",
			"net.ipv4.conf.all.src_valid_mark=1"},
		{plan_forwards(setup), "net/ipv4/conf/default/forwarding", "net.ipv4.ip_forward=1"},
		{plan_forwards_ipv6(setup), "net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding=1"},
	};
	struct spot spot = spot_of_setup(checking);
	char paths[256] = "", options[256] = "", docker[256] = "";
	size_t len = 0, docker_len = 0;
	int denied = 0;

	/* All in one go: for a container each of them is an option, and a container more to be made. */
	for (size_t i = 0; i < sizeof(parameters) / sizeof(*parameters); i++) {
		int rc = parameters[i].is_needed ? sysctl_check(parameters[i].path, "1") : 0;

		if (!sysctl_is_denied(rc))
			continue;
		text_append_word(paths, sizeof(paths), parameters[i].path);
		len += (size_t)snprintf(options + len, sizeof(options) - len, " %s", parameters[i].option);
		docker_len += (size_t)snprintf(
			docker + docker_len, sizeof(docker) - docker_len, " --sysctl %s", parameters[i].option);
		denied = rc;
	}
	if (!denied)
		return 0;
	return refuse(checking, denied, &spot,
		"kernel parameter %s must be 1, and cannot be set: %s; sysctl -w%s helps, for a container docker run%s",
		paths, strerror(-denied), options, docker);
}

/* --- programs --- */

static int check_nft(const struct checking *checking)
{
	const struct host_setup *setup = checking->setup;
	struct spot spot = spot_of_setup(checking);

	if (!plan_needs_firewall(setup) || command_exists("nft"))
		return 0;
	return refuse(checking, -ENOENT, &spot,
		"a full tunnel, a gateway or a hub needs nft(8), which is not installed; apt install nftables helps");
}

static int check_hooks(const struct checking *checking)
{
	const struct wg_config_interface *interface = checking->interface;
	struct spot spot = {0};

	for (size_t i = 0; i < 4; i++)
		if (interface->hook_count[i] > 0 && (!spot.line || interface->hook_lines[i][0] < spot.line))
			spot = spot_of(checking, interface->hook_lines[i][0], wg_config_hook_keys[i], NULL);
	if (!spot.line || command_exists("bash"))
		return 0;
	return refuse(
		checking, -ENOENT, &spot, "hooks are run by bash, which is not installed; apt install bash helps");
}

/* Without endpoints and mark only the MTU is wrong, and the facts are dropped again after this check. */
static int check_facts(const struct checking *checking)
{
	struct addr *nowhere = calloc(checking->setup->wireguard->peer_count + 1, sizeof(*nowhere));
	struct facts facts;
	int rc;

	if (!nowhere)
		return err_system(checking->err, -ENOMEM, "%s", checking->setup->device);
	rc = facts_gather(&facts, checking->netlink, checking->setup, nowhere, 0, checking->err);
	if (rc == 0)
		facts_done(&facts);
	free(nowhere);
	return rc;
}

int check_host(struct netlink *netlink, const struct host_setup *setup, struct err *err)
{
	static int (*const checks[])(const struct checking *checking) = {
		check_device,
		check_port,
		check_addresses,
		check_routes,
		check_parameters,
		check_nft,
		check_hooks,
		check_facts,
	};
	struct checking checking = {
		.netlink = netlink, .setup = setup, .interface = &setup->wireguard->interface, .err = err};
	int rc = check_capable(setup->wireguard_path, setup->wireguard, setup->birth_netns_fd >= 0, err);

	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks) && rc == 0; i++)
		rc = checks[i](&checking);
	return rc;
}

int check_new_routes(struct netlink *netlink, const struct host_setup *setup, int index, const struct plan_index *had,
	struct err *err)
{
	const struct checking checking = {.netlink = netlink,
		.setup = setup,
		.interface = &setup->wireguard->interface,
		.err = err,
		.index = index,
		.had = had};

	return checking.interface->table_kind == WG_CONFIG_TABLE_OFF ? 0 : check_every_route(&checking);
}
