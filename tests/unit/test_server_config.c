/* server/config: the values of a hub's file, and the complaints about a wrong one. */
#include "server/config.h"
#include "tests/unit/config_cases.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* Read @text as hub.conf. */
static int read_text(const char *text, struct server_config *config, struct ini_report *report)
{
	struct err err = {""};
	int rc;

	write_file("hub.conf", in_folder(text), 0600);
	begin_warnings();
	rc = server_config_read("hub.conf", config, report, &err);
	end_warnings();
	return rc;
}

/* An empty [Server] is a hub on port 443 for WireGuard's usual port. */
static void empty_section_means_the_defaults(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[Server]\n", &config, &report), 0);
	assert_string_equal(config.name, "hub");
	assert_string_equal(config.path, "hub.conf");
	assert_int_equal(config.listen_count, 2);
	assert_string_equal(config.listens[0].text, "0.0.0.0:443");
	assert_string_equal(config.listens[1].text, "[::]:443");
	assert_false(config.listens[0].cleartext);
	assert_null(config.certificate_path);
	assert_string_equal(config.target_text, "127.0.0.1:51820");
	assert_int_equal(config.settings.max_clients, 10000);
	assert_int_equal(config.settings.max_sessions_per_client, 8);
	assert_int_equal(config.settings.ping_interval_ms, 15000);
	assert_int_equal(config.settings.trusted_proxy_count, 0);
	assert_null(config.wireguard_path);
	assert_false(config.has_device);
	assert_int_equal(config.client_count, 0);
	server_config_done(&config);
}

/* Every key of [Server] and [Peer] arrives; sections repeat, names are in any case, lists grow. */
static void every_key_arrives(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[server]\n"
				   "listen = 203.0.113.10, ws://127.0.0.1:8080 # behind nginx\n"
				   "LISTEN = [2001:db8:1::10]:8443\n"
				   "Target = [::1]:51871\n"
				   "MaxClients = 50\n"
				   "MaxSessionsPerClient = 2\n"
				   "[SERVER]\n"
				   "PingInterval = 1min 30s\n"
				   "TrustedProxies = 127.0.0.1,[::1]\n"
				   "TrustedProxies = 172.18.0.0/16, fe80::1%lo\n"
				   "WireGuard = none\n"
				   "[Peer]\n"
				   "Name = Anna's laptop\n"
				   "Token = " TOKEN "\n"
				   "StockPath = old/phone\n"
				   "[Peer]\n"
				   "StockPath = b\n"
				   "[Peer]\n"
				   "PublicKey = " KEY_A "\n"
				   "AllowedIPs = 10.10.0.2/32\n",
				 &config, &report),
		0);
	assert_int_equal(config.listen_count, 3);
	assert_string_equal(config.listens[0].text, "203.0.113.10:443");
	assert_string_equal(config.listens[1].text, "127.0.0.1:8080");
	assert_true(config.listens[1].cleartext);
	assert_int_equal(config.listens[1].line, 2);
	assert_string_equal(config.listens[2].text, "[2001:db8:1::10]:8443");
	assert_string_equal(config.target_text, "[::1]:51871");
	assert_int_equal(config.settings.max_clients, 50);
	assert_int_equal(config.settings.max_sessions_per_client, 2);
	assert_int_equal(config.settings.ping_interval_ms, 90000);
	assert_int_equal(config.settings.trusted_proxy_count, 4);
	assert_int_equal(config.settings.trusted_proxies[1].bits, 128);
	assert_int_equal(config.settings.trusted_proxies[2].bits, 16);
	assert_int_equal(config.client_count, 2); /* the third may not come in */
	assert_string_equal(config.clients[0].name, "Anna's laptop");
	assert_string_equal(config.clients[0].token, TOKEN);
	assert_string_equal(config.clients[0].stock_path, "old/phone");
	assert_int_equal(config.clients[0].line, 12);
	assert_string_equal(config.clients[1].name, "peer-16");
	assert_null(config.clients[1].token);
	assert_int_equal(config.wireguard.peer_count, 3);
	server_config_done(&config);
}

/* A file with [Interface] describes a device that is called as the tunnel, and is hidden; the target is its port. */
static void interface_makes_a_device(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[Server]\n" INTERFACE "ListenPort = 51871\n", &config, &report), 0);
	assert_true(config.has_device);
	assert_string_equal(config.device, "hub");
	assert_true(config.hidden);
	assert_null(config.wireguard_path);
	assert_string_equal(config.target_text, "127.0.0.1:51871");
	server_config_done(&config);

	assert_int_equal(read_text("[Server]\nHidden = no\nTarget = [::1]:5\n" INTERFACE "[Peer]\nPublicKey = " KEY_B
				   "\nEndpoint = 192.0.2.1:51820\n",
				 &config, &report),
		0);
	assert_false(config.hidden);
	assert_int_equal(config.wireguard.interface.listen_port, 51820);
	assert_string_equal(config.target_text, "[::1]:5");
	server_config_done(&config);
}

/* The status page may be at an address of our device, whatever its length and spelling, and then answers there only. */
static void status_page_is_on_the_loopback_or_the_device(void **state)
{
	static const struct {
		const char *text, *shown;
		bool is_of_device;
	} cases[] = {
		{"Status = 127.0.0.1\n" INTERFACE "Address = 10.10.0.1/24\n", "127.0.0.1:9586", false},
		{"Status = [::1]:80\n", "[::1]:80", false},
		{"Status = 10.10.0.1\n" INTERFACE "Address = 10.10.0.7/24, 10.10.0.1/32\n", "10.10.0.1:9586", true},
		{"Status = [fd10:0::1]:443\n" INTERFACE "Address = 10.10.0.1/24\nAddress = fd10::1/64\n", "[fd10::1]:443", true},
	};
	struct server_config config;
	struct ini_report report = {0};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		snprintf(text, sizeof(text), "[Server]\nListen = 203.0.113.1:443\n%s", cases[i].text);
		assert_int_equal(read_text(text, &config, &report), 0);
		assert_string_equal(config.status.text, cases[i].shown);
		assert_int_equal(config.status.is_of_device, cases[i].is_of_device);
		assert_non_null(strstr(config.status.place, "hub.conf:3: Status"));
		server_config_done(&config);
	}
	assert_int_equal(read_text("[Server]\n[Peer]\nToken = " TOKEN "\n", &config, &report), 0);
	assert_int_equal(config.status.addr.sa.sa_family, AF_UNSPEC);
	server_config_done(&config);
}

/* WireGuard = PATH is the device: called as the file, with the file's peers; ours say who may come in. */
static void wireguard_names_a_device(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[Server]\nWireGuard = DIR/wg0.conf\n"
				   "[Peer]\nName = laptop\nToken = " TOKEN "\nPublicKey = " KEY_B "\n"
				   "[Peer]\nStockPath = phone\n",
				 &config, &report),
		0);
	assert_true(config.has_device);
	assert_true(config.hidden);
	assert_string_equal(config.device, "wg0");
	assert_string_equal(config.target_text, "127.0.0.1:51872");
	assert_true(config.wireguard.interface.has_private_key);
	assert_int_equal(config.wireguard.peer_count, 1);
	assert_int_equal(config.client_count, 2);
	assert_true(config.clients[0].has_public_key);
	assert_memory_equal(config.clients[0].public_key, config.wireguard.peers[0].public_key, WG_CONFIG_KEY_LEN);
	assert_false(config.clients[1].has_public_key);
	server_config_done(&config);
}

