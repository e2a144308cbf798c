/* [Interface] and [Peer] as wg and wg-quick read them: what is taken, what is refused, and with which words. */
#include "common/wireguard/wg_config.h"

#include "common/base/base64.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY_A "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY_B "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define INTERFACE "[Interface]\n"
#define PEER "[Peer]\nPublicKey = " KEY_B "\n"

static char path[] = "/tmp/test_wg_config.XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

struct fixture {
	struct ini ini;
	struct ini_report report;
	struct wg_config config;
};

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static void reset(struct fixture *f)
{
	wg_config_done(&f->config);
	ini_done(&f->ini);
	ini_report_done(&f->report);
	memset(f, 0, sizeof(*f));
}

static int tear_down(void **state)
{
	reset(*state);
	free(*state);
	return 0;
}

/* Do what a program does with a file. Return: 0, or -EINVAL where anything was complained about. */
static int take(struct fixture *f, const char *text)
{
	FILE *file = fopen(path, "w");
	struct err err;

	reset(f);
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	ini_read(path, &f->ini, &f->report, &err);
	for (size_t i = 0; i < f->ini.section_count; i++)
		wg_config_read_section(&f->config, &f->ini, &f->ini.sections[i], &f->report);
	wg_config_finish(&f->config, &f->ini, &f->report);
	return f->report.count > 0 ? -EINVAL : 0;
}

static void take_valid(struct fixture *f, const char *text)
{
	if (take(f, text) != 0 || f->report.count != 0)
		fail_msg("'%s' was refused: %s", text, f->report.count ? f->report.lines[0] : "-");
}

/* The example of wg(8) is read with every value. */
static void example_of_the_manual_is_read(void **state)
{
	struct fixture *f = *state;
	char text[BASE64_LEN(32) + 1];

	take_valid(f, "[Interface]\nPrivateKey = " KEY_A "\nListenPort = 51820\n\n"
		      "[Peer]\nPublicKey = " KEY_B
		      "\nEndpoint = 192.95.5.67:1234\nAllowedIPs = 10.192.122.3/32, 10.192.124.1/24\n\n"
		      "[Peer]\nPublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n"
		      "Endpoint = [2607:5300:60:6b0::c05f:543]:2468\nAllowedIPs = 10.192.122.4/32, 192.168.0.0/16\n"
		      "PersistentKeepalive = 25\nPresharedKey = " KEY_A "\n");
	assert_true(f->config.interface.has_private_key);
	base64_encode(text, sizeof(text), f->config.interface.private_key, 32, BASE64_STANDARD);
	assert_string_equal(text, KEY_A);
	assert_int_equal(f->config.interface.listen_port, 51820);
	assert_int_equal(f->config.interface.line, 1);
	assert_int_equal(f->config.peer_count, 2);
	base64_encode(text, sizeof(text), f->config.peers[0].public_key, 32, BASE64_STANDARD);
	assert_string_equal(text, KEY_B);
	assert_false(f->config.peers[0].has_preshared_key);
	assert_string_equal(f->config.peers[0].endpoint, "192.95.5.67:1234");
	assert_string_equal(f->config.peers[1].endpoint, "[2607:5300:60:6b0::c05f:543]:2468");
	assert_true(f->config.peers[1].has_preshared_key);
	assert_int_equal(f->config.peers[1].persistent_keepalive_s, 25);
	assert_int_equal(f->config.peers[1].allowed_ip_count, 2);
	assert_int_equal(f->config.peers[1].allowed_ips[1].prefix.bits, 16);
	assert_int_equal(f->config.peers[1].line, 10);
}

/* As wg-quick has it: an [Interface] that comes again goes on where the last one stopped. */
static void second_interface_goes_on(void **state)
{
	struct fixture *f = *state;

	take_valid(f, INTERFACE "Address = 10.0.0.1/24\n" PEER "[interface]\nAddress = fd10::1/64\nMTU = 1300\n");
	assert_int_equal(f->config.interface.line, 1);
	assert_int_equal(f->config.interface.address_count, 2);
	assert_int_equal(f->config.interface.mtu, 1300);
}

static int print_prefix(char *out, size_t size, const struct wg_config_prefix *prefix)
{
	char host[ADDR_TEXT_MAX];

	addr_format_host(host, sizeof(host), &prefix->prefix.addr);
	return snprintf(out, size, "%s/%u ", host, prefix->prefix.bits);
}

static void print_prefixes(char *out, size_t size, const struct wg_config_prefix *prefixes, size_t count)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < count && used < size; i++)
		used += (size_t)print_prefix(out + used, size - used, &prefixes[i]);
}

/* One odd value that is taken, and what becomes of it. */
struct taken {
	const char *text;
	const char *result;
};

static void check_taken(struct fixture *f, const struct taken *cases, size_t count, const char *head,
	void (*print)(struct fixture *f, char *out, size_t size))
{
	char text[1024], result[1024];

	for (size_t i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "%s%s\n", head, cases[i].text);
		take_valid(f, text);
		print(f, result, sizeof(result));
		if (strcmp(result, cases[i].result) != 0)
			fail_msg("'%s': '%s' instead of '%s'", cases[i].text, result, cases[i].result);
	}
}

