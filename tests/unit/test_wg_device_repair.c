/* Repairs of a WireGuard peer: they mend it, and never bring a peer back that the operator has removed.
 *
 * The "operator" removes the peer right before each message that leaves for the kernel (the test's own sendto() and
 * sendmsg() do so), and, RACES times, at a random moment from another process.
 */
#include "tests/unit/wg_device_bed.h"

#include "common/base/base64.h"
#include "common/wireguard/wg_update.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#define RACES 400
/* Longest wait of the one who removes: about as long as a revival takes. */
#define RACE_MAX_US 6000 /* of a revival, to begin with */
#define RACE_LEAST_US 100
#define RACE_LAST_US 100000
#define MESSAGES_MAX 12

#define X "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define Y "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define PSK "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="
#define MAKE_X                                                                                                         \
	"echo " PSK " | wg set wgt0 peer " X " preshared-key /dev/stdin endpoint 127.0.0.1:51820"                      \
	" persistent-keepalive 25 allowed-ips 10.0.0.2/32,192.168.1.0/24,fd10::2/128"

static uint8_t key_x[WG_CONFIG_KEY_LEN];

/* --- what leaves for the kernel --- */

static int messages;
static int act_before; /* that one of the messages, from 1 on; 0: none */
static const char *action;
static int lost_from; /* that one on they do not arrive, and no answer comes; 0: none */

/* Return: does it leave? */
static bool on_message(void)
{
	if (++messages == act_before)
		assert_run(action);
	return lost_from == 0 || messages < lost_from;
}

ssize_t sendto(int fd, const void *buf, size_t len, int flags, __CONST_SOCKADDR_ARG to, socklen_t to_len)
{
	if (to.__sockaddr__ && to.__sockaddr__->sa_family == AF_NETLINK && !on_message())
		return (ssize_t)len;
	return syscall(SYS_sendto, fd, buf, len, flags, to.__sockaddr__, to_len);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	const struct sockaddr *to = message->msg_name;

	if (to && to->sa_family == AF_NETLINK && !on_message())
		return 1;
	return syscall(SYS_sendmsg, fd, message, flags);
}

/* --- the bed --- */

static void make_device(void)
{
	need_devices();
	assert_run("ip link add wgt0 type wireguard && ip link set wgt0 up && wg set wgt0 private-key /dev/stdin <<E\n"
		   "aBcDefghijklmnopqrstuvwxyz0123456789ABCDEFA=\nE");
	assert_int_equal(base64_decode(key_x, sizeof(key_x), X, strlen(X), BASE64_STANDARD), WG_CONFIG_KEY_LEN);
	messages = act_before = 0;
}

/* The output of @command, in a buffer of the test's. */
static const char *output_of(const char *command)
{
	static char buf[2][4096];
	static int turn;
	FILE *file = popen(command, "r");
	size_t len;

	assert_non_null(file);
	turn = !turn;
	len = fread(buf[turn], 1, sizeof(buf[turn]) - 1, file);
	buf[turn][len] = '\0';
	assert_int_equal(pclose(file), 0);
	return buf[turn];
}

static void assert_no_peer(void)
{
	assert_string_equal(output_of("wg show wgt0 peers"), "");
}

/* wgt0 and wgt1 are each other's peers, and shook hands; X is wgt1. */
static void make_session(void)
{
	char text[64] = "";

	make_device();
	assert_run("ip link add wgt1 type wireguard && wg genkey | wg set wgt1 private-key /dev/stdin listen-port "
		   "51821 && "
		   "wg set wgt0 listen-port 51820 peer $(wg show wgt1 public-key) endpoint 127.0.0.1:51821 && "
		   "wg set wgt1 peer $(wg show wgt0 public-key) && ip link set wgt1 up");
	strncat(text, output_of("wg show wgt1 public-key"), 44);
	assert_int_equal(base64_decode(key_x, sizeof(key_x), text, 44, BASE64_STANDARD), WG_CONFIG_KEY_LEN);
	assert_int_equal(wg_device_poke("wgt0", key_x, 0, NULL), 0);
	for (int i = 0; i < 100 && strtol(output_of("wg show wgt0 latest-handshakes | cut -f2"), NULL, 10) == 0; i++)
		usleep(10 * 1000);
	assert_run("test $(wg show wgt0 latest-handshakes | cut -f2) -gt 0");
}