/* A hook is one argument of its shell, and longer when the device stands in the place of %i. */
static void hook_fits_one_argument(void **state)
{
	static const struct {
		size_t letters, devices;
		const char *line;
	} cases[] = {
		{131071, 0, ""},
		{131072, 0, "too long, 131072 bytes with hub for %i"},
		{131068, 1, ""},
		{131069, 1, "too long, 131072 bytes with hub for %i"},
		{0, 43690, ""},
		{0, 43691, "too long, 131073 bytes with hub for %i"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct server_config config;
		struct ini_report report = {0};
		FILE *file = fopen("hub.conf", "w");

		assert_non_null(file);
		fputs("[Server]\n" INTERFACE "PostUp = true\nPreDown = ", file);
		for (size_t j = 0; j < cases[i].letters; j++)
			fputc('x', file);
		for (size_t j = 0; j < cases[i].devices; j++)
			fputs("%i", file);
		fclose(file);
		assert_int_equal(server_config_read("hub.conf", &config, &report, NULL), 0 - (*cases[i].line ? EINVAL : 0));
		if (report.count > 0)
			assert_non_null(strstr(report.lines[0], cases[i].line));
		if (report.count > 0)
			assert_memory_equal(report.lines[0], "hub.conf:5: PreDown: ", 21);
		server_config_done(&config);
		ini_report_done(&report);
	}
}

/* Without either, another program has the device. */
static void no_device_is_touched_without(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[Server]\nWireGuard = none\n[Peer]\nPublicKey = " KEY_B "\n", &config, &report), 0);
	assert_false(config.has_device);
	assert_false(config.hidden);
	assert_string_equal(config.device, "");
	server_config_done(&config);
}

/* A hub with a device, in eight lines, whose peer leads to the home network. */
#define PUBLISHING                                                                                                     \
	"[Server]\n" INTERFACE "Address = 10.10.0.1/24, fd10::1/64\n[Peer]\nPublicKey = " KEY_B                        \
	"\nAllowedIPs = 10.10.0.2/32, 192.168.1.0/24, fd10::2/128\n[Publish]\n"

/* [Publish] repeats; ports and addresses arrive in every form that they have. */
static void publications_arrive(void **state)
{
	static const struct {
		const char *port, *to;
	} cases[] = {
		{"tcp/80", "192.168.1.30:8080"},
		{"udp/27015", "10.10.0.2:27015"},
		{"tcp/8000-8010", "192.168.1.30:9000-9010"},
		{"tcp/203.0.113.10:81", "192.168.1.30:81"},
		{"tcp/[2001:db8:1::10]:80-81", "[fd10::2]:80-81"},
		{"tcp/65535", "192.168.1.30:1"},
		{"udp/1-65535", "[fd10::2]:1-65535"},
	};
	struct ini_report report = {0};
	struct server_config config;
	char text[2048] = PUBLISHING, port[PUBLISH_TEXT_MAX], to[PUBLISH_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < 7; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "Port = %s\nTo = %s\n%s", cases[i].port,
			cases[i].to, i < 6 ? "[publish]\n" : "KEEPSOURCE = yes\n");
	assert_int_equal(read_text(text, &config, &report), 0);
	assert_int_equal(config.publish_count, 7);
	for (size_t i = 0; i < 7; i++) {
		assert_string_equal(publish_format_port(port, &config.publishes[i].service), cases[i].port);
		assert_string_equal(publish_format_to(to, &config.publishes[i].service), cases[i].to);
		assert_int_equal(config.publishes[i].service.keeps_source, i == 6);
		assert_int_equal(config.publishes[i].port_line, 9 + 3 * i);
		for (size_t j = 0; j < 7; j++)
			assert_int_equal(publish_is_same(&config.publishes[i].service, &config.publishes[j].service), i == j);
	}
	server_config_done(&config);
}

#define PORT(value) PUBLISHING "Port = " value "\nTo = 192.168.1.30:80\n"
#define NAME(value) PUBLISHING "ServerName = " value "\nTo = 192.168.1.30:443\n"
#define TO(value) PUBLISHING "Port = tcp/80\nTo = " value "\n"
#define PORT_HINT "expected for example tcp/80, udp/27015, tcp/8000-8010, tcp/203.0.113.10:80"
#define TO_HINT "expected an address with its port, as in 192.168.1.30:8080 or [fd10::2]:80"
#define NO_PORT "no port, and no address with its port, behind tcp/ or udp/; " PORT_HINT " or tcp/[2001:db8:1::10]:80"

#define CLAIMED "[Claim]\nInterface = wg0\nPublicKey = " KEY_A "\nAllowedIPs = 172.16.5.0/24\n"

/* By port and by name, to a host that only another program's device leads to: that is kept with the service. */
static void a_claim_may_lead_to_the_service(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text(TO("172.16.5.30:80") "[Publish]\nServerName = a.example.org\nTo = 172.16.5.30:443\n"
				   "[Publish]\nPort = tcp/81\nTo = 192.168.1.30:80\n" CLAIMED,
				 &config, &report),
		0);
	assert_string_equal(config.publishes[0].service.device, "wg0");
	assert_string_equal(config.publishes[1].service.device, "");
	server_config_done(&config);
}