#define CHECK_TAKEN(f, head, print, ...)                                                                               \
	do {                                                                                                           \
		static const struct taken cases[] = {__VA_ARGS__};                                                     \
		check_taken(f, cases, sizeof(cases) / sizeof(cases[0]), head, print);                                  \
	} while (0)

static void print_numbers(struct fixture *f, char *out, size_t size)
{
	const struct wg_config_interface *interface = &f->config.interface;

	snprintf(out, size, "port %u mark %#x mtu %u table %d %u", interface->listen_port, interface->fwmark,
		interface->mtu, (int)interface->table_kind, interface->table);
}

/* Numbers and words of [Interface], as wg, wg-quick and ip take them. */
static void interface_numbers_are_read(void **state)
{
	CHECK_TAKEN(*state, INTERFACE, print_numbers, {"", "port 0 mark 0 mtu 0 table 0 0"},
		{"ListenPort = 0", "port 0 mark 0 mtu 0 table 0 0"},
		{"listenport=65535", "port 65535 mark 0 mtu 0 table 0 0"},
		{"ListenPort = 5 18 20", "port 51820 mark 0 mtu 0 table 0 0"},
		{"FwMark = 0x10", "port 0 mark 0x10 mtu 0 table 0 0"},
		{"FwMark = 0xFFFFFFFF", "port 0 mark 0xffffffff mtu 0 table 0 0"},
		{"FwMark = 010", "port 0 mark 0xa mtu 0 table 0 0"}, {"FwMark = OFF", "port 0 mark 0 mtu 0 table 0 0"},
		{"FwMark = 0", "port 0 mark 0 mtu 0 table 0 0"}, {"MTU = 576", "port 0 mark 0 mtu 576 table 0 0"},
		{"mtu = 65535 # jumbo", "port 0 mark 0 mtu 65535 table 0 0"},
		{"MTU =", "port 0 mark 0 mtu 0 table 0 0"}, {"Table = auto", "port 0 mark 0 mtu 0 table 0 0"},
		{"Table =", "port 0 mark 0 mtu 0 table 0 0"}, {"Table = off", "port 0 mark 0 mtu 0 table 1 0"},
		{"Table = 51820", "port 0 mark 0 mtu 0 table 2 51820"},
		{"Table = 0xca6c", "port 0 mark 0 mtu 0 table 2 51820"},
		{"Table = 4294967295", "port 0 mark 0 mtu 0 table 2 4294967295"},
		{"Table = main", "port 0 mark 0 mtu 0 table 2 254"}, {"Table = 0", "port 0 mark 0 mtu 0 table 2 254"},
		{"SaveConfig = false", "port 0 mark 0 mtu 0 table 0 0"},
		{"SaveConfig = False", "port 0 mark 0 mtu 0 table 0 0"});
}

static void print_addresses(struct fixture *f, char *out, size_t size)
{
	print_prefixes(out, size, f->config.interface.addresses, f->config.interface.address_count);
}

/* Addresses keep their host part; without a length it is all of it; blanks separate as commas do. */
static void addresses_are_read(void **state)
{
	CHECK_TAKEN(*state, INTERFACE, print_addresses,
		{"Address = 10.10.0.3/24, fd10::3/64", "10.10.0.3/24 fd10::3/64 "},
		{"Address = 10.10.0.3", "10.10.0.3/32 "}, {"Address = fd10::3", "fd10::3/128 "},
		{"Address = 10.10.0.3/24\naddress = 10.10.0.4/24", "10.10.0.3/24 10.10.0.4/24 "},
		{"Address = 10.10.0.3/24 10.10.0.4/24,,", "10.10.0.3/24 10.10.0.4/24 "}, {"Address =", ""},
		{"Address = 10.10.0.3/0, fd00::1/0", "10.10.0.3/0 fd00::1/0 "});
}

static void print_allowed_ips(struct fixture *f, char *out, size_t size)
{
	print_prefixes(out, size, f->config.peers[0].allowed_ips, f->config.peers[0].allowed_ip_count);
}

/* Allowed IPs lose their host part as in the kernel, may repeat, and know the signs of newer wg. */
static void allowed_ips_are_read(void **state)
{
	CHECK_TAKEN(*state, PEER, print_allowed_ips, {"", ""}, {"AllowedIPs = 0.0.0.0/0, ::/0", "0.0.0.0/0 ::/0 "},
		{"AllowedIPs = 10.1.2.3/8", "10.0.0.0/8 "},
		{"AllowedIPs = 10.1.2.255/25, 10.1.2.255/31", "10.1.2.128/25 10.1.2.254/31 "},
		{"AllowedIPs = 2001:db8:ffff::1/33", "2001:db8:8000::/33 "},
		{"AllowedIPs = 10.0.0.1, fd00::1", "10.0.0.1/32 fd00::1/128 "},
		{"AllowedIPs = 10.0.0.0/8\nAllowedIPs = 11.0.0.0/8", "10.0.0.0/8 11.0.0.0/8 "},
		{"AllowedIPs = 10.0.0.0/8, 10.0.0.0/8", "10.0.0.0/8 10.0.0.0/8 "},
		{"AllowedIPs = 10.0.0.0 /8 ,11. 0.0.0/8", "10.0.0.0/8 11.0.0.0/8 "},
		{"AllowedIPs = 10.0.0.0/008", "10.0.0.0/8 "}, {"AllowedIPs = +10.0.0.0/8", "10.0.0.0/8 "});
}