/* --- what each of them does to the peer --- */

static int set_endpoint(struct err *err)
{
	struct addr endpoint;

	assert_int_equal(addr_parse("127.0.0.1:51999", 0, &endpoint), 0);
	return wg_device_set_endpoint("wgt0", key_x, &endpoint, err);
}

static int poke(struct err *err)
{
	return wg_device_poke("wgt0", key_x, 25, err);
}

static int revive(struct err *err)
{
	return wg_device_revive_peer("wgt0", key_x, err);
}

static int (*const repairs[])(struct err *err) = {set_endpoint, poke, revive};
#define REPAIR_COUNT (sizeof(repairs) / sizeof(repairs[0]))

/* An endpoint is set and nothing else changes. */
static void endpoint_is_set(void **state)
{
	struct err err = {""};

	(void)state;
	make_device();
	assert_run(MAKE_X);
	assert_int_equal(set_endpoint(&err), 0);
	assert_string_equal(output_of("wg showconf wgt0 | grep -v ListenPort | LC_ALL=C sort | tr '\\n' ' '"),
		" AllowedIPs = 10.0.0.2/32, 192.168.1.0/24, fd10::2/128 Endpoint = 127.0.0.1:51999 PersistentKeepalive "
		"= 25 "
		"PresharedKey = " PSK " PrivateKey = aBcDefghijklmnopqrstuvwxyz0123456789ABCDEFA= PublicKey = " X
		" [Interface] [Peer] ");
}

/* A repair of a peer that is not there is no error and creates none. */
static void repair_creates_no_peer(void **state)
{
	struct err err = {""};

	(void)state;
	make_device();
	for (size_t i = 0; i < REPAIR_COUNT; i++)
		assert_int_equal(repairs[i](&err), 0);
	assert_no_peer();
}

/* Without UPDATE_ONLY the kernel would create it: the claim above could fail. */
static void kernel_creates_without_the_flag(void **state)
{
	const uint16_t keepalive = 25;
	struct wg_entry entry = {.public_key = key_x, .keepalive_s = &keepalive};
	struct wg_update update;

	(void)state;
	make_device();
	assert_int_equal(wg_update_open(&update, "wgt0", NULL), 0);
	assert_int_equal(wg_update_send(&update, &entry, 1), 0);
	wg_update_close(&update);
	assert_string_equal(output_of("wg show wgt0 peers"), X "\n");
}

/* A device that is not there is an error that names it. */
static void missing_device_is_named(void **state)
{
	struct err err;

	(void)state;
	need_devices();
	for (size_t i = 0; i < REPAIR_COUNT; i++) {
		err.text[0] = '\0';
		assert_int_equal(repairs[i](&err), -ENODEV);
		assert_non_null(strstr(err.text, "wgt0"));
	}
}

static int look(struct err *err)
{
	struct wg_state state;
	int rc = wg_device_read("wgt0", &state, err);

	if (rc == 0)
		wg_state_done(&state);
	return rc;
}

/* An answer that does not come, to whichever message: the call fails in seconds and says why. All at the same time. */
static void silence_ends(void **state)
{
	static const struct {
		int (*call)(struct err *err);
		int lost_from;
	} cases[] = {{look, 1}, {look, 2}, {set_endpoint, 1}, {set_endpoint, 2}, {revive, 1}, {revive, 2}};
	pid_t children[sizeof(cases) / sizeof(cases[0])];
	int status;

	(void)state;
	make_device();
	assert_run(MAKE_X);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (children[i] == 0) {
			struct err err = {""};

			alarm(60);
			messages = 0;
			lost_from = cases[i].lost_from;
			_exit(cases[i].call(&err) == -ETIMEDOUT && strstr(err.text, "timed out") ? 0 : 1);
		}
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		if (status != 0)
			fail_msg("case %zu: status 0x%x", i, status);
	}
}

