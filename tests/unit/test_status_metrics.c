/* The metrics: a family for each figure of the status, both formats, and labels that come from outside. */
#include "common/status/status_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLAIM(name) cmocka_unit_test(name)

static char *format(const char *json, bool is_openmetrics)
{
	json_t *status = json_loads(json, 0, NULL);
	char *text;

	assert_non_null(status);
	text = status_metrics_format(status, is_openmetrics);
	json_decref(status);
	assert_non_null(text);
	return text;
}

static void must_have(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no '%s' in:\n%s", part ? part : "", text ? text : "");
}

#define CLIENT                                                                                                              \
	"{\"name\":\"home\",\"role\":\"client\",\"state\":\"up\",\"since\":\"2026-11-21T02:45:00Z\",\"worker_restarts\":2," \
	"\"link\":{\"rtt_ms\":41.5,\"connects\":3},\"datagrams\":{\"sent\":1,\"received\":2},"                              \
	"\"bytes\":{\"sent\":9007199254740993,\"received\":4},\"queue\":{\"delay_ms\":0.4,\"depth\":7},"                    \
	"\"dropped\":{\"queue-late\":5,\"empty\":0},\"wireguard\":{\"interface\":\"home\",\"peers\":["                      \
	"{\"public_key\":\"KEY=\",\"latest_handshake\":\"1970-01-01T00:01:00Z\",\"sent_bytes\":11,\"received_bytes\":12},"  \
	"{\"public_key\":\"OTHER=\",\"name\":\"pi\",\"latest_handshake\":null,\"sent_bytes\":0,\"received_bytes\":0}]}}"

static void client_has_link_queue_drops_and_peers(void **state)
{
	char *text = format(CLIENT, false);

	(void)state;
	must_have(text, "# TYPE towpath_build_info gauge\ntowpath_build_info{name=\"home\",role=\"client\",version=\"");
	must_have(text, "\ntowpath_up 1\n");
	must_have(text, "\ntowpath_state_since_timestamp_seconds 1795229100\n");
	must_have(text, "\n# TYPE towpath_worker_restarts_total counter\ntowpath_worker_restarts_total 2\n");
	must_have(text, "\ntowpath_link_rtt_seconds 0.0415\n");
	must_have(text, "\ntowpath_queue_delay_seconds 0.0004\n");
	must_have(text, "\ntowpath_queue_datagrams 7\n");
	must_have(text, "\ntowpath_sent_bytes_total 9007199254740992\n"); /* the nearest double, in all its digits */
	must_have(text, "\ntowpath_dropped_datagrams_total{reason=\"queue-late\"} 5\n"
			"towpath_dropped_datagrams_total{reason=\"empty\"} 0\n");
	/* One that has never shaken hands has no time, and no 0, which would be 1970. */
	must_have(text, " gauge\ntowpath_peer_latest_handshake_timestamp_seconds{public_key=\"KEY=\"} 60\n#");
	must_have(text, "\ntowpath_peer_sent_bytes_total{public_key=\"KEY=\"} 11\n"
			"towpath_peer_sent_bytes_total{public_key=\"OTHER=\",name=\"pi\"} 0\n");
	assert_null(strstr(text, "towpath_session"));
	assert_null(strstr(text, "EOF"));
	free(text);
}

static void unknown_round_trip_is_left_out(void **state)
{
	char *text = format("{\"state\":\"connecting\",\"link\":{\"rtt_ms\":0.0,\"connects\":0}}", false);

	(void)state;
	must_have(text, "\ntowpath_up 0\n");
	must_have(text, "\ntowpath_link_connects_total 0\n");
	assert_null(strstr(text, "rtt"));
	free(text);
}

static void openmetrics_differs_in_three_points(void **state)
{
	char *text = format(CLIENT, true);

	(void)state;
	must_have(text, "# TYPE towpath_build info\ntowpath_build_info{");
	must_have(text, "# TYPE towpath_sent_bytes counter\ntowpath_sent_bytes_total ");
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
	free(text);
}