static void print_endpoint(struct fixture *f, char *out, size_t size)
{
	snprintf(out, size, "%s", f->config.peers[0].endpoint ? f->config.peers[0].endpoint : "-");
}

/* Endpoints are names, IPv4 and IPv6, also with zone, also in wg's odd spellings. */
static void endpoints_are_read(void **state)
{
	CHECK_TAKEN(*state, PEER, print_endpoint, {"", "-"},
		{"Endpoint = vps.example.org:51820", "vps.example.org:51820"}, {"Endpoint = my_host:1", "my_host:1"},
		{"Endpoint = example.org.:65535", "example.org.:65535"},
		{"Endpoint = 203.0.113.7:51820", "203.0.113.7:51820"},
		{"Endpoint = [2001:db8::1]:51820", "[2001:db8::1]:51820"},
		{"Endpoint = [fe80::1%eth0]:51820", "[fe80::1%eth0]:51820"},
		{"Endpoint = 2001:db8::1:51820", "[2001:db8::1]:51820"},
		{"Endpoint = [203.0.113.7]:51820", "203.0.113.7:51820"},
		{"Endpoint = [vps.example.org]:51820", "vps.example.org:51820"},
		{"Endpoint = vps.example.org : 051820", "vps.example.org:51820"});
}

static void print_keepalive(struct fixture *f, char *out, size_t size)
{
	snprintf(out, size, "%u", f->config.peers[0].persistent_keepalive_s);
}

/* The keepalive is seconds, or off. */
static void keepalive_is_read(void **state)
{
	CHECK_TAKEN(*state, PEER, print_keepalive, {"PersistentKeepalive = 25", "25"}, {"PersistentKeepalive = 0", "0"},
		{"PersistentKeepalive = Off", "0"}, {"PersistentKeepalive = 65535", "65535"},
		{"PersistentKeepalive = 0025", "25"});
}

static void print_dns(struct fixture *f, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < f->config.interface.dns_count && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s;", f->config.interface.dns[i]);
}

/* DNS takes addresses and search domains, separated by commas or blanks. */
static void dns_is_read(void **state)
{
	CHECK_TAKEN(*state, INTERFACE, print_dns, {"DNS = 10.0.0.1, fd00::1", "10.0.0.1;fd00::1;"},
		{"DNS = 10.0.0.1 home.arpa\nDNS = example.org", "10.0.0.1;home.arpa;example.org;"}, {"DNS = ~.", "~.;"},
		{"Jc = 0\nJmin = 5\nS1 = 0\nS4 = 0\nH1 = 1\nh4 = 4\nI1 =\nDNS = 1.1.1.1", "1.1.1.1;"},
		{"RekeyAfterTime=120\nrekeytimeout=5\nRejectAfterTime=180\nKeepaliveTimeout=10\nMaxHandshakeAttempts=18\n"
		 "RandomTrailers=off\nDisableCookies=0\nContentPaddingAddition=0\nDNS=1.1.1.1\n" PEER "AdvancedSecurity=off",
			"1.1.1.1;"}, {"DNS = ~example.org, a_b.c.", "~example.org;a_b.c.;"},
		{"DNS = fe80::1%eth0.5", "fe80::1%eth0.5;"},
		{"DNS =", ""});
}

/* All of DNS becomes one command line: what would not fit is told from the file alone, at its own line. */
static void too_many_words_of_dns_are_told(void **state)
{
	char text[8192] = INTERFACE, expected[256];
	struct fixture *f = *state;

	for (unsigned i = 0; i < WG_CONFIG_DNS_ROOM / (sizeof("10.10.10.10") - 1 + WG_CONFIG_DNS_QUOTES); i++)
		strcat(text, i % 2 ? "DNS = 10.10.10.10\n" : "DNS = abcde.local\n");
	take_valid(f, text);
	strcat(text, "MTU = 1400\nDNS = ~one.more.org, too\n");
	assert_int_equal(take(f, text), -EINVAL);
	snprintf(expected, sizeof(expected),
		"%s:131: DNS: '~one.more.org': too many servers and domains; expected at most 1800 characters in all",
		path);
	assert_string_equal(f->report.lines[0], expected);
}