static void each_wrong_publication_has_its_line(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{PORT("80"), "hub.conf:9: Port: '80': begins with neither tcp/ nor udp/; " PORT_HINT},
		{PORT("sctp/80"), "hub.conf:9: Port: 'sctp/80': begins with neither tcp/ nor udp/; " PORT_HINT},
		{PORT("tcp/"), "hub.conf:9: Port: 'tcp/': " NO_PORT},
		{PORT("tcp/0"), "hub.conf:9: Port: 'tcp/0': " NO_PORT},
		{PORT("tcp/65536"), "hub.conf:9: Port: 'tcp/65536': " NO_PORT},
		{PORT("tcp/http"), "hub.conf:9: Port: 'tcp/http': " NO_PORT},
		{PORT("tcp/80-"), "hub.conf:9: Port: 'tcp/80-': " NO_PORT},
		{PORT("tcp/-80"), "hub.conf:9: Port: 'tcp/-80': " NO_PORT},
		{PORT("tcp/81-80"), "hub.conf:9: Port: 'tcp/81-80': " NO_PORT},
		{PORT("tcp/80-81-82"), "hub.conf:9: Port: 'tcp/80-81-82': " NO_PORT},
		{PORT("tcp/80, tcp/81"), "hub.conf:9: Port: 'tcp/80, tcp/81': " NO_PORT},
		{PORT("tcp/203.0.113.10"), "hub.conf:9: Port: 'tcp/203.0.113.10': " NO_PORT},
		{PORT("tcp/vps.example.org:80"), "hub.conf:9: Port: 'tcp/vps.example.org:80': " NO_PORT},
		{PORT("tcp/2001:db8:1::10:80"), "hub.conf:9: Port: 'tcp/2001:db8:1::10:80': " NO_PORT},
		{PORT("tcp/[2001:db8:1::10]"), "hub.conf:9: Port: 'tcp/[2001:db8:1::10]': " NO_PORT},
		{PORT("tcp/127.0.0.1:80"),
			"hub.conf:9: Port: 'tcp/127.0.0.1:80': not an address that others reach; expected one of this "
			"host's, or none for all but the loopback, as in tcp/80"},
		{PORT("tcp/0.0.0.0:80"),
			"hub.conf:9: Port: 'tcp/0.0.0.0:80': not an address that others reach; expected one of this "
			"host's, or none for all but the loopback, as in tcp/80"},
		{TO("192.168.1.30"), "hub.conf:10: To: '192.168.1.30': not an address with its port; " TO_HINT},
		{TO("8080"), "hub.conf:10: To: '8080': not an address with its port; " TO_HINT},
		{TO("nas.home:80"), "hub.conf:10: To: 'nas.home:80': not an address with its port; " TO_HINT},
		{TO("192.168.1.300:80"), "hub.conf:10: To: '192.168.1.300:80': not an address with its port; " TO_HINT},
		{TO("192.168.1.30:80:80"),
			"hub.conf:10: To: '192.168.1.30:80:80': not an address with its port; " TO_HINT},
		{TO("[fd10::2]:1:80"), "hub.conf:10: To: '[fd10::2]:1:80': not an address with its port; " TO_HINT},
		{TO("fd10::2:80"), "hub.conf:10: To: 'fd10::2:80': not an address with its port; " TO_HINT},
		{TO("127.0.0.1:80"), "hub.conf:10: To: '127.0.0.1:80': not a host behind the tunnel; " TO_HINT},
		{TO("[::]:80"), "hub.conf:10: To: '[::]:80': not a host behind the tunnel; " TO_HINT},
		{TO("[::ffff:10.10.0.2]:80"),
			"hub.conf:10: To: '[::ffff:10.10.0.2]:80': not a host behind the tunnel; " TO_HINT},
		{TO("10.10.0.1:80"),
			"hub.conf:10: To: '10.10.0.1:80': is this host's own address in the tunnel; expected one behind "
			"a [Peer]"},
		{TO("192.168.2.30:80"),
			"hub.conf:10: To: '192.168.2.30:80': in the AllowedIPs of no [Peer], so it would be looked for on "
			"the Internet; expected 192.168.2.30 in the AllowedIPs of the peer that leads there, or of a [Claim] "
			"without Container and Namespace"},
		{TO("192.168.1.30:80-81"),
			"hub.conf:10: To: '192.168.1.30:80-81': 2 ports for the 1 of Port in line 9; expected as many"},
		{PUBLISHING "Port = tcp/80-89\nTo = 192.168.1.30:80\n",
			"hub.conf:10: To: '192.168.1.30:80': 1 ports for the 10 of Port in line 9; expected as many"},
		{PUBLISHING "Port = tcp/203.0.113.10:80\nTo = [fd10::2]:80\n",
			"hub.conf:10: To: '[fd10::2]:80': is IPv6, and the address of Port in line 9 is IPv4; expected one "
			"family, and a section for each"},
		{PUBLISHING "To = 192.168.1.30:80\n", "hub.conf:8: Port: missing; " PORT_HINT
						      ", or ServerName = home.example.org for a TLS server on our "
						      "own port"},
		{PUBLISHING "Port = tcp/80\n", "hub.conf:8: To: missing; " TO_HINT},
		{PUBLISHING "Port = tcp/80\nServerName = a.example.org\nTo = 192.168.1.30:80\n",
			"hub.conf:10: ServerName: 'a.example.org': stands beside Port in line 9; expected one of them, and a "
			"[Publish] for each"},
		{TO("192.168.1.30:80") "ProxyProtocol = v1\n",
			"hub.conf:11: ProxyProtocol: is for ServerName; with Port To sees the visitor's address by KeepSource = "
			"yes"},
		{NAME("a.example.org") "KeepSource = no\n",
			"hub.conf:11: KeepSource: is for Port; with ServerName the connection to To is the hub's own; expected "
			"ProxyProtocol = v1 or v2, which tells To the visitor's address"},
		{NAME("a.example.org") "ProxyProtocol = yes\n",
			"hub.conf:11: ProxyProtocol: 'yes': not one of the choices; expected one of no, v1, v2"},
		{PUBLISHING "ServerName = a.example.org\nTo = 192.168.1.30:443-444\n",
			"hub.conf:10: To: '192.168.1.30:443-444': a range of ports is for Port; expected one port with "
			"ServerName"},
		{PUBLISHING "ServerName = a.example.org\nTo = 192.168.2.30:443\n",
			"hub.conf:10: To: '192.168.2.30:443': in the AllowedIPs of no [Peer], so it would be looked for on the "
			"Internet; expected 192.168.2.30 in the AllowedIPs of the peer that leads there, or of a [Claim] "
			"without Container and Namespace"},
		{TO("172.16.5.30:80") CLAIMED "Container = wg-easy\n",
			"hub.conf:10: To: '172.16.5.30:80': in the AllowedIPs of no [Peer], so it would be looked for on "
			"the Internet; expected 172.16.5.30 in the AllowedIPs of the peer that leads there, or of a [Claim] "
			"without Container and Namespace"},
		{NAME("a.*.org"),
			"hub.conf:9: ServerName: 'a.*.org': a star in the wrong place; expected it as the whole left label, as "
			"in *.home.example.org"},
		{NAME("203.0.113.10"),
			"hub.conf:9: ServerName: '203.0.113.10': an address, or with a port, which no TLS server name is; "
			"expected a name, as in home.example.org"},
		{NAME("a_.example.org, B.example.org, b.example.ORG"),
			"hub.conf:9: ServerName: 'b.example.ORG': published already, in line 9; expected a name once"},
		{NAME("a.example.org, *.example.org") "[Publish]\nTo = 192.168.1.31:443\nServerName = *.EXAMPLE.org\n",
			"hub.conf:13: ServerName: '*.EXAMPLE.org': published already, in line 9; expected a name once"},
		{"[Server]\nListen = ws://127.0.0.1:8080\n" INTERFACE
		 "Address = 10.10.0.1/24\n[Peer]\nPublicKey = " KEY_B
		 "\nAllowedIPs = 10.10.0.2/32\n[Publish]\nServerName = a.example.org\nTo = 10.10.0.2:443\n",
			"hub.conf:10: ServerName: 'a.example.org': needs TLS on our own port, and every Listen is ws://, behind "
			"a reverse proxy that has ended it; expected Listen = 0.0.0.0:443, or the name in that proxy's "
			"configuration"},
		{TO("192.168.1.30:80") "KeepSource = 1\n",
			"hub.conf:11: KeepSource: '1': neither yes nor no; expected one of the two"},
		{TO("192.168.1.30:80") "[Publish]\nPort = tcp/79-81\nTo = 192.168.1.30:79-81\n",
			"hub.conf:12: Port: 'tcp/79-81': published already, as tcp/80 in line 9; expected a port in one "
			"[Publish] only"},
		{TO("192.168.1.30:80") "[Publish]\nPort = tcp/203.0.113.10:80\nTo = 192.168.1.31:80\n",
			"hub.conf:12: Port: 'tcp/203.0.113.10:80': published already, as tcp/80 in line 9; expected a port in "
			"one [Publish] only"},
		{PUBLISHING "Port = tcp/400-443\nTo = 192.168.1.30:400-443\n",
			"hub.conf:9: Port: 'tcp/400-443': Listen = 0.0.0.0:443 is ours; expected ServerName in its place, by "
			"which TLS servers share our port, or another port here or in Listen"},
		{"[Server]\n[Publish]\nPort = tcp/80\nTo = [fd10::2]:8443\n",
			"hub.conf:2: [Publish]: needs a device of ours; expected [Interface] in this file, or WireGuard = PATH"},
		{"[Server]\nHidden = no\n" INTERFACE "Address = 10.10.0.1/24\n[Peer]\nPublicKey = " KEY_B
		 "\nAllowedIPs = "
		 "10.10.0.2/32, fd10::2/128\n[Publish]\nPort = udp/51820\nTo = 10.10.0.2:51820\n",
			"hub.conf:10: Port: 'udp/51820': WireGuard's own ListenPort is 51820; expected another port here, or "
			"there"},
		{"[Server]\nHidden = no\n" INTERFACE "Address = 10.10.0.1/24\n[Peer]\nPublicKey = " KEY_B
		 "\nAllowedIPs = "
		 "10.10.0.2/32, fd10::2/128\n[Publish]\nPort = tcp/80\nTo = [fd10::2]:80\n",
			"hub.conf:11: To: '[fd10::2]:80': the device has no IPv6 address, and answers would not come back; "
			"expected one in Address of [Interface]"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ini_report report = {0};
		struct server_config config;

		assert_int_equal(read_text(cases[i].text, &config, &report), -EINVAL);
		assert_only_line(&report, cases[i].text, cases[i].complaint);
		ini_report_done(&report);
	}
}

static void write_key(const char *name, EVP_PKEY *key)
{
	FILE *file = fopen(name, "w");

	assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	chmod(name, 0600);
}

static void write_certificate(const char *name, EVP_PKEY *key)
{
	FILE *file = fopen(name, "w");
	X509 *certificate = X509_new();
	X509_EXTENSION *names =
		X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:VPS.example.org,DNS:www.example.org");

	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
		(const unsigned char *)"vps.example.org", -1, -1, 0);
	assert_int_equal(X509_add_ext(certificate, names, -1), 1);
	X509_EXTENSION_free(names);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	assert_int_equal(X509_set_pubkey(certificate, key), 1);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(file, certificate), 1);
	X509_free(certificate);
	fclose(file);
}

/* Behind the ports, in the order of the file. */
static void published_names_arrive(void **state)
{
	static const char text[] = NAME("Home.example.org, *.home.example.org") "ServerName = nas\nProxyProtocol = v2\n"
		"[Publish]\nPort = tcp/80\nTo = 192.168.1.30:80\n"
		"[Publish]\nServerName = *.example.org\nTo = [fd10::2]:8443\n"
		"[Publish]\nPort = tcp/81\nTo = 192.168.1.30:81\n";
	struct ini_report report = {0};
	struct server_config config;
	const struct publish *named;

	(void)state;
	assert_int_equal(read_text(text, &config, &report), 0);
	assert_int_equal(config.publish_count, 2);
	assert_int_equal(config.publishes[0].service.ports.first, 80);
	assert_int_equal(config.publishes[1].service.ports.first, 81);
	assert_int_equal(config.named_count, 2);
	named = &config.publishes[2];
	assert_int_equal(named[0].name_count, 3);
	assert_string_equal(named[0].names[0].text, "Home.example.org");
	assert_string_equal(named[0].names[2].text, "nas");
	assert_int_equal(named[0].names[2].line, 11);
	assert_int_equal(named[0].proxy_protocol, 2);
	assert_int_equal(named[0].service.protocol, 0);
	assert_string_equal(named[1].names[0].text, "*.example.org");
	assert_int_equal(named[1].proxy_protocol, 0);
	server_config_done(&config);
	assert_int_equal(read_text("[Server]\n[Publish]\nServerName = nas\nTo = 192.168.1.30:443\n", &config, &report), 0);
	assert_int_equal(config.named_count, 1); /* beside another program's device, too */
	server_config_done(&config);
}

