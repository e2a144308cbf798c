/* client/config: the values of a client's file, options and environment, and the complaints about wrong ones. */
#include "client/config.h"
#include "client/proxy.h"
#include "tests/unit/config_cases.h"

#include <errno.h>

#define PIN "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define OWN_KEY "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=" /* `wg pubkey` of KEY_A */
#define HEAD "[Client]\nServer = wss://a\nToken = " TOKEN "\n"

/* Read @text as home.conf. The caller does *config in any case. */
static int read_text(const char *text, struct client_config *config, struct ini_report *report)
{
	struct err err = {""};
	int rc;

	memset(config, 0, sizeof(*config));
	write_file("home.conf", in_folder(text), 0600);
	begin_warnings();
	rc = client_config_read("home.conf", config, report, &err);
	end_warnings();
	return rc;
}

static void forget_environment(void)
{
	static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "TOWPATH_TOKEN",
		"TOWPATH_BASIC_AUTH", "TOWPATH_JWT_KEY", "JOURNAL_STREAM"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unsetenv(names[i]);
}

/* A server and a token are enough. */
static void two_keys_are_enough(void **state)
{
	struct client_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(
		read_text("[Client]\nServer = wss://vps.example.org\nToken = " TOKEN "\n", &config, &report), 0);
	assert_string_equal(config.name, "home");
	assert_int_equal(config.settings.server_count, 1);
	assert_string_equal(config.settings.servers[0].url, "wss://vps.example.org");
	assert_string_equal(config.settings.servers[0].host, "vps.example.org");
	assert_int_equal(config.settings.servers[0].port, 443);
	assert_false(config.settings.servers[0].cleartext);
	assert_string_equal(config.settings.token, TOKEN);
	assert_int_equal(config.settings.pin_count, 0);
	assert_null(config.ca_path);
	assert_null(config.settings.server_name);
	assert_false(config.settings.interception);
	assert_string_equal(config.listen_text, "127.0.0.1:51820");
	assert_int_equal(config.fwmark_kind, CLIENT_FWMARK_AUTO);
	assert_null(config.settings.proxy_host);
	assert_string_equal(config.congestion_control, "bbr");
	assert_int_equal(config.settings.ping_interval_ms, 15000);
	assert_int_equal(config.settings.mask, CARRIER_MASK_ZERO);
	assert_null(config.settings.stock_path);
	assert_string_equal(config.settings.stock_target_host, "127.0.0.1");
	assert_int_equal(config.settings.stock_target_port, 51820);
	client_config_done(&config);
}

/* Every key of [Client] arrives; lists grow by commas and by repetition. */
static void every_key_arrives(void **state)
{
	struct client_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[Client]\n"
				   "Server = wss://vps.example.org/, wss://203.0.113.10:8443\n"
				   "Server = ws://[::1]:8080\n"
				   "Token = " TOKEN "\n"
				   "Pin = " PIN "," PIN "\n"
				   "ServerName = front.example.net\n"
				   "Interception = yes\n"
				   "Listen = [::1]:51999\n"
				   "FwMark = 0xCA6C\n"
				   "Proxy = http://us%40er:pa%3Ass@proxy:3128/\n"
				   "CongestionControl = cubic\n"
				   "PingInterval = 5s\n"
				   "Mask = random\n"
				   "WireGuard = none\n"
				   "Path = old/v1\n"
				   "Target = [fd10::1]:51871\n"
				   "BasicAuth = user:pass\n"
				   "Header = X-One: 1, 2\n"
				   "Header = Host: other\n"
				   "JwtKey = champignonfrais\n",
				 &config, &report),
		0);
	assert_int_equal(config.settings.server_count, 3);
	assert_string_equal(config.settings.servers[0].host, "vps.example.org");
	assert_int_equal(config.settings.servers[1].port, 8443);
	assert_string_equal(config.settings.servers[2].host, "::1");
	assert_true(config.settings.servers[2].cleartext);
	assert_int_equal(config.settings.pin_count, 2);
	assert_int_equal(config.settings.pins[1][31], 31);
	assert_string_equal(config.settings.server_name, "front.example.net");
	assert_true(config.settings.interception);
	assert_string_equal(config.listen_text, "[::1]:51999");
	assert_int_equal(config.fwmark_kind, CLIENT_FWMARK_NUMBER);
	assert_int_equal(config.fwmark, 0xca6c);
	assert_string_equal(config.settings.proxy_host, "proxy");
	assert_int_equal(config.settings.proxy_port, 3128);
	assert_string_equal(config.settings.proxy_user, "us@er");
	assert_string_equal(config.settings.proxy_password, "pa:ss");
	assert_string_equal(config.congestion_control, "cubic");
	assert_int_equal(config.settings.ping_interval_ms, 5000);
	assert_int_equal(config.settings.mask, CARRIER_MASK_RANDOM);
	assert_null(config.wireguard_path);
	assert_string_equal(config.settings.stock_path, "old/v1");
	assert_string_equal(config.settings.stock_target_host, "fd10::1");
	assert_int_equal(config.settings.stock_target_port, 51871);
	assert_string_equal(config.settings.basic_auth, "user:pass");
	assert_int_equal(config.settings.header_count, 2);
	assert_string_equal(config.settings.headers[0], "X-One: 1, 2");
	assert_string_equal(config.settings.jwt_key, "champignonfrais");
	client_config_done(&config);
}