/* Hooks keep their words, `%i' included, and their order; a comment ends them as in wg-quick. */
static void hooks_are_read(void **state)
{
	struct fixture *f = *state;

	take_valid(f, INTERFACE "PostUp = iptables -A FORWARD -i %i -j ACCEPT; a=b\nPreUp = one # not two\n"
				"postup = second\nPreDown =\nPostDown = last\n");
	assert_int_equal(f->config.interface.hook_count[0], 1);
	assert_string_equal(f->config.interface.hooks[0][0], "one");
	assert_int_equal(f->config.interface.hook_count[1], 2);
	assert_string_equal(f->config.interface.hooks[1][0], "iptables -A FORWARD -i %i -j ACCEPT; a=b");
	assert_string_equal(f->config.interface.hooks[1][1], "second");
	assert_int_equal(f->config.interface.hook_lines[1][0], 2);
	assert_int_equal(f->config.interface.hook_lines[1][1], 4);
	assert_int_equal(f->config.interface.hook_lines[0][0], 3);
	assert_int_equal(f->config.interface.hook_count[2], 0);
	assert_string_equal(f->config.interface.hooks[3][0], "last");
}

/* Each odd value that is refused gets one line, with its line number, its key and the value. */
static void odd_values_are_refused(void **state)
{
	static const struct {
		const char *text;
		const char *shown; /* behind FILE:LINE: */
	} cases[] = {
		{INTERFACE "PrivateKey = " KEY_A "x", "2: PrivateKey: not a key"},
		{INTERFACE "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBml=", "2: PrivateKey: not a key"},
		{INTERFACE "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk", "2: PrivateKey: not a key"},
		{INTERFACE "PrivateKey = yAnz5TF_lXXJte14tji3zlMNq-hd2rYUIgJBgB3fBmk=", "2: PrivateKey: not a key"},
		{INTERFACE "PrivateKey =", "2: PrivateKey: not a key"},
		{INTERFACE "ListenPort = 65536", "2: ListenPort: '65536': not a port; "},
		{INTERFACE "ListenPort = -1", "2: ListenPort: '-1'"},
		{INTERFACE "ListenPort = +1", "2: ListenPort: '+1'"},
		{INTERFACE "ListenPort = 0x10", "2: ListenPort: '0x10'"},
		{INTERFACE "ListenPort = domain", "2: ListenPort: 'domain'"},
		{INTERFACE "ListenPort =", "2: ListenPort: ''"},
		{INTERFACE "ListenPort = 99999999999999999999", "2: ListenPort: '99999999999999999999'"},
		{INTERFACE "FwMark = 0X10", "2: FwMark: '0X10': not a mark; expected off or "},
		{INTERFACE "FwMark = 0x", "2: FwMark: '0x'"},
		{INTERFACE "FwMark = 4294967296", "2: FwMark: '4294967296'"},
		{INTERFACE "FwMark = 0x100000000", "2: FwMark: '0x100000000'"},
		{INTERFACE "FwMark = on", "2: FwMark: 'on'"},
		{INTERFACE "MTU = 575", "2: MTU: '575': not an MTU; expected a number from 576 to 65535"},
		{INTERFACE "MTU = 65536", "2: MTU: '65536'"},
		{INTERFACE "MTU = 01420", "2: MTU: '01420'"},
		{INTERFACE "MTU = auto", "2: MTU: 'auto'"},
		{INTERFACE "Table = OFF", "2: Table: 'OFF': not a routing table; "},
		{INTERFACE "Table = 4294967296", "2: Table: '4294967296'"},
		{INTERFACE "Table = -1", "2: Table: '-1'"},
		{INTERFACE "SaveConfig = true", "2: SaveConfig: 'true': this file is never written"},
		{INTERFACE "SaveConfig = yes", "2: SaveConfig: 'yes': neither true nor false"},
		{INTERFACE "SaveConfig =", "2: SaveConfig: ''"},
		{INTERFACE "Address = 10.0.0.1/33", "2: Address: '10.0.0.1/33': no prefix length"},
		{INTERFACE "Address = 10.0.0.1/24, fd00::1/129", "2: Address: 'fd00::1/129': no prefix length"},
		{INTERFACE "Address = 10.0.0/24", "2: Address: '10.0.0/24': not an address"},
		{INTERFACE "Address = 10.0.0.1/255.255.255.0", "2: Address: '10.0.0.1/255.255.255.0'"},
		{INTERFACE "Address = 10.0.0.1/", "2: Address: '10.0.0.1/'"},
		{INTERFACE "Address = -10.0.0.1/24", "2: Address: '-10.0.0.1/24'"},
		{INTERFACE "Address = host", "2: Address: 'host'"},
		{INTERFACE "Address = 10.0.0.1/24, ::/0", "2: Address: '::/0': no device can have this address"},
		{INTERFACE "Address = ::1/64", "2: Address: '::1/64': no device can have this address"},
		{INTERFACE "Address = 0::01", "2: Address: '0::01': no device can have this address"},
		{INTERFACE "Address = ff02::1/128", "2: Address: 'ff02::1/128': no device can have this address"},
		{INTERFACE "Address = 0.0.0.0/0", "2: Address: '0.0.0.0/0': no device can have this address"},
		{INTERFACE "Address = 127.0.0.1/8", "2: Address: '127.0.0.1/8': no device can have this address"},
		{INTERFACE "Address = 127.9.9.9", "2: Address: '127.9.9.9': no device can have this address"},
		{INTERFACE "Address = 224.0.0.1/4", "2: Address: '224.0.0.1/4': no device can have this address"},
		{INTERFACE "Address = 239.255.255.255", "2: Address: '239.255.255.255': no device can have this address"},
		{INTERFACE "Address = 255.255.255.255/32", "2: Address: '255.255.255.255/32': no device can have this "
							   "address; expected one of the tunnel's own network, "
							   "such as 10.10.0.2/24 or fd10::2/64"},
		{INTERFACE "DNS = 10.0.0.256", "2: DNS: '10.0.0.256': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, fd00:::1", "2: DNS: 'fd00:::1'"},
		{INTERFACE "DNS = 10.0.0.1, ~", "2: DNS: '~': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, ~~a", "2: DNS: '~~a': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, a~b", "2: DNS: 'a~b': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, -a.org", "2: DNS: '-a.org': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, ~-a.org", "2: DNS: '~-a.org': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, a..b", "2: DNS: 'a..b': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, .a", "2: DNS: '.a': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, ~a..b", "2: DNS: '~a..b': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, fe80::1%a$b", "2: DNS: 'fe80::1%a$b': neither an address nor a search domain"},
		{INTERFACE "DNS = 10.0.0.1, xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.org", "2: DNS: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.org': neither an address nor a search domain"},
		{INTERFACE "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 0\nS2 = 7\nH1 = 99\n" PEER "PersistentKeepalive = 20-30",
			"2: Jc, S2, H1, PersistentKeepalive: AmneziaWG's, which changes WireGuard's messages and times; "
			"expected no such lines, at both ends, or the values of plain WireGuard (Jc = 0, S2 = 0, H1 = 1, "
			"PersistentKeepalive = one number)"},
		{INTERFACE
			"Jc=1\njc=1\nS1=1\ns1=1\nS2=1\ns2=2\nS3=1\nS4=1\nH1=5\nh1=5\nH2=5\nh2=5\nH3=5\nH4=5\n"
			"I1=x\ni1=x\nI2=x\nI3=x\nI4=x\nI5=x\nJ1=x\nJ2=x\nJ3=x\nItime=9\nheaderprotectionkey=x\n"
			"ContentPaddingAddition=33-97\nRekeyAfterTime=110-135\nRekeyTimeout=5-8\nRejectAfterTime=175-200\n"
			"KeepaliveTimeout=9\nMaxHandshakeAttempts=20\nRandomTrailers=on\nDisableCookies=1\n" PEER
			"AdvancedSecurity=on\nPersistentKeepalive = 20-30",
			"2: Jc, S1, S2, S3, S4, H1, H2, H3, H4, I1, I2, I3, I4, I5, J1, J2, J3, ITime, "
			"HeaderProtectionKey, ContentPaddingAddition, RekeyAfterTime, RekeyTimeout, RejectAfterTime, "
			"KeepaliveTimeout, MaxHandshakeAttempts, RandomTrailers, DisableCookies, AdvancedSecurity, "
			"PersistentKeepalive: AmneziaWG's, which changes WireGuard's messages and times; expected no such "
			"lines, at both ends, or the values of plain WireGuard (Jc = 0, S1 = 0, S2 = 0, S3 = 0, S4 = 0, "
			"H1 = 1, H2 = 2, H3 = 3, H4 = 4, no I1, no I2, no I3, no I4, no I5, no J1, no J2, no J3, ITime = 0, "
			"no HeaderProtectionKey, ContentPaddingAddition = 0, RekeyAfterTime = 120, RekeyTimeout = 5, "
			"RejectAfterTime = 180, KeepaliveTimeout = 10, MaxHandshakeAttempts = 18, RandomTrailers = off, "
			"DisableCookies = off, AdvancedSecurity = off, PersistentKeepalive = one number)"},
		{PEER "Jc = 4", "3: Jc: not a key of [Peer]"},
		{INTERFACE "AdvancedSecurity = on", "2: AdvancedSecurity: not a key of [Interface]"},
		{INTERFACE "H1 = 2", "2: H1: AmneziaWG's"}, {INTERFACE "I1 = <b 0x01>", "2: I1: AmneziaWG's"},
		{INTERFACE "HeaderProtectionKey = x", "2: HeaderProtectionKey: AmneziaWG's"},
		{INTERFACE "DNS = $(reboot)", "2: DNS: '$(reboot)'"},
		{"[Peer]\nPublicKey = abc", "2: PublicKey: 'abc': not a key; expected the 44 characters"},
		{"[Peer]\nPublicKey = abc\nAllowedIPs = 10.0.0.0/8", "2: PublicKey: 'abc'"},
		{PEER "PresharedKey = " KEY_A "A", "3: PresharedKey: not a key"},
		{PEER "AllowedIPs =", "3: AllowedIPs: '': the value is empty"},
		{PEER "AllowedIPs = 10.0.0.0/8,", "3: AllowedIPs: '': not an address"},
		{PEER "AllowedIPs = 10.0.0.0/33", "3: AllowedIPs: '10.0.0.0/33'"},
		{PEER "AllowedIPs = ::/129", "3: AllowedIPs: '::/129'"},
		{PEER "AllowedIPs = 10.0.0.0/", "3: AllowedIPs: '10.0.0.0/'"},
		{PEER "AllowedIPs = 10.0.0.0/8/8", "3: AllowedIPs: '10.0.0.0/8/8'"},
		{PEER "AllowedIPs = 11.0.0.0/8, -10.0.0.0/8", "3: AllowedIPs: '-10.0.0.0/8': takes a prefix away"},
		{PEER "AllowedIPs = ++10.0.0.0/8", "3: AllowedIPs: '++10.0.0.0/8': not an address"},
		{PEER "AllowedIPs = all", "3: AllowedIPs: 'all'"},
		{PEER "Endpoint = vps.example.org", "3: Endpoint: 'vps.example.org': has no port"},
		{PEER "Endpoint = vps.example.org:", "3: Endpoint: 'vps.example.org:': has no port"},
		{PEER "Endpoint = vps.example.org:0", "3: Endpoint: 'vps.example.org:0': has no port"},
		{PEER "Endpoint = vps.example.org:65536", "3: Endpoint: 'vps.example.org:65536'"},
		{PEER "Endpoint = vps.example.org:http", "3: Endpoint: 'vps.example.org:http'"},
		{PEER "Endpoint = :51820", "3: Endpoint: ':51820': has neither a name nor an address"},
		{PEER "Endpoint = [2001:db8::1]", "3: Endpoint: '[2001:db8::1]': has no port"},
		{PEER "Endpoint = [2001:db8::1:51820", "3: Endpoint: '[2001:db8::1:51820'"},
		{PEER "Endpoint = [2001:db8::1]51820", "3: Endpoint: '[2001:db8::1]51820'"},
		{PEER "Endpoint = [fe80::1%]:51820", "3: Endpoint: '[fe80::1%]:51820': has neither"},
		{PEER "Endpoint = [fe80::1%averyverylongdevice]:51820",
			"3: Endpoint: '[fe80::1%averyverylongdevice]:51820'"},
		{PEER "Endpoint = 300.1.1.1:51820", "3: Endpoint: '300.1.1.1:51820': has neither"},
		{PEER "Endpoint = 127.1:51820", "3: Endpoint: '127.1:51820'"},
		{PEER "Endpoint = wss://vps:443", "3: Endpoint: 'wss://vps:443'"},
		{PEER "Endpoint = -vps:443", "3: Endpoint: '-vps:443'"},
		{PEER "Endpoint =", "3: Endpoint: ''"},
		{PEER "PersistentKeepalive = 65536", "3: PersistentKeepalive: '65536': not an interval"},
		{PEER "PersistentKeepalive = 25s", "3: PersistentKeepalive: '25s'"},
		{PEER "PersistentKeepalive = on", "3: PersistentKeepalive: 'on'"},
		{"[Peer]\nAllowedIPs = 10.0.0.0/8", "1: PublicKey: missing"},
		{INTERFACE "MTU = 1420\nmtu = 1400", "3: MTU: '1400': given already, in line 2"},
		{INTERFACE "PrivateKey = " KEY_A "\nPrivateKey = " KEY_A, "3: PrivateKey: given already, in line 2"},
		{PEER PEER, "4: PublicKey: '" KEY_B "': belongs to the peer of line 2 already"},
		{INTERFACE "MTU = 1420\n" PEER "[interface]\nmtu = 1400", "6: MTU: '1400': given already, in line 2"},
	};
	struct fixture *f = *state;
	char expected[1100];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(expected, sizeof(expected), "%s:%s", path, cases[i].shown);
		if (take(f, cases[i].text) != -EINVAL || f->report.count != 1 ||
			strncmp(f->report.lines[0], expected, strlen(expected)) != 0)
			fail_msg("'%s': %zu lines, '%s' instead of '%s'", cases[i].text, f->report.count,
				f->report.count ? f->report.lines[0] : "", expected);
	}
}

