/* command_line/status_text: the text of `status` without --json. */
#include "common/command_line/status_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW_S 1795229100 /* 2026-11-21T02:45:00Z */

static void assert_text(const char *json, const char *expected)
{
	json_t *object = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(object);
	status_text_write(out, object, NOW_S);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
	json_decref(object);
}

/* A tunnel that does not run has nothing but its name and state. */
static void stopped_tunnel_is_two_lines(void **state)
{
	(void)state;
	assert_text(
		"{\"name\":\"home\",\"role\":\"client\",\"state\":\"stopped\"}", "client: home\n  state: stopped\n");
}

/* A hub's claims: one that is true, and one that waits. */
static void claims_are_listed(void **state)
{
	(void)state;
	assert_text("{\"name\":\"hub\",\"role\":\"server\",\"state\":\"up\",\"claims\":[{\"interface\":\"wg0\","
		    "\"container\":\"wg-easy\",\"public_key\":\"K\",\"allowed_ips\":[\"192.168.1.0/24\",\"fd77::/64\"],"
		    "\"state\":\"true\",\"since\":\"2026-11-21T02:44:00Z\",\"put_right\":3,"
		    "\"last_at\":\"2026-11-21T02:44:00Z\"},{\"interface\":\"wg1\",\"public_key\":\"L\","
		    "\"allowed_ips\":[\"10.0.0.0/8\"],\"state\":\"waiting\",\"since\":null,\"put_right\":0,"
		    "\"last_at\":null,\"reason\":\"there is no device wg1\"}]}",
		"server: hub\n  state: up\n"
		"\n  claim: wg0 in container wg-easy\n    peer: K\n    allowed ips: 192.168.1.0/24, fd77::/64\n"
		"    state: true\n    since: 2026-11-21T02:44:00Z (1 minute ago)\n"
		"    put right: 3 times, the last one 1 minute ago\n"
		"\n  claim: wg1\n    peer: L\n    allowed ips: 10.0.0.0/8\n    state: waiting: there is no device wg1\n");
}

/* A hub in a container that may not make namespaces. */
static void weaker_sandbox_is_shown(void **state)
{
	(void)state;
	assert_text("{\"name\":\"hub\",\"role\":\"server\",\"state\":\"up\",\"sandbox_lacks\":\"network namespace\"}",
		"server: hub\n  state: up\n  sandbox: seccomp and no capability, without network namespace; see the log\n");
}

/* A client's link, in units a person reads; a reason that did not occur is left out. */
static void client_that_is_up(void **state)
{
	(void)state;
	assert_text(
		"{\"name\":\"home\",\"role\":\"client\",\"state\":\"up\",\"since\":\"2026-11-21T00:40:00Z\",\"pid\":"
		"1234,"
		"\"server\":{\"url\":\"wss://vps.example.org\",\"address\":\"203.0.113.10:443\",\"tls\":\"TLSv1.3\","
		"\"verified\":\"pin\"},\"link\":{\"rtt_ms\":41.23,\"connects\":3,\"last_error\":\"TLS: \\u001b[2J\","
		"\"last_error_at\":\"2026-11-21T00:39:00Z\"},\"datagrams\":{\"sent\":1,\"received\":2},"
		"\"bytes\":{\"sent\":1023,\"received\":1572864},\"queue\":{\"delay_ms\":0.4,\"depth\":5},"
		"\"dropped\":{\"queue-late\":0,\"queue-full\":7,\"too-large\":1}}",
		"client: home\n"
		"  state: up\n"
		"  since: 2026-11-21T00:40:00Z (2 hours, 5 minutes ago)\n"
		"  process: 1234\n"
		"  server: wss://vps.example.org (203.0.113.10:443), TLSv1.3, verified by pin\n"
		"  round trip: 41.2 ms\n"
		"  connects: 3\n"
		"  last error: TLS: \\x1b[2J (2026-11-21T00:39:00Z)\n"
		"  transfer: 1.50 MiB received, 1023 B sent\n"
		"  datagrams: 2 received, 1 sent\n"
		"  queue: 0.4 ms, 5 datagrams\n"
		"  dropped: 7 queue-full, 1 too-large\n");
}

/* Without pin and CA the system's CAs have verified the server; without TLS it is not verified. */
static void who_verified_the_server(void **state)
{
	(void)state;
	assert_text("{\"name\":\"home\",\"role\":\"client\",\"state\":\"up\","
		    "\"server\":{\"url\":\"wss://a\",\"tls\":\"TLSv1.3\",\"verified\":\"system\"}}",
		"client: home\n  state: up\n  server: wss://a, TLSv1.3, verified by the system's CAs\n");
	assert_text("{\"name\":\"home\",\"role\":\"client\",\"state\":\"up\","
		    "\"server\":{\"url\":\"ws://a\",\"tls\":\"none\",\"verified\":\"no\"}}",
		"client: home\n  state: up\n  server: ws://a, in the clear\n");
}

/* A service by its port, and one by its names. */
static void published_services_are_shown(void **state)
{
	(void)state;
	assert_text(
		"{\"name\":\"hub\",\"role\":\"server\",\"state\":\"up\",\"publish\":[{\"port\":\"tcp/80\",\"to\":\"192.168.1.30:8080\","
		"\"connections\":{\"now\":1,\"total\":9},\"bytes\":{\"sent\":1024,\"received\":2},\"last_error\":null},"
		"{\"server_names\":[\"home.example.org\",\"*.home.example.org\"],\"to\":\"192.168.1.30:8443\",\"connections\":{"
		"\"now\":0,\"total\":3},\"bytes\":{\"sent\":0,\"received\":0},\"last_error\":\"192.168.1.30:8443: no answer\"}]}",
		"server: hub\n"
		"  state: up\n"
		"\n"
		"  publish: tcp/80 to 192.168.1.30:8080\n"
		"    connections: 1 now, 9 in all\n"
		"    transfer: 2 B received, 1.00 KiB sent\n"
		"\n"
		"  publish: home.example.org, *.home.example.org to 192.168.1.30:8443\n"
		"    connections: 0 now, 3 in all\n"
		"    transfer: 0 B received, 0 B sent\n"
		"    last error: 192.168.1.30:8443: no answer\n");
}