/* The certificate's names, also the common one; without a certificate the host's. */
static void own_names_are_not_published(void **state)
{
	char text[1024], host[65] = "", complaint[256];
	struct ini_report report = {0};
	struct server_config config;
	EVP_PKEY *key = EVP_EC_gen("P-256");

	(void)state;
	write_certificate("cert.pem", key);
	write_key("key.pem", key);
	snprintf(text, sizeof(text),
		"%sServerName = vps.EXAMPLE.org, www.example.org, home.example.org\nTo = "
		"192.168.1.30:443\n[Server]\nCertificate = %s/cert.pem\nCertificateKey = %s/key.pem\n",
		PUBLISHING, case_folder, case_folder);
	assert_int_equal(read_text(text, &config, &report), -EINVAL);
	assert_int_equal(report.count, 2);
	assert_true(has_line(&report,
		"hub.conf:9: ServerName: 'vps.EXAMPLE.org': is our own, by Certificate; expected a name "
		"of the server behind To"));
	assert_true(has_line(&report,
		"hub.conf:9: ServerName: 'www.example.org': is our own, by Certificate; expected a name "
		"of the server behind To"));
	ini_report_done(&report);
	EVP_PKEY_free(key);
	gethostname(host, sizeof(host) - 1);
	snprintf(text, sizeof(text), "%sServerName = %s\nTo = 192.168.1.30:443\n", PUBLISHING, host);
	snprintf(complaint, sizeof(complaint),
		"hub.conf:9: ServerName: '%s': is our own, this host's name; expected a name "
		"of the server behind To",
		host);
	report = (struct ini_report){0};
	assert_int_equal(read_text(text, &config, &report), -EINVAL);
	assert_only_line(&report, text, complaint);
	ini_report_done(&report);
}

/* Neither a port of the other protocol, nor of the other family, nor another address is the same port. */
static void neighbours_of_a_publication_are_free(void **state)
{
	struct ini_report report = {0};
	struct server_config config;

	(void)state;
	assert_int_equal(read_text("[Server]\nListen = 203.0.113.11:80, 127.0.0.1:81\n" INTERFACE
				   "Address = 10.10.0.1/24, fd10::1/64\n[Peer]\nPublicKey = " KEY_B
				   "\nAllowedIPs = 0.0.0.0/0, ::/0\n"
				   "[Publish]\nPort = tcp/203.0.113.10:80\nTo = 192.168.1.30:80\n"
				   "[Publish]\nPort = tcp/203.0.113.12:80\nTo = 192.168.1.30:80\n"
				   "[Publish]\nPort = udp/80\nTo = 192.168.1.30:80\n"
				   "[Publish]\nPort = tcp/80\nTo = [fd10::2]:80\n"
				   "[Publish]\nPort = tcp/81\nTo = 192.168.1.30:81\n"
				   "[Publish]\nPort = udp/51820\nTo = 192.168.1.30:81\n",
				 &config, &report),
		0);
	assert_int_equal(config.publish_count, 6);
	server_config_done(&config);
}

/* [Gateway] repeats; its networks grow, without the bits behind their length. */
static void gateways_arrive(void **state)
{
	struct server_config config;
	struct ini_report report = {0};
	char text[PREFIX_TEXT_MAX];

	(void)state;
	assert_int_equal(
		read_text("[Server]\n" INTERFACE "[Gateway]\nLan = 10.20.30.40/16, fd00::1/64\nLan = 192.0.2.7\n"
			  "Interface = eth0\nMasquerade = no\n[gateway]\nlan = 10.21.0.0/16\n",
			&config, &report),
		0);
	assert_int_equal(config.gateway_count, 2);
	assert_int_equal(config.gateways[0].lan_count, 3);
	assert_string_equal(prefix_format(text, sizeof(text), &config.gateways[0].lans[0]), "10.20.0.0/16");
	assert_string_equal(prefix_format(text, sizeof(text), &config.gateways[0].lans[1]), "fd00::/64");
	assert_string_equal(prefix_format(text, sizeof(text), &config.gateways[0].lans[2]), "192.0.2.7/32");
	assert_string_equal(config.gateways[0].interface, "eth0");
	assert_false(config.gateways[0].masquerade);
	assert_int_equal(config.gateways[0].interface_line, 7);
	assert_string_equal(config.gateways[1].interface, "");
	assert_true(config.gateways[1].masquerade);
	assert_int_equal(config.gateways[1].lan_line, 10);
	server_config_done(&config);
}

/* One wrong line about the device, one complaint, to the word. */
static void each_mistake_about_the_device_has_its_line(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{"[Server]\nWireGuard = DIR/wg0.conf\n" INTERFACE,
			"hub.conf:3: [Interface]: WireGuard in line 2 says where the device comes from; expected one of the two"},
		{"[Server]\n" INTERFACE "[Server]\nWireGuard = DIR/wg0.conf\n",
			"hub.conf:5: WireGuard: 'DIR/wg0.conf': this file describes a device itself, from line 2 on; expected WireGuard or [Interface]"},
		{"[Server]\nWireGuard = none\n[Interface]\n", "hub.conf:3: [Interface]: WireGuard in line 2 says where "
							      "the device comes from; expected one of the two"},
		{"[Server]\nWireGuard = DIR/sixteen_letters_.conf\n",
			"hub.conf:2: WireGuard: 'DIR/sixteen_letters_.conf': the device is called as that file, and "
			"'sixteen_letters_' is too long for one; expected up to 15 of letters, digits and _=+.- before .conf"},
		{"[Server]\nWireGuard = DIR/wg0.conf\n[Peer]\nToken = " TOKEN "\nAllowedIPs = 10.0.0.2/32\n",
			"hub.conf:5: AllowedIPs: the device is described in DIR/wg0.conf; this line belongs there"},
		{"[Server]\nWireGuard = DIR/wg0.conf\n[Peer]\nToken = " TOKEN "\nPersistentKeepalive = 25\n",
			"hub.conf:5: PersistentKeepalive: the device is described in DIR/wg0.conf; this line belongs "
			"there"},
		{"[Server]\nWireGuard = DIR/wg0.conf\n[Peer]\nToken = " TOKEN "\nPublicKey = " KEY_A "\n",
			"hub.conf:5: PublicKey: '" KEY_A
			"': no [Peer] of DIR/wg0.conf has it; expected the key of one of them"},
		{"[Server]\nWireGuard = DIR/ends.conf\n",
			"DIR/ends.conf:5: Endpoint: '192.0.2.1:51820': a hidden device reaches nobody by itself; expected Hidden = no in [Server], or no Endpoint"},
		{"[Server]\nHidden = yes\n" INTERFACE "[Peer]\nPublicKey = " KEY_B
		 "\nEndpoint = vps.example.org:51820\n",
			"hub.conf:7: Endpoint: 'vps.example.org:51820': a hidden device reaches nobody by itself; expected Hidden = no in [Server], or no Endpoint"},
		{"[Server]\nHidden = no\n",
			"hub.conf:2: Hidden: 'no': needs a device of ours; expected [Interface] in this file, or WireGuard = PATH"},
		{"[Server]\nHidden = perhaps\n" INTERFACE,
			"hub.conf:2: Hidden: 'perhaps': neither yes nor no; expected one of the two"},
		{"[Server]\nTarget = 127.0.0.1:51821\n" INTERFACE,
			"hub.conf:2: Target: '127.0.0.1:51821': our hidden device answers at 127.0.0.1:51820; expected that address, or Hidden = no"},
		{"[Server]\n[Interface]\nListenPort = 51820\n",
			"hub.conf:2: PrivateKey: missing; expected PrivateKey = … with what `wg genkey` prints"},
		{"[Server]\n" INTERFACE "[Gateway]\n",
			"hub.conf:4: Lan: missing; expected the network that the tunnel's peers may reach, as in 192.168.1.0/24"},
		{"[Server]\n[Gateway]\nLan = 10.0.0.0/8\n",
			"hub.conf:2: [Gateway]: needs a device of ours; expected [Interface] in this file, or WireGuard = PATH"},
		{"[Server]\n" INTERFACE "[Gateway]\nLan = 10.0.0.0/33\n",
			"hub.conf:5: Lan: '10.0.0.0/33': not a network; expected one such as 192.168.1.0/24 or fd00::/64"},
		{"[Server]\n" INTERFACE "[Gateway]\nLan = 10.0.0.0/8\nInterface = sixteen_letters_\n",
			"hub.conf:6: Interface: 'sixteen_letters_': not a device; expected the name of the one that has the Lan, as in eth0"},
		{"[Server]\n" INTERFACE "[Gateway]\nLan = 10.0.0.0/8\nInterface = hub\n",
			"hub.conf:6: Interface: 'hub': is the tunnel's own device; expected the one that has the Lan"},
		{"[Server]\n" INTERFACE "[Gateway]\nLan = 10.0.0.0/8\nMasquerade = maybe\n",
			"hub.conf:6: Masquerade: 'maybe': neither yes nor no; expected one of the two"},
		{"[Server]\n" INTERFACE "[Gateway]\nLan = 10.0.0.0/8\nInterface = a\nInterface = b\n",
			"hub.conf:7: Interface: 'b': given already, in line 6; expected once"},
		{"[Server]\n" INTERFACE "[Gateway]\nLan = 10.0.0.0/8\n[Gateway]\nLan = 10.3.0.0/16\n",
			"hub.conf:7: Lan: '10.3.0.0/16': overlaps with 10.0.0.0/8 in line 5; expected an address in one [Gateway] only"},
		{"[Server]\n" INTERFACE "[Gateway]\nLna = 10.0.0.0/8\nLan = 10.0.0.0/8\n",
			"hub.conf:5: Lna: not a key of [Gateway]; did you mean Lan?"},
		{"[Server]\n[Gatway]\nLan = 10.0.0.0/8\n",
			"hub.conf:2: [Gatway]: not a section; did you mean [Gateway]?"},
		{"[Server]\n" INTERFACE "SaveConfig = true\n",
			"hub.conf:4: SaveConfig: 'true': this file is never written, what `wg set` changes would be lost; expected false, or no such line"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct server_config config;
		struct ini_report report = {0};

		assert_int_equal(read_text(cases[i].text, &config, &report), -EINVAL);
		assert_only_line(&report, cases[i].text, in_folder(cases[i].complaint));
		ini_report_done(&report);
	}
}