/* The token may lie in a file of its own. */
static void token_comes_from_a_file(void **state)
{
	struct client_config config;
	struct ini_report report = {0};
	char text[256];

	(void)state;
	write_file("token", TOKEN "\n", 0600);
	snprintf(text, sizeof(text), "[Client]\nServer = wss://a\nTokenFile = %s/token\n", case_folder);
	assert_int_equal(read_text(text, &config, &report), 0);
	assert_string_equal(config.settings.token, TOKEN);
	client_config_done(&config);

	write_file("token", "tooshort\n", 0600);
	assert_int_equal(read_text(text, &config, &report), -EINVAL);
	assert_int_equal(report.count, 1);
	assert_non_null(strstr(report.lines[0], "home.conf:3: TokenFile: "));
	assert_null(strstr(report.lines[0], "tooshort"));
	ini_report_done(&report);
	client_config_done(&config);
}

/* A stock server asks for a path, and needs no token. */
static void stock_server_needs_no_token(void **state)
{
	struct client_config config;
	struct ini_report report = {0};

	(void)state;
	assert_int_equal(read_text("[Client]\nServer = wss://a\nPath = v1\n", &config, &report), 0);
	assert_null(config.settings.token);
	client_config_done(&config);
}

/* One wrong line, one complaint, to the word. */
static void each_mistake_has_its_line(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{"[Interface]\nPrivateKey = " KEY_A "\n",
			"home.conf:1: [Client]: missing section; a line [Client] begins it"},
		{"\n[Client]\nToken = " TOKEN "\n", "home.conf:2: Server: missing; expected wss://HOST[:PORT]"},
		{"\n[Client]\nServer = wss://a\n",
			"home.conf:2: Token: missing; expected the one in this client's [Peer] on the hub, here or in TokenFile"},
		{HEAD "[Server]\n",
			"home.conf:4: [Server]: is for towpath-server; a file is for one of the two programs"},
		{HEAD "[Publish]\n",
			"home.conf:4: [Publish]: is for towpath-server; a file is for one of the two programs"},
		{HEAD "[Claim]\nInterface = wg0\n",
			"home.conf:4: [Claim]: is for towpath-server; a file is for one of the two programs"},
		{HEAD "TokenFile = /x\n",
			"home.conf:4: TokenFile: '/x': Token is given already, in line 3; expected one of the two"},
		{HEAD "Sever = wss://b\n", "home.conf:4: Sever: not a key of [Client]; did you mean Server?"},
		{HEAD "MaxClients = 5\n", "home.conf:4: MaxClients: not a key of [Client]; take the line out"},
		{HEAD "PrivateKey = x\n", "home.conf:4: PrivateKey: not a key of [Client]; it belongs in [Interface]"},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_A "\nName = x\n",
			"home.conf:8: Name: 'x': belongs in the hub's file only; take the line out"},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_A "\nToken = " TOKEN "\n",
			"home.conf:8: Token: belongs in the hub's file only; take the line out"},
		{HEAD INTERFACE "[Peer]\n",
			"home.conf:6: PublicKey: missing; expected the key that `wg pubkey` prints on the other side"},
		{HEAD "Server = https://b\n",
			"home.conf:4: Server: 'https://b': not a URL of a tunnel; expected wss://HOST[:PORT]"},
		{HEAD "Server = b\n", "home.conf:4: Server: 'b': not a URL of a tunnel; expected wss://HOST[:PORT]"},
		{HEAD "Server = wss://b/x\n",
			"home.conf:4: Server: 'wss://b/x': has a path; expected wss://HOST[:PORT], "
			"with Path = … for a stock server's prefix"},
		{HEAD "Server = wss://b:0\n",
			"home.conf:4: Server: 'wss://b:0': not a host, or its port is not 1 to 65535; expected wss://HOST[:PORT], "
			"an IPv6 address in brackets"},
		{HEAD "Server = wss://\n",
			"home.conf:4: Server: 'wss://': not a host, or its port is not 1 to 65535; expected wss://HOST[:PORT], "
			"an IPv6 address in brackets"},
		{HEAD "Server = wss://me:s3cret@b\n",
			"home.conf:4: Server: has a user or password; expected wss://HOST[:PORT], with BasicAuth = …"},
		{"[Client]\nServer = wss://a\nToken = a b c d e f g h i j k\n",
			"home.conf:3: Token: has a character that is not allowed; expected letters, digits, '_' and '-'"},
		{"[Client]\nServer = wss://a\nTokenFile = token\n",
			"home.conf:3: TokenFile: 'token': not an absolute path; expected one that begins with /"},
		{"[Client]\nServer = wss://a\nTokenFile = /nowhere\n",
			"home.conf:3: TokenFile: /nowhere: No such file or directory; expected the path of a readable file with the secret in its first line"},
		{HEAD "Pin = sha256//abc\n",
			"home.conf:4: Pin: 'sha256//abc': not a public key's pin; expected sha256// and 44 characters of base64, "
			"as towpath-server prints at its start"},
		{HEAD "CA = /nowhere\n",
			"home.conf:4: CA: /nowhere: No such file or directory; expected the path of a readable PEM file"},
		{HEAD "ServerName = a b\n",
			"home.conf:4: ServerName: 'a b': not a host name or address; expected for example front.example.net"},
		{HEAD "Interception = maybe\n",
			"home.conf:4: Interception: 'maybe': neither yes nor no; expected one of the two"},
		{HEAD "Listen = here\n",
			"home.conf:4: Listen: 'here': not an address with its port; expected for example 127.0.0.1:51820"},
		{HEAD "FwMark = 0x1ffffffff\n",
			"home.conf:4: FwMark: '0x1ffffffff': neither auto, off nor a mark up to 0xffffffff; expected for example auto or 0xca6c"},
		{HEAD "FwMark = on\n",
			"home.conf:4: FwMark: 'on': neither auto, off nor a mark up to 0xffffffff; expected for example auto or 0xca6c"},
		{HEAD "Proxy = socks5://p:1080\n",
			"home.conf:4: Proxy: 'socks5://p:1080': only http:// proxies are known; expected http://[user:password@]HOST:PORT, or none"},
		{HEAD "Proxy = http://p\n",
			"home.conf:4: Proxy: 'http://p': the port is missing; expected http://[user:password@]HOST:PORT"},
		{HEAD "Proxy = http://me:s3cret@p\n",
			"home.conf:4: Proxy: the port is missing; expected http://[user:password@]HOST:PORT"},
		{HEAD "Proxy = none\nProxy = http://me:s3cret@p:1\n",
			"home.conf:5: Proxy: given already, in line 4; expected once"},
		{HEAD "Server = wss://me:s3cret@b,,\n",
			"home.conf:4: Server: has a user or password; expected wss://HOST[:PORT], with BasicAuth = …"},
		{HEAD "Server = ,wss://me:s3cret@b\n",
			"home.conf:4: Server: an element of the list is empty; expected one comma between two elements"},
		{HEAD "Proxy = me:s3cret@p\n",
			"home.conf:4: Proxy: the port is missing; expected http://[user:password@]HOST:PORT"},
		{HEAD "Proxy = http://me:s3cret%ff@p:1\n",
			"home.conf:4: Proxy: the user or password cannot be read; expected user:password with other characters as %40"},
		{HEAD "Proxy = http://me:s3cret%0d@p:1\n",
			"home.conf:4: Proxy: the user or password cannot be read; expected user:password with other characters as %40"},
		{HEAD "Status = 192.168.1.2:9586\n",
			"home.conf:4: Status: '192.168.1.2:9586': everybody could read it there; expected an address of the loopback, as in 127.0.0.1:9586"},
		{HEAD "CongestionControl = a b\n",
			"home.conf:4: CongestionControl: 'a b': not a congestion control of the kernel's; expected bbr, cubic or another of net.ipv4.tcp_available_congestion_control"},
		{HEAD "PingInterval = 0\n", "home.conf:4: PingInterval: '0': out of range; expected 1s to 3600s"},
		{HEAD "Mask = some\n",
			"home.conf:4: Mask: 'some': not one of the choices; expected one of none, zero, random"},
		{HEAD "Path = /v1\n",
			"home.conf:4: Path: '/v1': not a path prefix; expected a word without slashes around it, such as v1"},
		{HEAD "Path = a b\n",
			"home.conf:4: Path: 'a b': not a path prefix; expected a word without slashes around it, such as v1"},
		{HEAD "Target = :51820\n",
			"home.conf:4: Target: ':51820': not a host with its port; expected for example 127.0.0.1:51820"},
		{HEAD "BasicAuth = s3cret\n",
			"home.conf:4: BasicAuth: not a user with a password; expected user:password"},
		{HEAD "Header = nothing\n", "home.conf:4: Header: not a header; expected Name: value"},
		{HEAD "Header = a b: c\n", "home.conf:4: Header: not a header; expected Name: value"},
		{HEAD "Header = upgrade: h2c\n",
			"home.conf:4: Header: the tunnel sets upgrade itself; expected another header"},
		{HEAD "ClientKey = /nowhere\n",
			"home.conf:4: ClientKey: /nowhere: No such file or directory; expected the path of a readable PEM file"},
		{HEAD "WireGuard = /nowhere\n",
			"home.conf:4: WireGuard: '/nowhere': No such file or directory; expected none, or the path of a wg-quick file"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct client_config config;
		struct ini_report report = {0};

		assert_int_equal(read_text(cases[i].text, &config, &report), -EINVAL);
		if (strstr(cases[i].text, "ClientKey"))
			assert_true(has_line(&report, cases[i].complaint)); /* and that the certificate is missing */
		else
			assert_only_line(&report, cases[i].text, cases[i].complaint);
		for (size_t j = 0; j < report.count; j++)
			assert_null(strstr(report.lines[j], "s3cret"));
		ini_report_done(&report);
		client_config_done(&config);
	}
}