/* Entries that do not fit one message are refused before anything is sent. */
static void too_large_message_is_refused(void **state)
{
	static struct prefix prefixes[2000];
	struct wg_entry entry = {.public_key = key_x, .allowed_ips = prefixes, .allowed_ip_count = 2000};
	struct wg_update update;

	(void)state;
	make_device();
	for (size_t i = 0; i < 2000; i++) {
		prefixes[i].addr.in6.sin6_family = AF_INET6;
		prefixes[i].addr.in6.sin6_addr.s6_addr[0] = (uint8_t)i;
		prefixes[i].addr.in6.sin6_addr.s6_addr[1] = (uint8_t)(i >> 8);
		prefixes[i].bits = 128;
	}
	assert_int_equal(wg_update_open(&update, "wgt0", NULL), 0);
	messages = 0;
	assert_int_equal(wg_update_send(&update, &entry, 1), -E2BIG);
	assert_int_equal(messages, 0);
	wg_update_close(&update);
	assert_no_peer();
}

/* --- poke --- */

static int open_witness(uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* The type of the WireGuard message that arrives within @wait_ms, 0: none. */
static int next_type(int fd, int wait_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint8_t buf[256] = {0};

	if (poll(&wait, 1, wait_ms) <= 0)
		return 0;
	assert_true(recv(fd, buf, sizeof(buf), 0) > 0);
	return buf[0];
}

/* A poke makes an initiation leave at once, and the keepalive is as it was. */
static void poke_sends_initiation(void **state)
{
	struct err err = {""};
	int witness;

	(void)state;
	make_device();
	witness = open_witness(51820);
	assert_run("wg set wgt0 peer " X " endpoint 127.0.0.1:51820 allowed-ips 10.0.0.2/32");
	assert_int_equal(next_type(witness, 100), 0);
	assert_int_equal(wg_device_poke("wgt0", key_x, 0, &err), 0);
	assert_int_equal(next_type(witness, 200), 1);
	assert_string_equal(output_of("wg show wgt0 persistent-keepalive"), X "\toff\n");
	close(witness);
}

static long sent_bytes(void)
{
	return strtol(output_of("wg show wgt0 transfer | cut -f3"), NULL, 10);
}

/* So it does where a keepalive is set, which then is as before; with a session what leaves is a keepalive of it. */
static void poke_sends_despite_keepalive(void **state)
{
	struct err err = {""};
	long before;

	(void)state;
	make_session();
	assert_run("wg set wgt0 peer $(wg show wgt1 public-key) persistent-keepalive 25");
	usleep(100 * 1000);
	before = sent_bytes();
	assert_int_equal(wg_device_poke("wgt0", key_x, 25, &err), 0);
	for (int i = 0; i < 1000 && sent_bytes() == before; i++)
		usleep(10 * 1000);
	usleep(100 * 1000); /* and nothing more */
	assert_int_equal(sent_bytes() - before, 32);
	assert_string_equal(output_of("wg show wgt0 persistent-keepalive | cut -f2"), "25\n");
}

/* --- revive --- */

/* A revived peer is what it was, its neighbour is untouched, and nothing else is left. */
static void revived_peer_is_as_before(void **state)
{
	static const char command[] =
		"wg showconf wgt0 | grep -v '^$' | paste -sd ' ' | sed 's/ *\\[Peer\\]/\\n&/g' | sort";
	struct err err = {""};
	const char *before;

	(void)state;
	make_device();
	assert_run(MAKE_X);
	assert_run("wg set wgt0 peer " Y " endpoint [::1]:7 allowed-ips 10.0.0.3/32");
	before = output_of(command);
	assert_int_equal(revive(&err), 1);
	assert_string_equal(output_of(command), before);
}

/* Also with more allowed IPs than fit a message. */
static void large_peer_is_revived(void **state)
{
	static const char command[] = "wg show wgt0 allowed-ips | tr ' \\t' '\\n\\n' | sort | sha256sum";
	struct err err = {""};
	const char *before;

	(void)state;
	make_device();
	assert_run("wg set wgt0 peer " X " allowed-ips $(for i in $(seq 0 24); do for j in $(seq 0 99); do printf "
		   "10.1.$i.$j/32,; done; done)10.2.0.0/16");
	before = output_of(command);
	assert_int_equal(revive(&err), 1);
	assert_string_equal(output_of(command), before);
}

/* The operator acts right before the @n-th message of a revival. Return: the result of the revival. */
static int revive_while(int n, const char *command)
{
	struct err err = {""};

	make_device();
	assert_run(MAKE_X);
	action = command;
	act_before = n;
	return revive(&err);
}

static int count_messages(void)
{
	assert_int_equal(revive_while(0, ""), 1);
	return messages;
}

/* An allowed IP that another peer gets while the revival is under way stays there, until the moment it is given
 * back. */
static void moved_allowed_ip_is_not_stolen_back(void **state)
{
	int count;

	(void)state;
	count = count_messages();
	/* The last two give back and clean up. */
	for (int n = 1; n <= count - 2; n++) {
		assert_int_equal(revive_while(n, "wg set wgt0 peer " Y " allowed-ips 10.0.0.2/32"), 1);
		assert_string_equal(output_of("wg show wgt0 allowed-ips | grep 10.0.0.2/32"), Y "\t10.0.0.2/32\n");
	}
}

/* A witness that a crash left behind does not mislead the next revival, and goes with it. */
static void witness_left_behind_goes(void **state)
{
	struct err err = {""};

	(void)state;
	make_device();
	assert_run("wg set wgt0 peer VG93cGF0aDogd2l0bmVzcyBvZiBvbmUgcmV2aXZhbC4= allowed-ips fd00::1/128");
	assert_int_equal(revive(&err), 0);
	assert_run(MAKE_X);
	assert_int_equal(revive(&err), 1);
	assert_string_equal(output_of("wg show wgt0 peers"), X "\n");
}

/* A client whose clock went back is not heard, and is after its peer was revived. */
static void client_whose_clock_went_back_is_heard(void **state)
{
	static const char restart[] = "p=$(wg show wgt0 public-key); wg set wgt1 peer $p remove; "
				      "wg set wgt1 peer $p endpoint 127.0.0.1:51820 persistent-keepalive 1; sleep 0.3";
	struct err err = {""};

	(void)state;
	make_session();
	assert_run(restart);
	assert_run("test $(wg show wgt1 latest-handshakes | cut -f2) -gt 0");
	assert_run("date -s '-1 hour' >/dev/null");
	assert_run(restart);
	assert_string_equal(output_of("wg show wgt1 latest-handshakes | cut -f2"), "0\n");
	assert_int_equal(revive(&err), 1);
	assert_run(restart);
	assert_run("test $(wg show wgt1 latest-handshakes | cut -f2) -gt 0");
	assert_run("date -s '+1 hour' >/dev/null");
}

/* --- a peer that the operator removes --- */

/* Right before any message of any repair: it is gone at the end, and so is everything else. */
static void removed_between_messages_stays_removed(void **state)
{
	struct err err = {""};

	(void)state;
	for (size_t i = 0; i < REPAIR_COUNT; i++) {
		int count = MESSAGES_MAX;

		for (int n = 1; n <= count; n++) {
			make_device();
			assert_run(MAKE_X);
			action = "wg set wgt0 peer " X " remove";
			act_before = n;
			assert_true(repairs[i](&err) >= 0);
			if (messages < n)
				break;
			assert_no_peer();
		}
		assert_true(messages > 1 && messages < MESSAGES_MAX);
	}
}

/* The other process: at each byte it gets, it waits for a while, removes X and answers. */
static void remove_often(int channel)
{
	const struct wg_entry entry = {.public_key = key_x, .flags = WG_ENTRY_REMOVE};
	struct wg_update update;
	uint32_t wait_us;

	if (wg_update_open(&update, "wgt0", NULL) < 0)
		_exit(1);
	while (read(channel, &wait_us, sizeof(wait_us)) == sizeof(wait_us)) {
		struct timespec now, end;

		clock_gettime(CLOCK_MONOTONIC, &end);
		end.tv_nsec += (long)wait_us * 1000;
		do
			clock_gettime(CLOCK_MONOTONIC, &now);
		while ((now.tv_sec - end.tv_sec) * 1000000000 + now.tv_nsec - end.tv_nsec < 0);
		if (wg_update_send(&update, &entry, 1) < 0 || write(channel, "x", 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static pid_t start_remover(int *ret_channel)
{
	int pair[2];
	pid_t child;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(pair[0]);
		remove_often(pair[1]);
	}
	close(pair[1]);
	*ret_channel = pair[0];
	return child;
}

/* X as MAKE_X has it, without a process. */
static void make_x_again(struct wg_update *update)
{
	static const uint8_t preshared_key[WG_CONFIG_KEY_LEN] = {1};
	static const uint16_t keepalive = 25;
	struct prefix prefix = {.bits = 32};
	struct addr endpoint;
	const struct wg_entry entry = {.public_key = key_x,
		.preshared_key = preshared_key,
		.endpoint = &endpoint,
		.keepalive_s = &keepalive,
		.allowed_ips = &prefix,
		.allowed_ip_count = 1};

	prefix.addr.in4.sin_family = AF_INET;
	prefix.addr.in4.sin_addr.s_addr = inet_addr("10.0.0.2");
	assert_int_equal(addr_parse("127.0.0.1:51820", 0, &endpoint), 0);
	assert_int_equal(wg_update_send(update, &entry, 1), 0);
}

/* How long a revival takes is the machine's business: as many removals are to come before its middle as after it. */
static uint32_t aim(uint32_t max_us, bool too_early)
{
	if (too_early)
		return max_us < RACE_LAST_US ? max_us + max_us / 32 : max_us;
	return max_us > RACE_LEAST_US ? max_us - max_us / 32 : max_us;
}

static void race(int (*repair)(struct err *err), uint32_t max_us)
{
	struct wg_update update;
	int channel, too_early = 0;
	pid_t child;

	make_device();
	assert_int_equal(wg_update_open(&update, "wgt0", NULL), 0);
	child = start_remover(&channel);
	for (int i = 0; i < RACES; i++) {
		struct wg_state device;
		uint32_t wait_us = (uint32_t)rand() % max_us;
		char answer;
		int rc;

		make_x_again(&update);
		assert_int_equal(write(channel, &wait_us, sizeof(wait_us)), sizeof(wait_us));
		rc = repair(NULL);
		assert_true(rc >= 0);
		too_early += rc == 0;
		if (repair == revive)
			max_us = aim(max_us, rc == 0);
		assert_int_equal(read(channel, &answer, 1), 1);
		assert_int_equal(wg_device_read("wgt0", &device, NULL), 0);
		if (device.peer_count != 0)
			fail_msg("race %d: %zu peers after %u us", i, device.peer_count, wait_us);
		wg_state_done(&device);
	}
	wg_update_close(&update);
	close(channel);
	assert_int_equal(waitpid(child, NULL, 0), child);
	/* A revival says whether the peer was still there: both have to have happened. */
	if (repair == revive)
		assert_in_range(too_early, 10, RACES - 10);
}

/* At any moment: gone at the end, four hundred times each. */
static void removed_in_a_race_stays_removed(void **state)
{
	(void)state;
	race(set_endpoint, 600);
	race(poke, 600);
	race(revive, RACE_MAX_US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(endpoint_is_set),
		cmocka_unit_test(repair_creates_no_peer),
		cmocka_unit_test(kernel_creates_without_the_flag),
		cmocka_unit_test(missing_device_is_named),
		cmocka_unit_test(silence_ends),
		cmocka_unit_test(too_large_message_is_refused),
		cmocka_unit_test(poke_sends_initiation),
		cmocka_unit_test(poke_sends_despite_keepalive),
		cmocka_unit_test(revived_peer_is_as_before),
		cmocka_unit_test(large_peer_is_revived),
		cmocka_unit_test(moved_allowed_ip_is_not_stolen_back),
		cmocka_unit_test(witness_left_behind_goes),
		cmocka_unit_test(client_whose_clock_went_back_is_heard),
		cmocka_unit_test(removed_between_messages_stays_removed),
		cmocka_unit_test(removed_in_a_race_stays_removed),
	};

	return cmocka_run_group_tests_name("wg_device_repair", tests, NULL, NULL);
}
