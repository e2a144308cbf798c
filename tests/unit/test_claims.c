/* Claims on devices of a real kernel: what is added, put right, left alone and taken away again. Needs WireGuard in the
 * kernel, ip and wg; skipped without.
 */
#include "common/host/claims.h"
#include "common/net/netmon.h"
#include "tests/unit/wg_device_bed.h"

#include "common/base/base64.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/mount.h>

#define X "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define Y "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define PLACE "/run/netns/claimed"
#define MANAGER "10.9.0.2/32" /* what it gives to X */
#define PEERS "wg set wgt0 peer " X " allowed-ips " MANAGER " peer " Y " allowed-ips 10.9.0.3/32"
#define DEVICE                                                                                                         \
	"ip link add wgt0 type wireguard && " PEERS " && ip address add 10.9.0.1/24 dev wgt0 && "                      \
	"ip link set wgt0 up"
#define HAS_LAN "wg show wgt0 allowed-ips | grep -F " X " | grep -q 192.168.1.0/24"
#define HAS_ROUTE "ip route show 192.168.1.0/24 dev wgt0 | grep -q ."
#define IS_TRUE HAS_LAN " && " HAS_ROUTE
#define IS_AS_BEFORE                                                                                                   \
	"! " HAS_ROUTE " && wg show wgt0 allowed-ips | grep -F " X " | grep -qx '" X "[[:space:]]" MANAGER "'"

static char folder[64];
static uv_loop_t loop;
static struct claims *claims;
static struct netmon *netmon; /* the supervisor's */

static void on_network(void *owner, unsigned kinds)
{
	(void)owner;
	claims_on_network(claims, kinds);
}