/* With a device of ours any port of the host's will do, unless a peer was told one. */
static void listen_follows_the_device(void **state)
{
	static const struct {
		const char *text, *listen;
	} cases[] = {
		{HEAD INTERFACE, "127.0.0.1:0"},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_B "\n", "127.0.0.1:0"},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 192.0.2.1:51820\n", "127.0.0.1:0"},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 127.0.0.1:51833\n", "127.0.0.1:51833"},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = [::1]:51833\n", "[::1]:51833"},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = localhost:51833\n", "127.0.0.1:51833"},
		{HEAD "Listen = 127.0.0.1:7\n" INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 127.0.0.1:51833\n",
			"127.0.0.1:7"},
		{HEAD "Listen = 127.0.0.1:0\n" INTERFACE, "127.0.0.1:0"},
		{HEAD "Listen = [::1]:0\n" INTERFACE, "[::1]:0"},
		{HEAD "WireGuard = DIR/wg0.conf\n", "127.0.0.1:51834"},
	};

	(void)state;
	write_file("wg0.conf", INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 127.0.0.1:51834\n", 0600);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct client_config config;
		struct ini_report report = {0};

		assert_int_equal(read_text(cases[i].text, &config, &report), 0);
		assert_true(config.has_device);
		assert_string_equal(config.listen_text, cases[i].listen);
		client_config_done(&config);
	}
}