/* A tunnel's name may be longer than a device's, and have other characters. */
static void device_must_have_a_name(void **state)
{
	static const struct {
		const char *file, *fault;
	} cases[] = {
		{"a_tunnel_to_nowhere.conf", "'a_tunnel_to_nowhere' is too long for one"},
		{"hub@home.conf", "'hub@home' has a character that one cannot have"},
		{"all.conf", "'all' is a name that the kernel keeps for itself"},
	};
	struct server_config config;
	struct err err = {""};
	char line[512];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ini_report report = {0};

		write_file(cases[i].file, "[Server]\n" INTERFACE "[Peer]\nToken = " TOKEN "\n", 0600);
		snprintf(line, sizeof(line),
			"%s:2: [Interface]: the device is called as this file, and %s; expected up to 15 of letters, digits and _=+.- before .conf, or WireGuard = PATH of a file with such a name",
			cases[i].file, cases[i].fault);
		assert_int_equal(server_config_read(cases[i].file, &config, &report, &err), -EINVAL);
		assert_only_line(&report, cases[i].file, line);
		ini_report_done(&report);
		write_file(cases[i].file, "[Server]\n[Peer]\nToken = " TOKEN "\n", 0600);
		assert_int_equal(server_config_read(cases[i].file, &config, &report, &err), 0);
		server_config_done(&config);
	}
}

/* A hook may set the key. */
static void hook_may_set_the_key(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(
		read_text("[Server]\n[Interface]\nPostUp = wg set %i private-key /etc/key\n", &config, &report), 0);
	assert_true(config.has_device);
	server_config_done(&config);
}

/* PrivateKeyFile is PrivateKey from a file. */
static void private_key_comes_from_a_file(void **state)
{
	struct server_config config;
	struct ini_report report = {0};
	char text[256];

	(void)state;
	write_file("key", KEY_A "\n", 0600);
	snprintf(text, sizeof(text), "[Server]\n[Interface]\nPrivateKeyFile = %s/key\n", case_folder);
	assert_int_equal(read_text(text, &config, &report), 0);
	assert_true(config.wireguard.interface.has_private_key);
	assert_int_equal(config.wireguard.interface.private_key[0], 0xc8);
	server_config_done(&config);
}

#define CLAIM "[Claim]\nInterface = wg0\nPublicKey = " KEY_B "\nAllowedIPs = 192.168.1.0/24\n" /* four lines */

/* All keys of a [Claim]; the same prefix may be claimed in another namespace. */
static void claims_arrive(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[Server]\n" CLAIM CLAIM "Container = wg-easy\n" CLAIM "Namespace = /run/netns/box\n"
				   "[claim]\ninterface = wg1\npublickey = " KEY_A
				   "\nallowedips = 192.168.2.5/24, fd77::1/64\nAllowedIPs = 10.0.0.7\n",
				 &config, &report),
		0);
	assert_int_equal(config.claim_count, 4);
	assert_string_equal(config.claims[0].interface, "wg0");
	assert_null(config.claims[0].container);
	assert_null(config.claims[0].namespace_path);
	assert_string_equal(config.claims[1].container, "wg-easy");
	assert_string_equal(config.claims[2].namespace_path, "/run/netns/box");
	assert_string_equal(config.claims[3].interface, "wg1");
	assert_int_equal(config.claims[3].peer.public_key[0], 0xc8);
	assert_int_equal(config.claims[3].peer.allowed_ip_count, 3);
	assert_int_equal(config.claims[3].peer.allowed_ips[2].prefix.bits, 32);
	assert_true(claim_is_same_device(&config.claims[0], &config.claims[0]));
	assert_false(claim_is_same_device(&config.claims[0], &config.claims[1]));
	server_config_done(&config);
}