/* In namespaces of our own; our /etc/wireguard is an empty one. */
static int start(void **state)
{
	static bool entered;

	(void)state;
	strcpy(folder, "/tmp/towpath-claims-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	need_devices();
	if (!entered && (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
				mount("tmpfs", "/etc", "tmpfs", 0, NULL) < 0 || mkdir("/etc/wireguard", 0700) < 0))
		return -1;
	entered = true;
	assert_run("rm -f /etc/wireguard/*; ip netns del claimed 2>/dev/null; :");
	uv_loop_init(&loop);
	netmon_open(&netmon, &loop, on_network, NULL, NULL);
	return 0;
}

static int end(void **state)
{
	char command[192];

	(void)state;
	claims_close(claims);
	claims = NULL;
	netmon_close(netmon);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	snprintf(command, sizeof(command), "[ ! -e %s/hub/claims ] && rm -r %s", folder, folder);
	assert_run(command);
	return 0;
}

static void on_stop(uv_timer_t *timer)
{
	uv_close((uv_handle_t *)timer, NULL);
	uv_stop(&loop);
}

static void turn_for_ms(uint64_t ms)
{
	static uv_timer_t timer;

	uv_timer_init(&loop, &timer);
	uv_timer_start(&timer, on_stop, ms, 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_run(&loop, UV_RUN_NOWAIT); /* the timer closes */
}

/* The promise is 3 s, which the story claim_wg_easy measures; here a busy machine gets more. */
static void soon(const char *command)
{
	for (int i = 0; i < 150; i++) {
		turn_for_ms(100);
		if (run(command))
			return;
	}
	fail_msg("not so within 15 s: %s", command);
}

/* @path: NULL: in our own namespace. */
static void claim(const char *path)
{
	static struct wg_config_prefix lan;
	struct claim one = {.interface = "wgt0", .peer = {.allowed_ips = &lan, .allowed_ip_count = 1}};
	char copy[64];
	struct err err = {""};

	assert_int_equal(prefix_parse("192.168.1.0/24", &lan.prefix), 0);
	assert_int_equal(base64_decode(one.peer.public_key, WG_CONFIG_KEY_LEN, X, strlen(X), BASE64_STANDARD),
		WG_CONFIG_KEY_LEN);
	one.namespace_path = path ? strcpy(copy, path) : NULL;
	if (claims_open(&claims, &loop, folder, "hub", &one, 1, &err) < 0)
		fail_msg("%s", err.text);
}

static void claim_nothing(void)
{
	struct err err = {""};

	if (claims_open(&claims, &loop, folder, "hub", NULL, 0, &err) < 0)
		fail_msg("%s", err.text);
}

static bool is_state(const char *word)
{
	json_t *array = claims_report(claims);
	const char *state = json_string_value(json_object_get(json_array_get(array, 0), "state"));
	bool is_it = state && strcmp(state, word) == 0;

	json_decref(array);
	return is_it;
}

static void assert_state(const char *word)
{
	for (int i = 0; i < 150 && !is_state(word); i++)
		turn_for_ms(100);
	assert_true(is_state(word));
}

static void made(void)
{
	assert_run(DEVICE);
	claim(NULL);
	soon(IS_TRUE);
	assert_state("true");
}

/* The prefix and its route are added, and at the end these go and nothing else does. */
static void adds_and_takes_away(void **state)
{
	(void)state;
	made();
	claims_close(claims);
	claims = NULL;
	assert_run(IS_AS_BEFORE);
	assert_run("wg show wgt0 allowed-ips | grep -q 10.9.0.3/32");
}

/* Nobody announces that the manager has set its peers anew. */
static void a_rewrite_is_put_right(void **state)
{
	(void)state;
	made();
	for (int i = 0; i < 3; i++) {
		assert_run(PEERS);
		soon(IS_TRUE);
		turn_for_ms(1100); /* faster, it would be a fight */
	}
	assert_run("ip route del 192.168.1.0/24 dev wgt0");
	soon(IS_TRUE);
}

/* A peer that is gone stays gone, with the route, and is no peer of ours when it comes back. */
static void a_removed_peer_stays_away(void **state)
{
	(void)state;
	made();
	assert_run("wg set wgt0 peer " X " remove");
	soon("! " HAS_ROUTE);
	turn_for_ms(2500);
	assert_run("! wg show wgt0 peers | grep -qF " X);
	assert_state("waiting");
	assert_run(PEERS);
	soon(IS_TRUE);
}

/* It was not there at all: the claim waits for it, and for one that is made anew. */
static void a_device_may_come_and_go(void **state)
{
	(void)state;
	claim(NULL);
	turn_for_ms(100);
	assert_state("waiting");
	assert_run(DEVICE);
	soon(IS_TRUE);
	assert_run("ip link del wgt0 && " DEVICE);
	soon(IS_TRUE);
	assert_run("ip link set wgt0 down && ip link set wgt0 up");
	soon(IS_TRUE);
}

/* The same in another namespace, which comes later, goes, and comes back under the same name. */
static void another_namespace_is_looked_into(void **state)
{
	(void)state;
	claim(PLACE);
	turn_for_ms(100);
	assert_state("waiting");
	for (int i = 0; i < 2; i++) {
		assert_run("ip netns add claimed && ip netns exec claimed sh -c '" DEVICE "'");
		soon("ip netns exec claimed sh -c \"" IS_TRUE "\"");
		assert_run("ip netns exec claimed ip route del 192.168.1.0/24 dev wgt0");
		soon("ip netns exec claimed sh -c \"" IS_TRUE "\"");
		assert_state("true");
		if (i == 0)
			assert_run("ip netns del claimed");
	}
	claims_close(claims);
	claims = NULL;
	assert_run("ip netns exec claimed sh -c \"! " HAS_ROUTE " && ! " HAS_LAN "\"");
	assert_run("ip netns del claimed");
}

/* What was there before is not ours, and stays at the end. */
static void what_was_there_stays(void **state)
{
	(void)state;
	assert_run(DEVICE " && wg set wgt0 peer " X " allowed-ips " MANAGER ",192.168.1.0/24 && "
			  "ip route add 192.168.1.0/24 dev wgt0");
	claim(NULL);
	turn_for_ms(1200);
	assert_state("true");
	claims_close(claims);
	claims = NULL;
	assert_run(IS_TRUE);
}

/* Another peer has it: by the manager's file, then it stays there; else it is taken back. */
static void the_managers_file_decides(void **state)
{
	(void)state;
	assert_run("printf '[Interface]\\nPostUp = x\\n\\n# Client: a (b)\\n[Peer]\\nPublicKey = " Y
		   "\\nAllowedIPs = 10.9.0.3/32, 192.168.1.0/24' >/etc/wireguard/wgt0.conf");
	made();
	assert_run("wg set wgt0 peer " Y " allowed-ips 10.9.0.3/32,192.168.1.0/24");
	soon("! " HAS_ROUTE);
	turn_for_ms(2500);
	assert_run("wg show wgt0 allowed-ips | grep -F " Y " | grep -q 192.168.1.0/24");
	assert_state("left-alone");
	assert_run("rm /etc/wireguard/wgt0.conf");
	soon(IS_TRUE);
}

/* By the file it is the peer's own meanwhile: it stays at the end. */
static void what_became_the_managers_stays(void **state)
{
	(void)state;
	made();
	assert_run("printf '[Peer]\\nPublicKey = " X "\\nAllowedIPs = 192.168.1.0/24\\n' >/etc/wireguard/wgt0.conf");
	claims_close(claims);
	claims = NULL;
	assert_run(HAS_LAN);
}

/* Undone again and again, it is left alone. */
static void a_fight_is_left(void **state)
{
	(void)state;
	made();
	for (int i = 0; i < 60; i++) {
		assert_run(PEERS);
		turn_for_ms(100);
	}
	assert_state("left-alone");
	turn_for_ms(2500);
	assert_run("! " HAS_LAN);
}

/* Killed, and begun again, also without a claim: what was added goes. What another program has added stays. */
static void a_crash_is_cleaned_up(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	assert_run(DEVICE);
	pid = fork();
	if (pid == 0) {
		uv_loop_init(&loop);
		claim(NULL);
		turn_for_ms(1500);
		_exit(run(IS_TRUE) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_run(IS_TRUE " && wg set wgt0 peer " Y " allowed-ips 10.9.0.3/32,10.77.0.0/16");
	claim_nothing();
	assert_run(IS_AS_BEFORE " && wg show wgt0 allowed-ips | grep -q 10.77.0.0/16");
}

/* The same in another namespace, which the list names. */
static void a_crash_elsewhere_is_cleaned_up(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	assert_run("ip netns add claimed && ip netns exec claimed sh -c '" DEVICE "'");
	pid = fork();
	if (pid == 0) {
		uv_loop_init(&loop);
		claim(PLACE);
		turn_for_ms(1500);
		_exit(run("ip netns exec claimed sh -c \"" IS_TRUE "\"") ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	claim_nothing();
	assert_run("ip netns exec claimed sh -c \"! " HAS_ROUTE " && ! " HAS_LAN "\"");
	assert_run("ip netns del claimed");
}

/* A namespace that is lost and found again, as that of a pod while its container restarts: what was added before is still
 * ours. */
static void a_namespace_may_be_lost_and_found(void **state)
{
	(void)state;
	assert_run("ip netns add claimed && ip netns exec claimed sh -c '" DEVICE "'");
	claim(PLACE);
	soon("ip netns exec claimed sh -c \"" IS_TRUE "\"");
	assert_run("touch /run/claimed && mount --bind " PLACE " /run/claimed && umount " PLACE " && rm " PLACE);
	assert_state("waiting");
	assert_run("touch " PLACE " && mount --bind /run/claimed " PLACE);
	assert_state("true");
	claims_close(claims);
	claims = NULL;
	assert_run("ip netns exec claimed sh -c \"! " HAS_ROUTE " && ! " HAS_LAN "\"");
	assert_run("umount /run/claimed && rm /run/claimed && ip netns del claimed");
}

/* The device is another one since: nothing is done to it. */
static void a_crash_before_a_new_device(void **state)
{
	pid_t pid;

	(void)state;
	assert_run(DEVICE);
	pid = fork();
	if (pid == 0) {
		uv_loop_init(&loop);
		claim(NULL);
		turn_for_ms(1500);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_run("ip link del wgt0 && " DEVICE " && wg set wgt0 peer " X " allowed-ips " MANAGER ",192.168.1.0/24");
	claim_nothing();
	assert_run(HAS_LAN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(adds_and_takes_away),
		TEST(a_rewrite_is_put_right),
		TEST(a_removed_peer_stays_away),
		TEST(a_device_may_come_and_go),
		TEST(another_namespace_is_looked_into),
		TEST(what_was_there_stays),
		TEST(the_managers_file_decides),
		TEST(what_became_the_managers_stays),
		TEST(a_fight_is_left),
		TEST(a_crash_is_cleaned_up),
		TEST(a_crash_elsewhere_is_cleaned_up),
		TEST(a_namespace_may_be_lost_and_found),
		TEST(a_crash_before_a_new_device),
	};

	if (geteuid() != 0 || !wg_device_kernel_has())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