/* WireGuard = PATH is the device, also from a URL; [Interface] is called as the tunnel. */
static void device_has_a_name(void **state)
{
	struct client_config config;
	struct ini_report report = {0};
	char path[128];

	(void)state;
	write_file("wg0.conf", INTERFACE "[Peer]\nPublicKey = " KEY_B "\n", 0600);
	assert_int_equal(read_text(HEAD INTERFACE "[Gateway]\nLan = 192.168.1.130/24\n", &config, &report), 0);
	assert_string_equal(config.device, "home");
	assert_int_equal(config.gateway_count, 1);
	assert_int_equal(config.gateways[0].lan_line, 7);
	client_config_done(&config);

	assert_int_equal(read_text(HEAD "WireGuard = DIR/wg0.conf\n", &config, &report), 0);
	assert_string_equal(config.device, "wg0");
	assert_int_equal(config.wireguard.peer_count, 1);
	client_config_done(&config);

	snprintf(path, sizeof(path), "%s/wg0.conf", case_folder);
	setenv("TOWPATH_TOKEN", TOKEN, 1);
	assert_int_equal(client_config_option(&config, "server", "wss://vps.example.org", &report), 0);
	assert_int_equal(client_config_option(&config, "wireguard", path, &report), 0);
	assert_int_equal(client_config_finish(&config, &report), 0);
	assert_string_equal(config.device, "wg0");
	client_config_done(&config);
	forget_environment();
}