/* One wrong line, one complaint, to the word. */
static void each_mistake_has_its_line(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{"", "hub.conf:1: [Server]: missing section; a line [Server] begins it"},
		{"[Peer]\nToken = " TOKEN "\n", "hub.conf:1: [Server]: missing section; a line [Server] begins it"},
		{"[Server]\n" CLAIM "Interface = wg0\n",
			"hub.conf:6: Interface: 'wg0': given already, in line 3; expected once"},
		{"[Server]\n" CLAIM "Persist = yes\n", "hub.conf:6: Persist: not a key of [Claim]; take the line out"},
		{"[Server]\n" CLAIM "Endpoint = 1.2.3.4:5\n",
			"hub.conf:6: Endpoint: not a key of [Claim]; it belongs in [Peer]"},
		{"[Server]\n" CLAIM "Container = a\nNamespace = /run/netns/a\n",
			"hub.conf:7: Namespace: '/run/netns/a': Container is given already, in line 6; expected one of the two"},
		{"[Server]\n" CLAIM "Container = --help\n",
			"hub.conf:6: Container: '--help': not a container; expected a name as `docker ps` shows it, as in wg-easy"},
		{"[Server]\n" CLAIM "Namespace = box\n",
			"hub.conf:6: Namespace: 'box': not an absolute path; expected one that begins with /"},
		{"[Server]\n[Claim]\nPublicKey = " KEY_B "\nAllowedIPs = 10.0.0.0/8\n",
			"hub.conf:2: Interface: missing; expected the device that another program rewrites, as in wg0"},
		{"[Server]\n[Claim]\nInterface = a/b\nPublicKey = " KEY_B "\nAllowedIPs = 10.0.0.0/8\n",
			"hub.conf:3: Interface: 'a/b': not a device; expected the name of another program's, as in wg0"},
		{"[Server]\n[Claim]\nInterface = wg0\nAllowedIPs = 10.0.0.0/8\n",
			"hub.conf:2: PublicKey: missing; expected the key of the peer that AllowedIPs are added to"},
		{"[Server]\n[Claim]\nInterface = wg0\nPublicKey = abc\nAllowedIPs = 10.0.0.0/8\n",
			"hub.conf:4: PublicKey: 'abc': not a key; expected the 44 characters of base64 that `wg pubkey` prints"},
		{"[Server]\n[Claim]\nInterface = wg0\nPublicKey = " KEY_B "\n",
			"hub.conf:2: AllowedIPs: missing; expected the networks that are added to the peer, as in 192.168.1.0/24"},
		{"[Server]\n[Claim]\nInterface = wg0\nPublicKey = " KEY_B "\nAllowedIPs =\n",
			"hub.conf:5: AllowedIPs: '': the value is empty, which wg refuses; expected a prefix such as 10.0.0.2/32, or no such line"},
		{"[Server]\n[Claim]\nInterface = wg0\nPublicKey = " KEY_B "\nAllowedIPs = 0.0.0.0/0\n",
			"hub.conf:5: AllowedIPs: '0.0.0.0/0': its route would lead everything that this host sends to the peer, "
			"WireGuard's own packets, too; expected the networks behind the peer, as in 192.168.1.0/24"},
		{"[Server]\n[Claim]\nInterface = wg0\nPublicKey = " KEY_B "\nAllowedIPs = 10.0.0.0/8, 8000::/1\n",
			"hub.conf:5: AllowedIPs: '8000::/1': its route would lead everything that this host sends to the peer, "
			"WireGuard's own packets, too; expected the networks behind the peer, as in 192.168.1.0/24"},
		{"[Server]\n" CLAIM "[Claim]\nInterface = wg1\nPublicKey = " KEY_A "\nAllowedIPs = 192.168.1.0/24\n",
			"hub.conf:9: AllowedIPs: '192.168.1.0/24': claimed already, in line 5; expected a network in one [Claim] only"},
		{"[Server]\n" CLAIM "[Claim]\nInterface = wg0\nPublicKey = " KEY_A "\nAllowedIPs = 10.1.0.0/16, 192.168.1.7/24\n",
			"hub.conf:9: AllowedIPs: '192.168.1.0/24': claimed already, in line 5; expected a network in one [Claim] only"},
		{"[Server]\n" CLAIM "AllowedIPs = 192.168.1.0/24\n",
			"hub.conf:6: AllowedIPs: '192.168.1.0/24': claimed already, in line 5; expected a network in one [Claim] only"},
		{"[Server]\n" INTERFACE "[Claim]\nInterface = hub\nPublicKey = " KEY_B "\nAllowedIPs = 10.0.0.0/8\n",
			"hub.conf:5: Interface: 'hub': is our own device; expected these AllowedIPs in its [Peer] instead"},
		{"[Server]\n" INTERFACE "[Peer]\nPublicKey = " KEY_B "\n[Claim]\nInterface = wg0\nPublicKey = " KEY_B
		 "\nAllowedIPs = 10.0.0.0/8\n",
			"hub.conf:8: PublicKey: is a peer of our own device; expected these AllowedIPs in its [Peer] instead"},
		{"[Server]\n[Pear]\n", "hub.conf:2: [Pear]: not a section; did you mean [Peer]?"},
		{"[Server]\n[Fortress]\nX = 1\n",
			"hub.conf:2: [Fortress]: not a section; expected [Server], [Interface], [Peer], [Publish], [Claim] or [Gateway]"},
		{"[Server]\n[Client]\nServer = x\n",
			"hub.conf:2: [Client]: is for towpath-client; a file is for one of the two programs"},
		{"[Server]\nWebsite = /var/www\n",
			"hub.conf:2: Website: '/var/www': not known to this version; take the line out"},
		{"[Server]\nLisen = 0.0.0.0:443\n", "hub.conf:2: Lisen: not a key of [Server]; did you mean Listen?"},
		{"[Server]\nColour = blue\n", "hub.conf:2: Colour: not a key of [Server]; take the line out"},
		{"[Server]\nToken = " TOKEN "\n", "hub.conf:2: Token: not a key of [Server]; it belongs in [Peer]"},
		{"[Server]\n[Peer]\nTokn = " TOKEN "\nStockPath = a\n",
			"hub.conf:3: Tokn: not a key of [Peer]; did you mean Token?"},
		{"[Server]\n[Peer]\nPublikKey = x\nStockPath = a\n",
			"hub.conf:3: PublikKey: not a key of [Peer]; did you mean PublicKey?"},
		{"[Server]\nMaxClients = 5\nMaxClients = 6\n",
			"hub.conf:3: MaxClients: '6': given already, in line 2; expected once"},
		{"[Server]\nMaxClients = 5\n[Server]\nmaxclients = 6\n",
			"hub.conf:4: MaxClients: '6': given already, in line 2; expected once"},
		{"[Server]\nMaxClients = 0\n",
			"hub.conf:2: MaxClients: '0': not a number in range; expected 1 to 1000000"},
		{"[Server]\nMaxClients = 5x\n",
			"hub.conf:2: MaxClients: '5x': not a number in range; expected 1 to 1000000"},
		{"[Server]\nMaxClients = -5\n",
			"hub.conf:2: MaxClients: '-5': not a number in range; expected 1 to 1000000"},
		{"[Server]\nMaxClients = 99999999999999999999\n",
			"hub.conf:2: MaxClients: '99999999999999999999': not a number in range; expected 1 to 1000000"},
		{"[Server]\nMaxClients =\n",
			"hub.conf:2: MaxClients: the value is empty; expected one, or no such line"},
		{"[Server]\nMaxSessionsPerClient = 65536\n",
			"hub.conf:2: MaxSessionsPerClient: '65536': not a number in range; expected 1 to 65535"},
		{"[Server]\nPingInterval = soon\n",
			"hub.conf:2: PingInterval: 'soon': not a time; expected for example 15s, 5min or 1h 30min"},
		{"[Server]\nPingInterval = 500ms\n",
			"hub.conf:2: PingInterval: '500ms': out of range; expected 1s to 3600s"},
		{"[Server]\nPingInterval = 2h\n", "hub.conf:2: PingInterval: '2h': out of range; expected 1s to 3600s"},
		{"[Server]\nListen = example.org:443\n",
			"hub.conf:2: Listen: 'example.org:443': not an address with its port; expected for example 0.0.0.0:443, [::]:443 or ws://127.0.0.1:8080"},
		{"[Server]\nListen = 0.0.0.0:0\n",
			"hub.conf:2: Listen: '0.0.0.0:0': not an address with its port; expected for example 0.0.0.0:443, [::]:443 or ws://127.0.0.1:8080"},
		{"[Server]\nListen = ws://0.0.0.0:80\n",
			"hub.conf:2: Listen: 'ws://0.0.0.0:80': cleartext is for a reverse proxy, not for the Internet; expected ws://127.0.0.1:80, or with TrustedProxies this host's address in the proxy's private network, as in ws://172.18.0.1:80"},
		{"[Server]\nTrustedProxies = 198.51.100.7\nListen = ws://203.0.113.10:8080\n",
			"hub.conf:3: Listen: 'ws://203.0.113.10:8080': cleartext is for a reverse proxy, not for the Internet; expected ws://127.0.0.1:8080, or with TrustedProxies this host's address in the proxy's private network, as in ws://172.18.0.1:8080"},
		{"[Server]\nListen = 0.0.0.0:443, ws://172.18.0.1:8080\n",
			"hub.conf:2: Listen: 'ws://172.18.0.1:8080': other hosts reach it; expected TrustedProxies = the proxy's address or network, as in 172.18.0.0/16, too: then only that may connect"},
		{"[Server]\nListen = 0.0.0.0:443\nListen = 0.0.0.0\n",
			"hub.conf:3: Listen: '0.0.0.0': given already, in line 2; expected once"},
		{"[Server]\nListen = 0.0.0.0:443,,[::]:443\n",
			"hub.conf:2: Listen: '0.0.0.0:443,,[::]:443': an element of the list is empty; expected one comma between two elements"},
		{"[Server]\nTarget = 192.0.2.1:51820\n",
			"hub.conf:2: Target: '192.0.2.1:51820': not a loopback address; expected WireGuard's port on this host, as in 127.0.0.1:51820 (for WireGuard in a container: docker run -p 127.0.0.1:51820:51820/udp …)"},
		{"[Server]\nTarget = 172.20.0.4:4500\n",
			"hub.conf:2: Target: '172.20.0.4:4500': not a loopback address; expected WireGuard's port on this host, as in 127.0.0.1:51820 (for WireGuard in a container: docker run -p 127.0.0.1:51820:4500/udp …)"},
		{"[Server]\nTarget = localhost:51820\n",
			"hub.conf:2: Target: 'localhost:51820': not an address; expected WireGuard's port on this host, as in 127.0.0.1:51820"},
		{"[Server]\nStatus = 9586\n",
			"hub.conf:2: Status: '9586': not an address with its port; expected for example 127.0.0.1:9586"},
		{"[Server]\nStatus = localhost:9586\n",
			"hub.conf:2: Status: 'localhost:9586': not an address with its port; expected for example 127.0.0.1:9586"},
		{"[Server]\nStatus = 0.0.0.0:9586\n",
			"hub.conf:2: Status: '0.0.0.0:9586': everybody could read it there; expected an address of the loopback, as in 127.0.0.1:9586"},
		{"[Server]\nStatus = [::]:80\n" INTERFACE "Address = 10.10.0.1/24, fd10::1/64\n",
			"hub.conf:2: Status: '[::]:80': neither an address of the loopback nor an Address of our device; expected 127.0.0.1:80, or 10.10.0.1:80 for the tunnel alone"},
		{"[Server]\nStatus = 10.10.0.2\n" INTERFACE "Address = 10.10.0.1/24\n",
			"hub.conf:2: Status: '10.10.0.2:9586': neither an address of the loopback nor an Address of our device; expected 127.0.0.1:9586, or 10.10.0.1:9586 for the tunnel alone"},
		{"[Server]\nStatus = 10.10.0.2\n[Peer]\nToken = " TOKEN "\n",
			"hub.conf:2: Status: '10.10.0.2:9586': everybody could read it there; expected an address of the loopback, as in 127.0.0.1:9586"},
		{"[Server]\nStatus = 127.0.0.1:1\nStatus = [::1]:2\n",
			"hub.conf:3: Status: '[::1]:2': given already, in line 2; expected once"},
		{"[Server]\nListen = ws://127.0.0.1:9586\nStatus = 127.0.0.1\n",
			"hub.conf:3: Status: '127.0.0.1:9586': Listen = 127.0.0.1:9586 has this port; expected another one, as in 127.0.0.1:9586"},
		{"[Server]\nTrustedProxies = 10.0.0.1:80\n",
			"hub.conf:2: TrustedProxies: '10.0.0.1:80': neither an address nor a network, without a port; expected for example 127.0.0.1 or 172.18.0.0/16"},
		{"[Server]\nTrustedProxies = 10.0.0.0/33\n",
			"hub.conf:2: TrustedProxies: '10.0.0.0/33': has no length of a network; expected for example 172.18.0.0/16"},
		{"[Server]\nListen = ws://10.0.0.2:80\nTrustedProxies = proxy.example.org\n",
			"hub.conf:3: TrustedProxies: 'proxy.example.org': neither an address nor a network, without a port; expected for example 127.0.0.1 or 172.18.0.0/16"},
		{"[Server]\nTrustedProxies = 127.0.0.1, ::/0\n",
			"hub.conf:2: TrustedProxies: '::/0': trusts every host; expected the proxy's address or network"},
		{"[Server]\n\n[Server]\nCertificate = /c\n",
			"hub.conf:1: CertificateKey: missing; Certificate in line 4 needs its key"},
		{"[Server]\nCertificateKey = /c\n",
			"hub.conf:1: Certificate: missing; CertificateKey in line 2 needs its certificate"},
		{"[Server]\nWireGuard = wg0\n",
			"hub.conf:2: WireGuard: 'wg0': not an absolute path; expected one that begins with /"},
		{"[Server]\nWireGuard = /nowhere/wg0.conf\n",
			"hub.conf:2: WireGuard: '/nowhere/wg0.conf': No such file or directory; expected none, or the path of a wg-quick file"},
		{"[Server]\n[Peer]\nToken = short\n",
			"hub.conf:3: Token: too short, 5 characters; expected 16 or more"},
		{"[Server]\n[Peer]\nToken = 0123456789abcde/\n",
			"hub.conf:3: Token: has a character that is not allowed; expected letters, digits, '_' and '-'"},
		{"[Server]\n[Peer]\nStockPath = v1\n",
			"hub.conf:3: StockPath: v1 is the path of our own clients; expected another word"},
		{"[Server]\n[Peer]\nStockPath = a.b\n",
			"hub.conf:3: StockPath: has a character that is not allowed; expected letters, digits, '_', '-' and '/'"},
		{"[Server]\n[Peer]\nStockPath = /a\n",
			"hub.conf:3: StockPath: has a '/' too many; expected a word, or words with one '/' between them"},
		{"[Server]\n[Peer]\nStockPath = a/\n",
			"hub.conf:3: StockPath: has a '/' too many; expected a word, or words with one '/' between them"},
		{"[Server]\n[Peer]\nStockPath = a//b\n",
			"hub.conf:3: StockPath: has a '/' too many; expected a word, or words with one '/' between them"},
		{"[Server]\n[Peer]\nToken = " TOKEN "\n[Peer]\nName = x\nToken = " TOKEN "\n",
			"hub.conf:6: Token: the same as the Token in line 3; expected one of its own for every peer"},
		{"[Server]\n[Peer]\nToken = " TOKEN "\nStockPath = " TOKEN "\n",
			"hub.conf:4: StockPath: the same as the Token in line 3; expected one of its own for every peer"},
		{"[Server]\n[Peer]\nStockPath = a\n[Peer]\nStockPath = a\n",
			"hub.conf:5: StockPath: the same as the StockPath in line 3; expected one of its own for every peer"},
		{"[Server]\n[Peer]\nName = a\nStockPath = a\n[Peer]\nName = a\nStockPath = b\n",
			"hub.conf:6: Name: the same as the Name in line 3; expected one of its own for every peer"},
		{"[Server]\n[Peer]\nName = peer-5\nStockPath = a\n[Peer]\nStockPath = b\n",
			"hub.conf:5: Name: the same as the Name in line 3; expected one of its own for every peer"},
		{"[Server]\n[Peer]\nName = a\nName = b\nStockPath = a\n",
			"hub.conf:4: Name: 'b': given already, in line 3; expected once"},
		{"[Server]\n[Peer]\nName = a\n",
			"hub.conf:2: Token: missing; a [Peer] without PublicKey needs a Token or a StockPath"},
		{"[Server]\nListen = 0.0.0.0:443, 127.0.0.1:443\n[Peer]\nToken = " TOKEN "\n",
			"hub.conf:2: Listen: '127.0.0.1:443': 0.0.0.0:443 in line 2 and this have one port, and one of them is "
			"for all addresses; expected another port, or no line for all"},
		{"[Server]\nListen = [::1]:443, [::]\n[Peer]\nToken = " TOKEN "\n",
			"hub.conf:2: Listen: '[::]': [::1]:443 in line 2 and this have one port, and one of them is for all "
			"addresses; expected another port, or no line for all"},
		{"[Server]\nListen = 224.0.0.1\n[Peer]\nToken = " TOKEN "\n",
			"hub.conf:2: Listen: '224.0.0.1': no program can listen there; expected an address of this host, as in "
			"203.0.113.7:443 or [fe80::1%eth0]:443, or 0.0.0.0:443 and [::]:443 for all"},
		{"[Server]\n" INTERFACE "[Peer]\nToken = " TOKEN "\n[Gateway]\nLan = 10.0.0.0/8\nInterface = a*b\n",
			"hub.conf:8: Interface: 'a*b': nft has no words for a device with \", * or \\ in its name; ip link set "
			"… name … gives it another"},
		{"[Server]\n[Peer]\nName = \xff\nToken = " TOKEN "\n",
			"hub.conf:3: Name: the value has a control character or is not UTF-8; expected plain text; character 1 is the byte "
			"0xff, which is not UTF-8"},
		{"[Server]\n[Interface]\nPrivateKey = " KEY_A "\nPrivateKeyFile = /x\n",
			"hub.conf:4: PrivateKeyFile: '/x': PrivateKey is given already, in line 3; expected one of the two"},
		{"[Server]\n[Interface]\nPrivateKeyFile = DIR/key\nPrivateKey = " KEY_A "\n",
			"hub.conf:4: PrivateKey: PrivateKeyFile is given already, in line 3; expected one of the two"},
		{"[Server]\n[Interface]\nPrivateKeyFile = DIR/key\n[Interface]\nPrivateKey = " KEY_A "\n",
			"hub.conf:5: PrivateKey: PrivateKeyFile is given already, in line 3; expected one of the two"},
		{"[Server]\n[Interface]\nPrivateKeyFile = /nowhere\n",
			"hub.conf:3: PrivateKeyFile: /nowhere: No such file or directory; expected the path of a readable file with the secret in its first line"},
		{"[Server]\n" INTERFACE "ListenPort = 70000\n",
			"hub.conf:4: ListenPort: '70000': not a port; expected a number from 0 (any) to 65535"},
	};

	(void)state;
	write_file("key", KEY_A "\n", 0600);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct server_config config;
		struct ini_report report = {0};

		assert_int_equal(read_text(cases[i].text, &config, &report), -EINVAL);
		assert_only_line(&report, cases[i].text, cases[i].complaint);
		ini_report_done(&report);
	}
}