/* What does not show in an editor is named, also in a secret, in front of a key, and in a header. */
static void foreign_characters_are_named(void **state)
{
#define NBSP "U+00A0, a no-break space: type it anew"
	static const char *const cases[][2] = {
		{INTERFACE "Address = 10.0.0.1/24\u00a0", "2: Address: '10.0.0.1/24\u00a0': no prefix length"},
		{INTERFACE "Address = 10.0.0.1/24\u00a0", "; character 12 is " NBSP},
		{INTERFACE "Address = 10.0.0.1/24,\u00a0fd00::1/64", "; character 1 is " NBSP},
		{INTERFACE "Address\u00a0= 10.0.0.1/24", "2: what stands before \"=\" is no key"},
		{INTERFACE "Address\u00a0= 10.0.0.1/24", "; character 8 is " NBSP},
		{INTERFACE "\u00a0 Address = 10.0.0.1/24", "; character 1 is " NBSP},
		{INTERFACE "Address \uff1d 10.0.0.1/24", "; character 9 is U+FF1D, a wide character: type it anew"},
		{"[Interface]\u00a0", "1: a section's header has no \"]\" at its end"},
		{"[Interface]\u00a0", "; character 12 is " NBSP},
		{"[Interface\u200b]", "; character 10 is U+200B, an invisible character: type it anew"},
		{INTERFACE "PrivateKey = \u201c" KEY_A "\u201d", "2: PrivateKey: not a key"},
		{INTERFACE "PrivateKey = \u201c" KEY_A "\u201d", "; character 1 is U+201C, a typographic quotation mark"},
		{INTERFACE "PrivateKey = " KEY_A "\u200b", "; character 45 is U+200B"},
		{INTERFACE "MTU = \u22121420", "2: MTU: '\u22121420': not an MTU"},
		{INTERFACE "MTU = \u22121420", "; character 1 is U+2212, a minus sign"},
		{INTERFACE "DNS = 10.0.0.1, b\u00fcro.example", "; character 2 is U+00FC, '\u00fc'"},
		{PEER "Endpoint = vps\u2011a.example:51820", "; character 4 is U+2011, a typographic dash"},
		{PEER "AllowedIPs = 10.0.0.0\u20448", "; character 9 is U+2044, '\u2044'"},
		{PEER "PersistentKeepalive = 25\u00a0", "; character 3 is " NBSP},
		{PEER "PersistentKeepalive = 25\xa0", "; character 3 is the byte 0xa0, which is not UTF-8"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (take(f, cases[i][0]) != -EINVAL || f->report.count != 1 || !strstr(f->report.lines[0], cases[i][1]) ||
			strstr(f->report.lines[0], KEY_A))
			fail_msg("'%s': %zu lines, '%s'", cases[i][0], f->report.count,
				f->report.count ? f->report.lines[0] : "");
	assert_int_equal(take(f, INTERFACE "PostUp = echo \u201cx\u201d # \u00a0\n# \u2026"), 0);
}

/* All faults of a file are told in one go. */
static void all_faults_are_told(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take(f, INTERFACE "MTU = 1\nListenPort = x\n" PEER "AllowedIPs = y\n"), -EINVAL);
	assert_int_equal(f->report.count, 3);
}

/* A device with less than 1280 bytes has no IPv6: told for the first address and the first route. */
static void small_mtu_has_no_ipv6(void **state)
{
	struct fixture *f = *state;
	char expected[256];

	assert_int_equal(take(f, INTERFACE "MTU = 1279\nAddress = 10.0.0.1/24, fd10::1/64, fd11::1/64\n" PEER
				 "AllowedIPs = 0.0.0.0/0, ::/0, fd12::/64\n"), -EINVAL);
	assert_int_equal(f->report.count, 2);
	snprintf(expected, sizeof(expected),
		"%s:3: Address: 'fd10::1/64': MTU = 1279 is too small for IPv6; expected MTU = 1280 or more, or no IPv6 "
		"address",
		path);
	assert_string_equal(f->report.lines[0], expected);
	snprintf(expected, sizeof(expected),
		"%s:6: AllowedIPs: '::/0': MTU = 1279 is too small for IPv6; expected MTU = 1280 or more, or no IPv6 "
		"network, or Table = off",
		path);
	assert_string_equal(f->report.lines[1], expected);
	take_valid(f, INTERFACE "MTU = 1279\nAddress = 10.0.0.1/24\nTable = off\n" PEER "AllowedIPs = ::/0\n");
	take_valid(f, INTERFACE "MTU = 1280\nAddress = fd10::1/64\n" PEER "AllowedIPs = ::/0\n");
}

/* The same prefix for two peers is told with both lines, in whatever spelling; for one peer it is fine. */
static void same_allowed_ip_is_refused(void **state)
{
	struct fixture *f = *state;
	char expected[256];

	assert_int_equal(take(f, PEER "AllowedIPs = 11.0.0.0/8\nAllowedIPs = 10.0.0.0/8\n"
				      "[Peer]\nPublicKey = " KEY_A "\nAllowedIPs = 12.0.0.0/8, 10.1.1.1/8\n"),
		-EINVAL);
	assert_int_equal(f->report.count, 1);
	snprintf(expected, sizeof(expected),
		"%s:7: AllowedIPs: '10.0.0.0/8': belongs to the peer of line 4 already; WireGuard gives a prefix to "
		"one peer only",
		path);
	assert_string_equal(f->report.lines[0], expected);
}

/* Overlapping prefixes are what routing is made of; IPv4 and IPv6 with the same bytes are not the same. */
static void other_allowed_ips_are_no_clash(void **state)
{
	take_valid(*state, PEER "AllowedIPs = 0.0.0.0/0, 10.0.0.0/8\n[Peer]\nPublicKey = " KEY_A
				"\nAllowedIPs = ::/0, 10.0.0.0/9, a00::/8\n");
}

/* Keys of the program itself are not WireGuard's, and neither are keys in the wrong section. */
static void other_keys_are_not_taken(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		take(f, INTERFACE "PrivateKeyFile = x\nPublicKey = y\n[Peer]\nName = laptop\nToken = z\nMTU = 1\n"),
		-EINVAL);
	assert_int_equal(f->report.count, 5);
	assert_non_null(strstr(f->report.lines[1], "PublicKey: not a key of [Interface]; it belongs in [Peer]"));
	assert_int_equal(f->config.peer_count, 1);
	assert_false(f->config.peers[0].has_public_key);
}