/* One wrong line about the device, one complaint, to the word. */
static void each_mistake_about_the_device_has_its_line(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{HEAD "WireGuard = DIR/wg0.conf\n" INTERFACE, "home.conf:5: [Interface]: WireGuard in line 4 says "
							      "where the device comes from; expected one of the two"},
		{HEAD "WireGuard = DIR/wg0.conf\n[Peer]\nPublicKey = " KEY_B "\n",
			"home.conf:5: [Peer]: the device is described in DIR/wg0.conf; its peers belong there"},
		{HEAD "WireGuard = DIR/keyless.conf\n",
			"DIR/keyless.conf:1: PrivateKey: missing; expected PrivateKey = … with what `wg genkey` prints"},
		{HEAD "Listen = 127.0.0.1:0\n",
			"home.conf:4: Listen: '127.0.0.1:0': only a device of ours is told of a free port; expected 127.0.0.1:51820"},
		{HEAD "FwMark = 0x5\n" INTERFACE,
			"home.conf:4: FwMark: '0x5': the tunnel carries the mark of our own device; expected FwMark in [Interface]"},
		{HEAD "FwMark = off\n" INTERFACE "FwMark = 5\n",
			"home.conf:4: FwMark: 'off': the tunnel carries the "
			"mark of our own device; expected FwMark in [Interface]"},
		{HEAD "[Gateway]\nLan = 192.168.1.0/24\n",
			"home.conf:4: [Gateway]: needs a device of ours; expected [Interface] in this file, or WireGuard = PATH"},
	};

	(void)state;
	write_file("keyless.conf", "[Interface]\n", 0600);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct client_config config;
		struct ini_report report = {0};

		assert_int_equal(read_text(cases[i].text, &config, &report), -EINVAL);
		assert_only_line(&report, cases[i].text, in_folder(cases[i].complaint));
		ini_report_done(&report);
		client_config_done(&config);
	}
}