/* All mistakes are told at once, and what is right beside them does not hide any. */
static void all_mistakes_are_told_at_once(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[Server]\nListen\nMaxClients = 0\nTarget = x\n[Nonsense]\n[Peer]\nToken = x\n",
				 &config, &report),
		-EINVAL);
	assert_int_equal(report.count, 5);
	ini_report_done(&report);
}

/* No complaint repeats a token or a stock path. */
static void secrets_are_never_quoted(void **state)
{
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(
		read_text("[Server]\nToken = s3cret\n[Peer]\nToken = s3cret\nToken = s3cret\nStockPath = s3cret/\n"
			  "Tokenn = s3cret\nPresharedKey = s3cret\n[Interface]\nPrivateKey = s3cret\n",
			&config, &report),
		-EINVAL);
	assert_true(report.count >= 6);
	for (size_t i = 0; i < report.count; i++)
		assert_null(strstr(report.lines[i], "s3cret"));
	ini_report_done(&report);
}

/* Mistakes in another program's wg-quick file are told with its name and line. */
static void wg_quick_file_is_checked(void **state)
{
	static const char *const lines[] = {
		"DIR/bad.conf:1: PrivateKey: missing; expected PrivateKey = … with what `wg genkey` prints",
		"DIR/bad.conf:2: ListenPort: 'x': not a port; expected a number from 0 (any) to 65535",
		"DIR/bad.conf:3: PublicKey: missing; expected the key that `wg pubkey` prints on the other side",
		"DIR/bad.conf:4: Token: not a key of [Peer]; take the line out",
		"DIR/bad.conf:5: [Server]: not a section of wg-quick's; expected [Interface] or [Peer]",
	};
	struct server_config config;
	struct ini_report report = {0};

	(void)state;
	write_file("bad.conf", "[Interface]\nListenPort = x\n[Peer]\nToken = " TOKEN "\n[Server]\n", 0600);
	assert_int_equal(read_text("[Server]\nWireGuard = DIR/bad.conf\n", &config, &report), -EINVAL);
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		assert_true(has_line(&report, in_folder(lines[i])));
	assert_int_equal(report.count, sizeof(lines) / sizeof(*lines));
	ini_report_done(&report);
}

