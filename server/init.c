/* See init.h.
 *
 * Theory of operation. A new hub needs networks that this host does not have yet, a key, and a name or an address by
 * which clients reach it. All of that is found or drawn before the file is written:
 *
 *    take_name()       the file's path, which must be free
 *    list_taken()      networks of the host's addresses and routes
 *    take_networks()   --network and --network6, or else one that is free
 *    take_host()       --address, or else the address of this host from which packets to the Internet leave
 *    take_device()     with --way-out the device of the default route
 *    write_file()      whole or not at all, and never over another one
 *    check_file()      as `check` does, with the drop-ins that are there
 *    enable_unit()     with --enable
 *
 * Each step returns -1 to go on, or the exit code after one line that names the option or the file. Where one of the
 * last two fails the file is taken away again: it would refuse the next try, as an existing one is never overwritten.
 */
#include "server/init.h"

#include "common/base/base64.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "common/base/log.h"
#include "common/base/prefix.h"
#include "common/base/secret.h"
#include "common/command_line/systemd_unit.h"
#include "common/net/address.h"
#include "common/net/link.h"
#include "common/net/route.h"
#include "common/wireguard/tunnel_file.h"
#include "server/config.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_NAME "hub"
#define NETWORK_BITS_MAX 29 /* room for the hub and five clients */
#define NETWORK6_BITS 64
#define FILE_TEXT_MAX 4096
#define HOST_TEXT_MAX 256

struct init {
	const struct options *options;
	char path[PATH_MAX];
	char name[TUNNEL_FILE_NAME_MAX + 1];
	struct netlink netlink;
	struct prefix *taken; /* the host's networks */
	size_t taken_count;
	char host[HOST_TEXT_MAX]; /* by which clients reach the hub, with its port where that is not 443 */
	struct prefix network, network6;
	char device[IFNAMSIZ]; /* to the Internet */
};

/* For steps whose error is in @err. Return: the exit code. */
static int fail(const struct err *err)
{
	log_error("config", "%s", err->text);
	return EXIT_FAILED;
}

/* --- what the host has --- */

/* Return: false without memory; the list is then as it was. */
static bool add_taken(struct init *init, const struct prefix *prefixes, size_t count)
{
	struct prefix *grown = reallocarray(init->taken, init->taken_count + count + 1, sizeof(*grown));

	if (!grown)
		return false;
	for (size_t i = 0; i < count; i++)
		grown[init->taken_count++] = prefixes[i];
	init->taken = grown;
	return true;
}

/* The networks of its addresses, and those to which it has a route. */
static int list_taken(struct init *init, struct err *err)
{
	struct net_address *addresses = NULL;
	struct prefix *networks = NULL;
	size_t address_count = 0;
	int count = net_route_list_networks(&init->netlink, 0, &networks, err);
	int rc = count < 0 ? count : net_address_list(&init->netlink, &addresses, &address_count, err);

	if (rc == 0 && !add_taken(init, networks, (size_t)count))
		rc = err_system(err, -ENOMEM, "networks");
	for (size_t i = 0; rc == 0 && i < address_count; i++)
		if (!add_taken(init, &addresses[i].prefix, 1))
			rc = err_system(err, -ENOMEM, "networks");
	free(networks);
	free(addresses);
	return rc;
}

/* Return: one that has addresses in common with @network, or NULL. */
static const struct prefix *find_taken(const struct init *init, const struct prefix *network)
{
	for (size_t i = 0; i < init->taken_count; i++)
		if (init->taken[i].bits > 0 && (prefix_contains(&init->taken[i], network) ||
						       prefix_contains(network, &init->taken[i])))
			return &init->taken[i];
	return NULL;
}