/* An option is its key, with "--option" where the file has its line. */
static void options_are_the_keys(void **state)
{
	static const struct {
		const char *option, *value, *complaint;
	} cases[] = {
		{"server-name", "front.example.net", ""},
		{"fw-mark", "off", ""},
		{"status", "[::1]:9586", ""},
		{"fwmark", "off", ""},
		{"ca", "relative.pem", ""},
		{"mask", "some", "--mask: 'some': not one of the choices; expected one of none, zero, random"},
		{"header", "A: b\r\nC: d",
			"--header: the value has a control character or is not UTF-8; expected plain text"},
		{"token", "s3cret",
			"--token: everybody can see a secret among the arguments; expected --token-file, or with a URL TOWPATH_TOKEN in the environment"},
		{"basic-auth", "a:s3cret",
			"--basic-auth: everybody can see a secret among the arguments; expected BasicAuth in the file, or with a URL TOWPATH_BASIC_AUTH in the environment"},
		{"jwt-key", "s3cret",
			"--jwt-key: everybody can see a secret among the arguments; expected JwtKey in the file, or with a URL TOWPATH_JWT_KEY in the environment"},
		{"proxy", "http://me:s3cret@p:1",
			"--proxy: everybody can see a password among the arguments; expected https_proxy in the environment"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct client_config config = {0};
		struct ini_report report = {0};
		int rc = client_config_option(&config, cases[i].option, cases[i].value, &report);

		assert_int_equal(rc, *cases[i].complaint ? -EINVAL : 0);
		assert_only_line(&report, cases[i].option, cases[i].complaint);
		ini_report_done(&report);
		client_config_done(&config);
	}
}

/* Every key of [Client] can be given, in lower case with dashes. */
static void every_key_is_an_option(void **state)
{
	static const char *const some[] = {
		"server", "token-file", "ca", "client-certificate", "ping-interval", "jwt-key"};
	const char *const *names = client_config_options();
	size_t count = 0, found = 0;

	(void)state;
	for (; names[count]; count++)
		for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++)
			found += strcmp(names[count], some[i]) == 0;
	assert_int_equal(count, 22);
	assert_int_equal(found, sizeof(some) / sizeof(*some));
}

/* A URL and a secret of the environment are enough; the name is the host. */
static void url_needs_no_file(void **state)
{
	struct client_config config = {0};
	struct ini_report report = {0};

	(void)state;
	forget_environment();
	setenv("TOWPATH_TOKEN", TOKEN, 1);
	assert_int_equal(client_config_option(&config, "server", "wss://vps.example.org:8443", &report), 0);
	assert_int_equal(client_config_finish(&config, &report), 0);
	assert_string_equal(config.name, "vps.example.org");
	assert_string_equal(config.settings.token, TOKEN);
	assert_string_equal(config.listen_text, "127.0.0.1:51820");
	client_config_done(&config);

	setenv("TOWPATH_TOKEN", "s3cret", 1);
	assert_int_equal(client_config_option(&config, "server", "wss://a", &report), 0);
	assert_int_equal(client_config_finish(&config, &report), -EINVAL);
	assert_only_line(&report, "TOWPATH_TOKEN", "TOWPATH_TOKEN: too short, 6 characters; expected 16 or more");
	ini_report_done(&report);
	client_config_done(&config);

	forget_environment();
	assert_int_equal(client_config_option(&config, "server", "wss://a", &report), 0);
	assert_int_equal(client_config_finish(&config, &report), -EINVAL);
	assert_only_line(&report, "nothing",
		"--token-file: missing; expected a file with the token, or TOWPATH_TOKEN in the environment");
	ini_report_done(&report);
	client_config_done(&config);
}