/* A hub's sessions stand below it, each with its own figures. */
static void hub_with_a_session(void **state)
{
	(void)state;
	assert_text("{\"name\":\"hub\",\"role\":\"server\",\"state\":\"up\",\"since\":\"2026-11-21T02:44:59Z\","
		    "\"pin\":\"sha256//A=\",\"sessions\":[{\"client\":\"laptop\",\"from\":\"198.51.100.7:4711\",\"since\":\"2026-11-21T02:45:"
		    "00Z\","
		    "\"stock\":true,\"rtt_ms\":0.0,\"bytes\":{\"sent\":1,\"received\":2}}]}",
		"server: hub\n"
		"  state: up\n"
		"  since: 2026-11-21T02:44:59Z (1 second ago)\n"
		"  pin: sha256//A=\n"
		"\n  sessions: 1\n"
		"\n"
		"  session: laptop\n"
		"    from: 198.51.100.7:4711, stock wstunnel\n"
		"    since: 2026-11-21T02:45:00Z (now)\n"
		"    transfer: 2 B received, 1 B sent\n");
}

/* The device comes in wg show's own words; what it has not, it does not show. */
static void device_as_wg_shows_it(void **state)
{
	(void)state;
	assert_text(
		"{\"name\":\"home\",\"role\":\"client\",\"state\":\"up\",\"wireguard\":{\"interface\":\"home\","
		"\"index\":7,\"public_key\":\"KEY=\",\"listen_port\":40000,\"fwmark\":51820,\"table\":51820,\"rules\":["
		"{\"family\":\"ipv4\",\"priority\":32765,\"table\":51820}],\"mtu\":1420,\"peers\":["
		"{\"public_key\":\"HUB=\",\"endpoint\":\"127.0.0.1:51820\",\"allowed_ips\":[\"10.10.0.0/24\",\"fd10::/"
		"64\"],"
		"\"latest_handshake\":\"2026-11-21T02:43:58Z\",\"received_bytes\":1572864,\"sent_bytes\":92,"
		"\"persistent_keepalive_s\":25},{\"public_key\":\"PI=\",\"endpoint\":null,\"allowed_ips\":[],"
		"\"latest_handshake\":null,\"received_bytes\":0,\"sent_bytes\":0,\"persistent_keepalive_s\":0}]}}",
		"client: home\n"
		"  state: up\n"
		"\n"
		"  wireguard:\n"
		"    interface: home\n"
		"    public key: KEY=\n"
		"    listening port: 40000\n"
		"    fwmark: 0xca6c\n"
		"    mtu: 1420\n"
		"    rules: ipv4 32765: table 51820\n"
		"\n"
		"    peer: HUB=\n"
		"      endpoint: 127.0.0.1:51820\n"
		"      allowed ips: 10.10.0.0/24, fd10::/64\n"
		"      latest handshake: 1 minute, 2 seconds ago\n"
		"      transfer: 1.50 MiB received, 92 B sent\n"
		"      persistent keepalive: every 25 seconds\n"
		"\n"
		"    peer: PI=\n"
		"      allowed ips: (none)\n");
}

static void peer_of_another_program_says_so(void **state)
{
	(void)state;
	assert_text("{\"name\":\"a\",\"role\":\"client\",\"state\":\"up\",\"wireguard\":{\"interface\":\"a\",\"peers\":["
		    "{\"public_key\":\"OURS=\",\"in_file\":true,\"allowed_ips\":[]},"
		    "{\"public_key\":\"THEIRS=\",\"in_file\":false,\"allowed_ips\":[]}]}}",
		"client: a\n  state: up\n\n  wireguard:\n    interface: a\n"
		"\n    peer: OURS=\n      allowed ips: (none)\n"
		"\n    peer: THEIRS= (not in the file)\n      allowed ips: (none)\n");
}

static void deleted_device_says_so(void **state)
{
	(void)state;
	assert_text("{\"name\":\"a\",\"role\":\"client\",\"state\":\"up\",\"wireguard\":{\"interface\":\"a\","
		    "\"deleted\":true,\"peers\":[]}}",
		"client: a\n  state: up\n\n  wireguard:\n    interface: a (deleted by another program)\n");
}

/* A field of a later version is shown as it is. */
static void unknown_field_does_not_vanish(void **state)
{
	(void)state;
	assert_text("{\"name\":\"a\",\"role\":\"client\",\"state\":\"up\",\"colour\":[1]}",
		"client: a\n  state: up\n  colour: [1]\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(claims_are_listed),
		cmocka_unit_test(stopped_tunnel_is_two_lines),
		cmocka_unit_test(published_services_are_shown),
		cmocka_unit_test(weaker_sandbox_is_shown),
		cmocka_unit_test(client_that_is_up),
		cmocka_unit_test(who_verified_the_server),
		cmocka_unit_test(hub_with_a_session),
		cmocka_unit_test(device_as_wg_shows_it),
		cmocka_unit_test(peer_of_another_program_says_so),
		cmocka_unit_test(deleted_device_says_so),
		cmocka_unit_test(unknown_field_does_not_vanish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