/* No message shows a private or a preshared key, right or wrong. */
static void secrets_are_not_shown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		take(f, INTERFACE "PrivateKey = SECRETSECRET\nPrivateKey = SECRETSECRET\nPrivateKey SECRET =\n" PEER
				  "PresharedKey = SECRET" KEY_A "\n"),
		-EINVAL);
	assert_int_equal(f->report.count, 4);
	for (size_t i = 0; i < f->report.count; i++)
		assert_null(strstr(f->report.lines[i], "SECRET"));
}

/* Many peers are held, and their keys compared in one sweep. */
static void many_peers_are_held(void **state)
{
	struct fixture *f = *state;
	char *text = NULL, key[BASE64_LEN(32) + 1];
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	uint8_t bytes[32] = {0};

	assert_non_null(file);
	for (int i = 0; i < 2000; i++) {
		bytes[0] = (uint8_t)i;
		bytes[1] = (uint8_t)(i >> 8);
		base64_encode(key, sizeof(key), bytes, sizeof(bytes), BASE64_STANDARD);
		fprintf(file, "[Peer]\nPublicKey = %s\nAllowedIPs = 10.0.%d.%d/32\n", key, i >> 8, i & 255);
	}
	assert_int_equal(fclose(file), 0);
	take_valid(f, text);
	free(text);
	assert_int_equal(f->config.peer_count, 2000);
	assert_int_equal(f->config.peers[1999].public_key[1], 1999 >> 8);
}