/* A file says the same whoever starts it. */
static void environment_is_no_token_for_a_file(void **state)
{
	struct client_config config;
	struct ini_report report = {0};

	(void)state;
	setenv("TOWPATH_TOKEN", TOKEN, 1);
	assert_int_equal(read_text("[Client]\nServer = wss://a\n", &config, &report), -EINVAL);
	assert_int_equal(report.count, 1);
	forget_environment();
	ini_report_done(&report);
	client_config_done(&config);
}

/* Options win over the file, also over a key's twin. */
static void options_win_over_the_file(void **state)
{
	struct client_config config = {0};
	struct ini_report report = {0};
	struct err err = {""};
	char path[128];

	(void)state;
	write_file("token2", "fedcba9876543210\n", 0600);
	write_file("home.conf", HEAD "Listen = 127.0.0.1:1\nMask = random\n", 0600);
	snprintf(path, sizeof(path), "%s/token2", case_folder);
	assert_int_equal(client_config_option(&config, "listen", "127.0.0.1:2", &report), 0);
	assert_int_equal(client_config_option(&config, "token-file", path, &report), 0);
	assert_int_equal(client_config_read("home.conf", &config, &report, &err), 0);
	assert_string_equal(config.listen_text, "127.0.0.1:2");
	assert_string_equal(config.settings.token, "fedcba9876543210");
	assert_int_equal(config.settings.mask, CARRIER_MASK_RANDOM);
	client_config_done(&config);
}

/* Without Proxy the environment's is used, and `none` means none. */
static void proxy_of_the_environment(void **state)
{
	struct client_config config;
	struct ini_report report = {0};

	(void)state;
	setenv("https_proxy", "http://me:s3cret@proxy:3128", 1);
	assert_int_equal(read_text(HEAD, &config, &report), 0);
	assert_string_equal(config.settings.proxy_host, "proxy");
	assert_string_equal(config.settings.proxy_password, "s3cret");
	client_config_done(&config);

	assert_int_equal(read_text(HEAD "Proxy = none\n", &config, &report), 0);
	assert_null(config.settings.proxy_host);
	client_config_done(&config);

	setenv("no_proxy", "b,a", 1);
	assert_int_equal(read_text(HEAD, &config, &report), 0);
	assert_null(config.settings.proxy_host);
	client_config_done(&config);

	setenv("https_proxy", "https://me:s3cret@proxy", 1);
	setenv("no_proxy", "", 1);
	assert_int_equal(read_text(HEAD, &config, &report), -EINVAL);
	assert_only_line(&report, "https_proxy",
		"https_proxy: only http:// proxies are known; expected http://[user:password@]HOST:PORT, or none; Proxy = none ignores it");
	ini_report_done(&report);
	client_config_done(&config);
	forget_environment();
}