/* A certificate and its key are opened, and must belong together. */
static void certificate_must_match_its_key(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	struct server_config config;
	struct ini_report report = {0};
	char text[256], start[] = "hub.conf:2: Certificate: ";

	(void)state;
	write_certificate("cert.pem", key);
	write_key("key.pem", key);
	write_key("other.pem", other);
	snprintf(text, sizeof(text), "[Server]\nCertificate = %s/cert.pem\nCertificateKey = %s/key.pem\n", case_folder,
		case_folder);
	assert_int_equal(read_text(text, &config, &report), 0);
	server_config_done(&config);
	snprintf(text, sizeof(text), "[Server]\nCertificate = %s/cert.pem\nCertificateKey = %s/other.pem\n",
		case_folder, case_folder);
	assert_int_equal(read_text(text, &config, &report), -EINVAL);
	assert_int_equal(report.count, 1);
	assert_memory_equal(report.lines[0], start, strlen(start));
	ini_report_done(&report);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

/* Warnings: the file can be used, but should not be left so. */
static void warnings_are_told(void **state)
{
	struct server_config config;
	struct ini_report report = {0};
	struct err err = {""};
	const char *said;

	(void)state;
	write_file("open.conf", "[Server]\n[Peer]\nToken = " TOKEN "\n", 0640);
	begin_warnings();
	assert_int_equal(server_config_read("open.conf", &config, &report, &err), 0);
	said = end_warnings();
	assert_string_equal(said, "config: open.conf holds a secret, and others can read it; chmod 600 open.conf\n");
	server_config_done(&config);

	write_file("open.conf", "[Server]\n[Peer]\nPublicKey = " KEY_A "\n", 0644);
	begin_warnings();
	assert_int_equal(server_config_read("open.conf", &config, &report, &err), 0);
	said = end_warnings();
	assert_string_equal(said,
		"config: open.conf: nobody can come in through the tunnel: no [Peer] has a Token or a StockPath\n");
	server_config_done(&config);

	write_file("open.conf", "[Server]\n[Peer]\nToken = " TOKEN "\nPublicKey = " KEY_A "\nAllowedIPs = 10.10.0.2\n",
		0600);
	begin_warnings();
	assert_int_equal(server_config_read("open.conf", &config, &report, &err), 0);
	said = end_warnings();
	assert_string_equal(
		said, "config: open.conf:5: AllowedIPs: without [Interface] no device is made that could have them\n");
	server_config_done(&config);
}

/* A file that is not there is no report but an error. */
static void missing_file_is_an_error(void **state)
{
	struct server_config config;
	struct ini_report report = {0};
	struct err err = {""};

	(void)state;
	assert_int_equal(server_config_read("nothing.conf", &config, &report, &err), -ENOENT);
	assert_string_equal(err.text, "nothing.conf: No such file or directory");
	assert_int_equal(report.count, 0);
}

/* The name is the part before ".conf", and goes into paths. */
static void name_must_be_one(void **state)
{
	struct server_config config;
	struct ini_report report = {0};
	struct err err = {""};

	(void)state;
	write_file("my hub.conf", "[Server]\n", 0600);
	begin_warnings();
	assert_int_equal(server_config_read("my hub.conf", &config, &report, &err), -EINVAL);
	end_warnings();
	assert_only_line(&report, "my hub.conf",
		"my hub.conf:1: the file's name is no name for a tunnel; expected up to 63 of letters, digits and _=+.-@ before .conf");
	ini_report_done(&report);
}

static int setup(void **state)
{
	int rc = case_setup(state);

	write_file("wg0.conf", INTERFACE "ListenPort = 51872\n[Peer]\nPublicKey = " KEY_B "\n", 0600);
	write_file("sixteen_letters_.conf", INTERFACE, 0600);
	write_file("ends.conf", INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 192.0.2.1:51820\n", 0600);
	return rc;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claims_arrive),
		cmocka_unit_test(a_claim_may_lead_to_the_service),
		cmocka_unit_test(empty_section_means_the_defaults),
		cmocka_unit_test(every_key_arrives),
		cmocka_unit_test(interface_makes_a_device),
		cmocka_unit_test(status_page_is_on_the_loopback_or_the_device),
		cmocka_unit_test(wireguard_names_a_device),
		cmocka_unit_test(hook_fits_one_argument),
		cmocka_unit_test(no_device_is_touched_without),
		cmocka_unit_test(publications_arrive),
		cmocka_unit_test(each_wrong_publication_has_its_line),
		cmocka_unit_test(published_names_arrive),
		cmocka_unit_test(own_names_are_not_published),
		cmocka_unit_test(neighbours_of_a_publication_are_free),
		cmocka_unit_test(gateways_arrive),
		cmocka_unit_test(each_mistake_about_the_device_has_its_line),
		cmocka_unit_test(device_must_have_a_name),
		cmocka_unit_test(hook_may_set_the_key),
		cmocka_unit_test(private_key_comes_from_a_file),
		cmocka_unit_test(each_mistake_has_its_line),
		cmocka_unit_test(all_mistakes_are_told_at_once),
		cmocka_unit_test(secrets_are_never_quoted),
		cmocka_unit_test(wg_quick_file_is_checked),
		cmocka_unit_test(certificate_must_match_its_key),
		cmocka_unit_test(warnings_are_told),
		cmocka_unit_test(missing_file_is_an_error),
		cmocka_unit_test(name_must_be_one),
	};

	unsetenv("JOURNAL_STREAM");
	return cmocka_run_group_tests(tests, setup, case_teardown);
}