/* The peer whose Endpoint is the tunnel's port is the one behind it; without such an Endpoint it is each that has none. */
static void port_of_ours_names_the_peer_behind_the_tunnel(void **state)
{
	static const struct {
		const char *own, *endpoint_a, *endpoint_b; /* "": none */
		bool is_a, is_b;
	} cases[] = {
		{"127.0.0.1:51820", "", "", true, true},
		{"127.0.0.1:51820", "127.0.0.1:51820", "", true, false},
		{"127.0.0.1:51820", "", "127.0.0.1:51820", false, true},
		{"127.0.0.1:51820", "127.0.0.1:51820", "192.0.2.1:51820", true, false},
		{"127.0.0.1:51820", "127.0.0.1:51820", "127.0.0.1:51820", true, true},
		{"127.0.0.1:51820", "127.0.0.1:51821", "", false, true},
		{"127.0.0.1:51820", "192.0.2.1:51820", "", false, true},
		{"127.0.0.1:51820", "vps.example.org:51820", "", false, true},
		{"127.0.0.1:51820", "localhost:51820", "", true, false},
		{"127.0.0.1:51820", "LocalHost:51820", "", true, false},
		{"127.0.0.1:51820", "localhost.example.org:51820", "", false, true},
		{"127.0.0.1:51820", "[::1]:51820", "", true, false},
		{"[::1]:51820", "127.0.0.1:51820", "", true, false},
		{"0.0.0.0:51820", "127.0.0.2:51820", "", true, false},
		{"", "127.0.0.1:51820", "", false, true},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *a = cases[i].endpoint_a, *b = cases[i].endpoint_b;
		struct addr own = {.sa = {0}};
		char text[512];

		snprintf(text, sizeof(text),
			"[Interface]\n[Peer]\nPublicKey = " KEY_A "\n%s%s\n[Peer]\nPublicKey = " KEY_B "\n%s%s\n",
			*a ? "Endpoint = " : "", a, *b ? "Endpoint = " : "", b);
		take_valid(f, text);
		assert_int_equal(*cases[i].own ? addr_parse(cases[i].own, 0, &own) : 0, 0);
		print_message("%s: '%s', '%s'\n", cases[i].own, a, b);
		assert_int_equal(wg_config_is_through(&f->config, &f->config.peers[0], &own), cases[i].is_a);
		assert_int_equal(wg_config_is_through(&f->config, &f->config.peers[1], &own), cases[i].is_b);
	}
}

#define WG_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WG_TEST(example_of_the_manual_is_read),
		WG_TEST(second_interface_goes_on),
		WG_TEST(interface_numbers_are_read),
		WG_TEST(addresses_are_read),
		WG_TEST(allowed_ips_are_read),
		WG_TEST(endpoints_are_read),
		WG_TEST(keepalive_is_read),
		WG_TEST(dns_is_read),
		WG_TEST(too_many_words_of_dns_are_told),
		WG_TEST(hooks_are_read),
		WG_TEST(odd_values_are_refused),
		WG_TEST(foreign_characters_are_named),
		WG_TEST(all_faults_are_told),
		WG_TEST(small_mtu_has_no_ipv6),
		WG_TEST(same_allowed_ip_is_refused),
		WG_TEST(other_allowed_ips_are_no_clash),
		WG_TEST(other_keys_are_not_taken),
		WG_TEST(secrets_are_not_shown),
		WG_TEST(many_peers_are_held),
		WG_TEST(port_of_ours_names_the_peer_behind_the_tunnel),
	};

	return cmocka_run_group_tests_name("wg_config", tests, make_file, remove_file);
}