/* no_proxy is read as curl reads it. */
static void no_proxy_names_hosts_and_domains(void **state)
{
	static const struct {
		const char *no_proxy, *host;
		bool exempt;
	} cases[] = {
		{NULL, "example.net", false},
		{"", "example.net", false},
		{"*", "example.net", true},
		{"example.net", "example.net", true},
		{"EXAMPLE.net.", "example.NET", true},
		{"example.net", "vps.example.net", true},
		{".example.net", "vps.example.net", true},
		{".example.net", "example.net", true},
		{"example.net", "badexample.net", false},
		{"ample.net", "example.net", false},
		{"a, example.net b", "example.net", true},
		{"a b", "c", false},
		{"203.0.113.10", "203.0.113.10", true},
		{"113.10", "203.0.113.10", false},
		{"[2001:db8::1]", "2001:db8::1", true},
		{"2001:db8::1", "2001:db8::1", true},
		{",,", "x", false},
		{NULL, "127.0.0.1", true},
		{NULL, "::1", true},
		{NULL, "localhost", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (proxy_is_exempt(cases[i].no_proxy, cases[i].host) != cases[i].exempt)
			fail_msg("no_proxy '%s' and %s", cases[i].no_proxy, cases[i].host);
}

/* Warnings: the file can be used, but should not be left so. */
static void warnings_are_told(void **state)
{
	static const struct {
		const char *text, *warning;
		mode_t mode;
	} cases[] = {
		{"[Client]\nServer = wss://a\nPath = v1\n", "", 0644},
		{"[Client]\nServer = wss://a\nPath = v1\nProxy = http://u:p@p:1\n#\n",
			"config: open.conf holds a secret, and others can read it; chmod 600 open.conf\n", 0644},
		{HEAD "Listen = 0.0.0.0:51820\n",
			"config: Listen = 0.0.0.0:51820: other hosts can send into the tunnel; expected 127.0.0.1:51820 for this host alone\n",
			0600},
		{"[Client]\nServer = ws://a\nToken = " TOKEN "\n",
			"config: ws://a is not encrypted: another host on the way can read the token and come in as you; expected wss://\n",
			0600},
		{"[Client]\nServer = ws://127.0.0.1:80\nToken = " TOKEN "\n", "", 0600},
		{HEAD, "config: open.conf holds a secret, and others can read it; chmod 600 open.conf\n", 0604},
		{HEAD "Listen = 127.0.0.1:7\n" INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 127.0.0.1:8\n",
			"config: open.conf:9: Endpoint: '127.0.0.1:8': WireGuard goes there by itself, and nothing "
			"through the tunnel; take the line out of the hub's [Peer]\n",
			0600},
		{HEAD INTERFACE "[Peer]\nPublicKey = " OWN_KEY "\n",
			"config: open.conf:7: PublicKey: belongs to our own PrivateKey, WireGuard leaves this [Peer] out; expected the other side's\n",
			0600},
		{HEAD INTERFACE,
			"config: open.conf:4: [Interface]: no [Peer] is there to be reached through the tunnel\n",
			0600},
		{HEAD "[Peer]\nPublicKey = " KEY_A "\n",
			"config: open.conf:4: [Peer] without [Interface] is of no use\n", 0600},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 192.0.2.1:51820\n",
			"config: open.conf:8: Endpoint: '192.0.2.1:51820': WireGuard goes there by itself, and nothing "
			"through the tunnel; take the line out of the hub's [Peer]\n",
			0600},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 192.0.2.1:51820\n[Peer]\nPublicKey = " KEY_A
				"\n",
			"", 0600},
		{HEAD INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = localhost:51820\n", "", 0600},
		{HEAD "Listen = 127.0.0.1:51821\n" INTERFACE "[Peer]\nPublicKey = " KEY_B "\nEndpoint = 127.0.0.1:51820\n",
			"config: open.conf:9: Endpoint: '127.0.0.1:51820': WireGuard goes there by itself, and nothing "
			"through the tunnel; take the line out of the hub's [Peer]\n",
			0600},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct client_config config = {0};
		struct ini_report report = {0};
		struct err err = {""};

		write_file("open.conf", cases[i].text, cases[i].mode);
		begin_warnings();
		assert_int_equal(client_config_read("open.conf", &config, &report, &err), 0);
		assert_string_equal(end_warnings(), cases[i].warning);
		client_config_done(&config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_keys_are_enough),
		cmocka_unit_test(every_key_arrives),
		cmocka_unit_test(token_comes_from_a_file),
		cmocka_unit_test(stock_server_needs_no_token),
		cmocka_unit_test(each_mistake_has_its_line),
		cmocka_unit_test(listen_follows_the_device),
		cmocka_unit_test(device_has_a_name),
		cmocka_unit_test(each_mistake_about_the_device_has_its_line),
		cmocka_unit_test(options_are_the_keys),
		cmocka_unit_test(every_key_is_an_option),
		cmocka_unit_test(url_needs_no_file),
		cmocka_unit_test(environment_is_no_token_for_a_file),
		cmocka_unit_test(options_win_over_the_file),
		cmocka_unit_test(proxy_of_the_environment),
		cmocka_unit_test(no_proxy_names_hosts_and_domains),
		cmocka_unit_test(warnings_are_told),
	};

	forget_environment();
	return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