/* The address of this host from which packets to the Internet leave. A UDP socket that is connected sends nothing. */
static bool find_own_address(const char *anywhere, struct addr *ret)
{
	struct sockaddr_storage storage;
	socklen_t len = sizeof(storage);
	struct addr to;
	int fd = -1;
	bool found;

	if (addr_parse(anywhere, 0, &to) == 0)
		fd = socket(to.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	found = fd >= 0 && connect(fd, &to.sa, addr_len(&to)) == 0 &&
		getsockname(fd, (struct sockaddr *)&storage, &len) == 0;
	if (found) {
		addr_from_sockaddr((const struct sockaddr *)&storage, ret);
		addr_set_port(ret, 0);
	}
	if (fd >= 0)
		close(fd);
	return found;
}

/* A warning only: a router may forward the port to a host with a private address. @init->host may also be a name,
 * about which nothing can be said here. */
static void warn_private(const struct init *init)
{
	struct addr addr;
	struct prefix prefix;

	if (addr_parse(init->host, 443, &addr) < 0)
		return;
	prefix = prefix_of_host(&addr);
	if (prefix_is_private(&prefix) || addr_is_loopback(&addr))
		log_warning("config",
			"%s is a private address, which clients on the Internet do not reach; expected --address HOST, a name "
			"or an address that leads to this host",
			init->host);
}

/* --address, or the address of the default route. Return: -1 to go on, or the exit code. */
static int take_host(struct init *init)
{
	const struct options_key *option = options_find(init->options, "address");
	char host[HOST_TEXT_MAX], text[ADDR_TEXT_MAX];
	struct addr own;
	uint16_t port = 0;

	if (option) {
		if (addr_split(option->value, host, sizeof(host), &port) < 0 || !addr_is_host(host))
			return options_refuse(init->options, "address",
				"neither a name nor an address; expected one that leads to this host, as in vps.example.org");
		snprintf(init->host, sizeof(init->host), strchr(host, ':') ? "[%.250s]" : "%s", host);
		if (port != 0 && port != 443)
			snprintf(init->host + strlen(init->host), sizeof(init->host) - strlen(init->host), ":%u", port);
	} else if (find_own_address("1.1.1.1:53", &own) || find_own_address("[2606:4700:4700::1111]:53", &own)) {
		addr_format_host(text, sizeof(text), &own);
		snprintf(init->host, sizeof(init->host), own.sa.sa_family == AF_INET6 ? "[%s]" : "%s", text);
	} else {
		log_error("config", "this host has no route to the Internet; expected --address HOST, by which clients reach it");
		return EXIT_FAILED;
	}
	warn_private(init);
	return -1;
}

/* The device that [Gateway] names. Return: -1 to go on, or the exit code. */
static int take_device(struct init *init)
{
	struct net_link link;
	struct net_way way;
	struct err err = {""};
	int rc;

	if (!options_find(init->options, "way-out"))
		return -1;
	rc = net_route_default(&init->netlink, AF_INET, &way, &err);
	if (rc < 0)
		rc = net_route_default(&init->netlink, AF_INET6, &way, &err);
	if (rc == 0)
		rc = net_link_get(&init->netlink, way.index, &link, &err);
	if (rc < 0) {
		log_error("config", "--way-out: this host has no default route itself; give it one, or leave --way-out out");
		return EXIT_FAILED;
	}
	memcpy(init->device, link.name, sizeof(init->device));
	return -1;
}

/* --- networks --- */

/* Return: -1 to go on, or the exit code. */
static int take_option_network(struct init *init, const char *name, struct prefix *ret)
{
	bool is_ipv6 = ret == &init->network6;
	const struct options_key *option = options_find(init->options, name);
	char text[PREFIX_TEXT_MAX], what[PREFIX_TEXT_MAX + 96];
	const struct prefix *taken;
	struct prefix network;

	if (prefix_parse(option->value, ret) < 0 || ret->addr.sa.sa_family != (is_ipv6 ? AF_INET6 : AF_INET))
		return options_refuse(init->options, name,
			is_ipv6 ? "not an IPv6 network; expected one such as fd10:20:30::/64"
				: "not an IPv4 network; expected one such as 10.10.0.0/24");
	network = prefix_network(ret);
	if (!addr_equal(&ret->addr, &network.addr)) {
		snprintf(what, sizeof(what), "has bits behind its length; expected %s",
			prefix_format(text, sizeof(text), &network));
		return options_refuse(init->options, name, what);
	}
	if (is_ipv6 ? ret->bits != NETWORK6_BITS : ret->bits > NETWORK_BITS_MAX || ret->bits < 8)
		return options_refuse(init->options, name,
			is_ipv6 ? "has another length; expected a /64" : "has another length; expected /8 to /29");
	if (!prefix_is_private(ret))
		return options_refuse(init->options, name,
			is_ipv6 ? "not a private network; expected one in fd00::/8"
				: "not a private network; expected one in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16");
	taken = find_taken(init, ret);
	if (!taken)
		return -1;
	log_error("config", "--%s: '%s': this host has %s already, by an address or a route; expected another network", name,
		option->value, prefix_format(text, sizeof(text), taken));
	return EXIT_FAILED;
}

/* The first one that is free. Return: -1 to go on, or the exit code. */
static int choose_network(struct init *init)
{
	static const struct {
		const char *begin, *end;
		unsigned first, last;
	} ranges[] = {{"10", ".0.0", 10, 255}, {"192.168", ".0", 100, 254}, {"172", ".0.0", 16, 31}};
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
		for (unsigned number = ranges[i].first; number <= ranges[i].last; number++) {
			snprintf(text, sizeof(text), "%s.%u%s/24", ranges[i].begin, number, ranges[i].end);
			if (prefix_parse(text, &init->network) == 0 && !find_taken(init, &init->network))
				return -1;
		}
	log_error("config", "this host has routes to all private networks; expected --network with one that may be used");
	return EXIT_FAILED;
}

/* RFC 4193 §3.2: 40 random bits make a collision with another site unlikely. Return: -1, or the exit code. */
static int draw_network6(struct init *init)
{
	struct err err = {""};

	init->network6 = (struct prefix){.addr.in6.sin6_family = AF_INET6, .bits = NETWORK6_BITS};
	init->network6.addr.in6.sin6_addr.s6_addr[0] = 0xfd;
	do {
		if (RAND_bytes(&init->network6.addr.in6.sin6_addr.s6_addr[1], 5) != 1) {
			err_openssl(&err, -EIO, "random numbers");
			return fail(&err);
		}
	} while (find_taken(init, &init->network6));
	return -1;
}

/* --- the file --- */

/* The first address of a network is the hub's. */
static const char *format_first(char buf[PREFIX_TEXT_MAX], const struct prefix *network)
{
	struct prefix first = *network;

	if (first.addr.sa.sa_family == AF_INET)
		first.addr.in4.sin_addr.s_addr |= htonl(1);
	else
		first.addr.in6.sin6_addr.s6_addr[15] |= 1;
	return prefix_format(buf, PREFIX_TEXT_MAX, &first);
}

/* Return: its length, or a negative errno. */
static int format_file(const struct init *init, char *text, size_t size)
{
	char key[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1], address[PREFIX_TEXT_MAX], address6[PREFIX_TEXT_MAX], gateway[128] = "";
	int len;

	if (!wg_config_draw_key(key))
		return -EIO;
	if (init->device[0])
		snprintf(gateway, sizeof(gateway),
			"\n# The clients' way out to the Internet.\n[Gateway]\nLan = 0.0.0.0/0, ::/0\nInterface = %s\n",
			init->device);
	len = snprintf(text, size,
		"# The hub %s, made by towpath-server init. towpath.conf(5) tells all keys.\n"
		"[Server]\n"
		"PublicName = %s\n"
		"# Listen = 0.0.0.0:443, [::]:443\n"
		"# Certificate = /etc/letsencrypt/live/NAME/fullchain.pem\n"
		"# CertificateKey = /etc/letsencrypt/live/NAME/privkey.pem\n"
		"%s"
		"\n[Interface]\n"
		"PrivateKey = %s\n"
		"Address = %s, %s\n"
		"ListenPort = 51820\n"
		"%s",
		init->name, init->host,
		options_find(init->options, "udp") ? "# WireGuard's port answers to everybody, not to the tunnel only.\n"
						     "Hidden = no\n"
						   : "",
		key, format_first(address, &init->network), format_first(address6, &init->network6), gateway);
	secret_wipe(key, sizeof(key));
	return len;
}

/* Return: -1 to go on, or the exit code. */
static int write_file(const struct init *init)
{
	char text[FILE_TEXT_MAX];
	struct err err = {""};
	int rc = format_file(init, text, sizeof(text));

	if (rc < 0)
		err_set(&err, rc, "random numbers: none are to be had");
	else
		rc = folder_ensure_parent(init->path, "--config-dir", &err);
	if (rc >= 0)
		rc = file_create_text(init->path, text, &err);
	secret_wipe(text, sizeof(text));
	if (rc == -EEXIST)
		err_set(&err, rc, "%s: is there already, and is never overwritten; expected another NAME, or delete it",
			init->path);
	else if (rc == -EACCES && geteuid() != 0)
		err_wrap(&err, rc, "only root may write there, 'sudo towpath-server init' helps");
	return rc < 0 ? fail(&err) : -1;
}

/* A drop-in that an earlier hub of this name has left may be wrong, or clash. Return: -1 to go on, or the exit code. */
static int check_file(const struct init *init)
{
	struct ini_report report = {0};
	struct server_config config = {0};
	struct err err = {""};
	int code = -1;

	log_set_level(LOG_LEVEL_ERROR); /* that it has no client yet is no news */
	if (server_config_read(init->path, &config, &report, &err) < 0)
		code = options_complain(&report, &err);
	log_set_level(init->options->quiet ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO);
	ini_report_done(&report);
	server_config_done(&config);
	return code;
}

/* Have systemd start the hub now and at each boot. Return: -1 to go on, or the exit code. */
static int enable_unit(const struct init *init)
{
	struct options options = *init->options;
	struct tunnel_ref tunnel;
	struct err err = {""};

	options.tunnel_word = init->name;
	if (!options_find(&options, "enable"))
		return -1;
	if (tunnel_ref_set(&tunnel, &options, "server", init->name, init->path, &err) == 0 &&
		systemd_unit_enable(&tunnel, &err) == 0)
		return -1;
	err_set(&err, -EIO, "%s; %s is not left behind, init without --enable writes it", err.text, init->path);
	return fail(&err);
}

/* The name's own mistakes, and what can be told before the host is looked at. Return: -1, or the exit code. */
static int take_name(struct init *init)
{
	struct options options = *init->options;
	struct ini_report report = {0};
	char usual[PATH_MAX];
	int code = -1;

	if (!options.tunnel_word)
		options.tunnel_word = DEFAULT_NAME;
	if (options_find_file(&options, init->path, &report) < 0 || tunnel_file_name(init->path, init->name, &report) < 0)
		code = options_complain(&report, NULL);
	ini_report_done(&report);
	if (code < 0 && strlen(init->name) >= IFNAMSIZ) {
		fprintf(stderr, "init: '%s': the device is called so, and that is too long; expected up to 15 characters\n",
			init->name);
		code = EXIT_USAGE;
	}
	snprintf(usual, sizeof(usual), OPTIONS_CONFIG_DIR "/%s.conf", init->name);
	if (code < 0 && options_find(&options, "enable") && (strcmp(usual, init->path) != 0 || *options.places)) {
		fprintf(stderr, "init: --enable: the unit reads %s and has the usual folders; expected no other ones\n", usual);
		code = EXIT_USAGE;
	}
	if (code < 0 && access(init->path, F_OK) == 0) {
		log_error("config", "%s: is there already, and is never overwritten; expected another NAME, or delete it",
			init->path);
		code = EXIT_FAILED;
	}
	return code;
}

/* Return: -1 to go on, or the exit code. */
static int take_networks(struct init *init)
{
	int code = options_find(init->options, "network") ? take_option_network(init, "network", &init->network)
							   : choose_network(init);

	if (code >= 0)
		return code;
	return options_find(init->options, "network6") ? take_option_network(init, "network6", &init->network6)
						       : draw_network6(init);
}

static int run(struct init *init)
{
	int code = take_name(init);
	struct err err = {""};

	if (code >= 0)
		return code;
	if (netlink_open(&init->netlink, -1, &err) < 0 || list_taken(init, &err) < 0)
		return fail(&err);
	code = take_networks(init);
	if (code < 0)
		code = take_host(init);
	if (code < 0)
		code = take_device(init);
	if (code < 0)
		code = write_file(init);
	if (code >= 0)
		return code;
	code = check_file(init);
	if (code < 0)
		code = enable_unit(init);
	if (code >= 0) {
		unlink(init->path);
		return code;
	}
	if (!init->options->quiet && options_find(init->options, "enable"))
		printf("%s: written, and the hub runs; clients reach it as wss://%s\n", init->path, init->host);
	else if (!init->options->quiet)
		printf("%s: written; clients will reach it as wss://%s; 'towpath-server up %s' starts it\n", init->path,
			init->host, init->name);
	return EXIT_DONE;
}

int server_init(const struct options *options)
{
	struct init init = {.options = options};
	int code = run(&init);

	netlink_close(&init.netlink);
	free(init.taken);
	return code;
}