static void hub_has_sessions_services_and_claims(void **state)
{
	char *text = format(
		"{\"name\":\"hub\",\"role\":\"server\",\"state\":\"up\",\"sessions\":["
		"{\"client\":\"laptop\",\"from\":\"198.51.100.7:4711\",\"since\":\"1970-01-01T00:00:09Z\",\"rtt_ms\":30.25,"
		"\"bytes\":{\"sent\":1,\"received\":2}}],"
		"\"publish\":[{\"port\":\"tcp/80\",\"to\":\"192.168.1.30:8080\",\"connections\":{\"now\":1,\"total\":9},"
		"\"bytes\":{\"sent\":5,\"received\":6}},{\"server_names\":[\"a.example\",\"b.example\"],\"to\":\"[fd10::2]:1\","
		"\"connections\":{\"now\":0,\"total\":0},\"bytes\":{\"sent\":0,\"received\":0}}],"
		"\"claims\":[{\"interface\":\"wg0\",\"container\":\"wg-easy\",\"public_key\":\"K=\",\"allowed_ips\":"
		"[\"192.168.1.0/24\"],\"state\":\"waiting\",\"put_right\":3}]}",
		false);

	(void)state;
	must_have(text, "\ntowpath_sessions 1\n");
	must_have(text, "\ntowpath_session_rtt_seconds{client=\"laptop\",from=\"198.51.100.7:4711\"} 0.03025\n");
	must_have(text, "\ntowpath_session_received_bytes_total{client=\"laptop\",from=\"198.51.100.7:4711\"} 2\n");
	must_have(text, "\ntowpath_publish_open_connections{service=\"tcp/80\",to=\"192.168.1.30:8080\"} 1\n");
	must_have(text, "\ntowpath_publish_connections_total{service=\"a.example\",to=\"[fd10::2]:1\"} 0\n");
	must_have(text,
		"\ntowpath_claim_true{interface=\"wg0\",public_key=\"K=\",prefix=\"192.168.1.0/24\",container=\"wg-easy\"} 0\n");
	must_have(text, "\ntowpath_claim_put_right_total{");
	free(text);
}

/* No two samples of a family may have the same labels. */
static void sessions_from_one_address_differ(void **state)
{
	char *text = format("{\"sessions\":[{\"client\":\"a\",\"from\":\"192.0.2.1\",\"rtt_ms\":1},"
			    "{\"client\":\"a\",\"from\":\"192.0.2.1\",\"rtt_ms\":2},"
			    "{\"client\":\"a\",\"from\":\"192.0.2.1\",\"rtt_ms\":3}]}",
		false);

	(void)state;
	must_have(text, "{client=\"a\",from=\"192.0.2.1\"} 0.001\n");
	must_have(text, "{client=\"a\",from=\"192.0.2.1\",session=\"1\"} 0.002\n");
	must_have(text, "{client=\"a\",from=\"192.0.2.1\",session=\"2\"} 0.003\n");
	free(text);
}

static void labels_are_escaped_and_bounded(void **state)
{
	static char json[4096];
	char *text = format("{\"name\":\"a\\\"b\\\\c\\nd\"}", false);

	(void)state;
	must_have(text, "{name=\"a\\\"b\\\\c\\nd\",role=\"\"");
	free(text);
	strcpy(json, "{\"name\":\"");
	memset(json + 9, '"', 3000);
	for (size_t i = 9; i < 3009; i += 2)
		json[i] = '\\';
	strcpy(json + 3009, "\"}");
	text = format(json, false);
	must_have(text, "towpath_build_info{role=\"\",version="); /* a label that is too long is left out */
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(client_has_link_queue_drops_and_peers),
		CLAIM(unknown_round_trip_is_left_out),
		CLAIM(openmetrics_differs_in_three_points),
		CLAIM(hub_has_sessions_services_and_claims),
		CLAIM(sessions_from_one_address_differ),
		CLAIM(labels_are_escaped_and_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
