/* The states of a flow: who gets it, who waits for it, and when it goes. The loop is real, the supervisor, the
 * carriers and the pump are pretended; sessions are pointers only, which is all that the table knows of them. */
#include "server/flow_table.h"

#include "common/base/clock.h"
#include "common/tunnel/carrier.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { LAPTOP = 7, PHONE = LAPTOP + FLOW_TABLE_BUCKETS /* the same bucket of counts */, CELLS = 64 };

struct session {
	struct hub_flow *flow; /* of the last on_flow */
	unsigned told, refused, retired, outlived;
	char id[37]; /* of its request: "0", "1" … */
};

static struct {
	uv_loop_t loop;
	struct pump pump;
	struct server_settings settings;
	struct server_settings_client clients[2];
	struct flow_table table;
	struct session sessions[4];
	struct channel_flow asked; /* the last question to the supervisor */
	unsigned questions;
	struct hub_flow *flow; /* of the last attach() */
	unsigned sends; /* carrier_send_flow() */
} bed;

/* --- stand-ins --- */

int channel_send(struct channel *channel, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	(void)channel;
	assert_int_equal(kind, CHANNEL_FLOW_WANTED);
	assert_int_equal(len, sizeof(bed.asked));
	assert_int_equal(fd, -1);
	memcpy(&bed.asked, payload, len);
	bed.questions++;
	return 0;
}

void carrier_send_flow(struct flow *flow, uint64_t now_us)
{
	(void)flow;
	(void)now_us;
	bed.sends++;
}

void pump_take(struct pump *pump, unsigned i, struct flow *flow, uint64_t now_us)
{
	(void)pump;
	(void)now_us;
	(void)i;
	flow->counters.sent_datagrams++;
}

/* One batch of one datagram, which is taken off the socket. */
void pump_receive(struct pump *pump, const struct dgram_socket *socket, struct drop_counters *dropped,
	bool (*on_batch)(void *owner, unsigned count, bool is_last, uint64_t now_us), void *owner)
{
	char byte;

	(void)pump;
	(void)dropped;
	assert_int_equal(recv(socket->fd, &byte, 1, MSG_DONTWAIT), 1);
	on_batch(owner, 1, true, clock_now_us());
}

static void on_flow(struct session *session, struct hub_flow *flow)
{
	session->told++;
	session->refused += flow == NULL;
	session->flow = flow;
}

static void on_retire(struct session *session)
{
	session->retired++;
}

static void on_outlived(struct session *session)
{
	session->outlived++;
	flow_table_detach(session->flow ? session->flow : bed.flow, session);
}

static const char *get_id(const struct session *session)
{
	return session->id;
}

/* --- verbs --- */

static int set_up(void **state)
{
	static const struct flow_handlers handlers = {
		.on_flow = on_flow, .on_retire = on_retire, .on_outlived = on_outlived, .get_id = get_id};
	const struct flow_table_setup setup = {
		.loop = &bed.loop, .pump = &bed.pump, .settings = &bed.settings, .handlers = &handlers};
	char name[] = "client";

	(void)state;
	memset(&bed, 0, sizeof(bed));
	for (unsigned i = 0; i < sizeof(bed.sessions) / sizeof(*bed.sessions); i++)
		snprintf(bed.sessions[i].id, sizeof(bed.sessions[i].id), "%u", i);
	bed.clients[0] = (struct server_settings_client){.number = LAPTOP, .name = strdup(name)};
	bed.clients[1] = (struct server_settings_client){.number = PHONE, .name = strdup(name)};
	bed.settings = (struct server_settings){
		.clients = bed.clients, .client_count = 2, .max_clients = 100, .max_sessions_per_client = 100};
	assert_int_equal(uv_loop_init(&bed.loop), 0);
	assert_int_equal(dgram_pool_init(&bed.pump.pool, CELLS, NULL), 0);
	flow_table_init(&bed.table, &setup);
	return 0;
}

/* No handle may be left. */
static int tear_down(void **state)
{
	(void)state;
	flow_table_done(&bed.table);
	uv_run(&bed.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&bed.loop), 0);
	for (unsigned i = 0; i < FLOW_TABLE_BUCKETS; i++)
		assert_null(bed.table.client_counts[i]);
	dgram_pool_done(&bed.pump.pool);
	free(bed.clients[0].name);
	free(bed.clients[1].name);
	return 0;
}

/* @instance 0: a stock client. Return: as flow_table_attach(). */
static int attach(unsigned session, uint32_t client, uint8_t instance, struct hub_flow **ret)
{
	struct admit_grant grant = {.client = client, .has_instance = instance != 0, .instance = {instance}};

	int rc = flow_table_attach(&bed.table, &grant, 41, &bed.sessions[session], ret);

	bed.flow = rc == 0 ? *ret : bed.flow;
	return rc;
}

static struct hub_flow *attached_beside(unsigned session, unsigned other, uint32_t client, uint8_t instance)
{
	struct admit_grant grant = {.client = client, .has_instance = true, .instance = {instance}, .has_beside = true};
	struct hub_flow *flow = NULL;

	snprintf(grant.beside, sizeof(grant.beside), "%u", other);
	assert_int_equal(flow_table_attach(&bed.table, &grant, 41, &bed.sessions[session], &flow), 0);
	return flow;
}

static struct hub_flow *attached(unsigned session, uint32_t client, uint8_t instance)
{
	struct hub_flow *flow = NULL;

	assert_int_equal(attach(session, client, instance, &flow), 0);
	assert_non_null(flow);
	return flow;
}

/* The supervisor answers the last question. Return: Target's end of the socket. */
static int answer(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	flow_table_on_socket(&bed.table, bed.asked.ticket, 0, ends[0]);
	return ends[1];
}

static struct hub_flow *carried(unsigned session, uint32_t client, uint8_t instance)
{
	struct hub_flow *flow = attached(session, client, instance);

	close(answer());
	assert_int_equal(flow->state, FLOW_CARRIED);
	return flow;
}

static void detach(unsigned session, struct hub_flow *flow)
{
	flow_table_detach(flow, &bed.sessions[session]);
}

/* The client's flows, as its limit counts them. */
static bool has_room_for(uint32_t client, uint32_t limit)
{
	struct hub_flow *flow;
	int rc;

	bed.settings.max_sessions_per_client = limit;
	rc = attach(3, client, 99, &flow);
	if (rc == 0)
		detach(3, flow);
	return rc == 0;
}

/* --- asked --- */

static void new_flow_asks_for_its_socket_and_the_session_waits(void **state)
{
	struct hub_flow *flow = attached(0, LAPTOP, 1);

	(void)state;
	assert_int_equal(flow->state, FLOW_ASKED);
	assert_int_equal(bed.questions, 1);
	assert_int_equal(bed.asked.client, LAPTOP);
	assert_int_equal(bed.asked.rtt_ms, 41);
	assert_int_equal(bed.asked.instance[0], 1);
	assert_int_equal(bed.sessions[0].told, 0);
	detach(0, flow);
}

static void socket_that_comes_gives_the_flow_to_the_waiter(void **state)
{
	struct hub_flow *flow = attached(0, LAPTOP, 1);
	int target = answer();

	(void)state;
	assert_ptr_equal(bed.sessions[0].flow, flow);
	assert_int_equal(bed.sessions[0].told, 1);
	assert_int_equal(flow->state, FLOW_CARRIED);
	detach(0, flow);
	close(target);
}

static void socket_that_cannot_be_had_ends_the_wait(void **state)
{
	(void)state;
	attached(0, LAPTOP, 1);
	flow_table_on_socket(&bed.table, bed.asked.ticket, -EACCES, -1);
	assert_int_equal(bed.sessions[0].refused, 1);
	assert_true(has_room_for(LAPTOP, 1));
}

static void same_instance_asked_twice_goes_to_the_newer_session(void **state)
{
	struct hub_flow *flow = attached(0, LAPTOP, 1);

	(void)state;
	assert_ptr_equal(attached(1, LAPTOP, 1), flow);
	assert_int_equal(bed.questions, 1);
	assert_int_equal(bed.sessions[0].refused, 1);
	close(answer());
	assert_ptr_equal(bed.sessions[1].flow, flow);
	assert_int_equal(bed.sessions[0].told, 1);
	detach(1, flow);
}

static void socket_that_comes_after_everybody_has_gone_is_closed(void **state)
{
	struct hub_flow *flow = attached(0, LAPTOP, 1);
	char byte = 0;
	int target;

	(void)state;
	detach(0, flow);
	target = answer();
	assert_int_equal(send(target, &byte, 1, MSG_NOSIGNAL), -1); /* its other end is closed */
	assert_int_equal(bed.sessions[0].told, 0);
	assert_true(has_room_for(LAPTOP, 1));
	close(target);
}

static void answer_to_an_old_question_is_not_taken_for_a_new_one(void **state)
{
	struct hub_flow *flow = attached(0, LAPTOP, 1);
	uint64_t old = bed.asked.ticket;

	(void)state;
	detach(0, flow);
	flow = attached(1, LAPTOP, 1);
	flow_table_on_socket(&bed.table, old, -EACCES, -1);
	assert_int_equal(bed.sessions[1].told, 0);
	detach(1, flow);
}

/* --- carried --- */

static void same_instance_replaces_the_session_at_once(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	assert_ptr_equal(attached(1, LAPTOP, 1), flow);
	assert_int_equal(flow->state, FLOW_CARRIED);
	assert_int_equal(bed.questions, 1);
	assert_int_equal(bed.sessions[0].retired, 1);
	assert_int_equal(bed.sessions[1].told, 0); /* the return value said it */
	detach(0, flow);
	assert_int_equal(flow->state, FLOW_CARRIED);
	detach(1, flow);
	assert_int_equal(flow->state, FLOW_LONELY);
}

static void retired_session_that_outlives_the_newer_one_still_carries(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	attached(1, LAPTOP, 1);
	detach(1, flow);
	assert_int_equal(flow->state, FLOW_CARRIED);
	attached(2, LAPTOP, 1);
	assert_int_equal(bed.sessions[0].retired, 1); /* not told a second time */
	detach(0, flow);
	detach(2, flow);
	assert_int_equal(flow->state, FLOW_LONELY);
}

static void second_session_stands_beside_and_takes_the_place_of_the_first(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	assert_ptr_equal(attached_beside(1, 0, LAPTOP, 1), flow);
	assert_ptr_equal(flow->session, &bed.sessions[0]);
	assert_ptr_equal(flow->second, &bed.sessions[1]);
	assert_int_equal(bed.sessions[0].retired + bed.sessions[1].retired, 0);
	detach(0, flow);
	assert_int_equal(flow->state, FLOW_CARRIED);
	assert_ptr_equal(flow->session, &bed.sessions[1]);
	assert_null(flow->second);
	detach(1, flow);
	assert_int_equal(flow->state, FLOW_LONELY);
}

static void second_session_replaces_a_second_one_only(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	attached_beside(1, 0, LAPTOP, 1);
	attached_beside(2, 0, LAPTOP, 1);
	assert_ptr_equal(flow->second, &bed.sessions[2]);
	assert_int_equal(bed.sessions[0].retired, 0);
	assert_int_equal(bed.sessions[1].retired, 1);
	detach(1, flow);
	assert_ptr_equal(flow->second, &bed.sessions[2]);
	detach(2, flow);
	assert_ptr_equal(flow->session, &bed.sessions[0]);
	detach(0, flow);
}

/* The client has given the first one up, of which the hub knows nothing yet. */
static void session_beside_the_second_replaces_the_first(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	attached_beside(1, 0, LAPTOP, 1);
	attached_beside(2, 1, LAPTOP, 1);
	assert_ptr_equal(flow->session, &bed.sessions[1]);
	assert_ptr_equal(flow->second, &bed.sessions[2]);
	assert_int_equal(bed.sessions[0].retired, 1);
	assert_int_equal(bed.sessions[1].retired, 0);
	detach(0, flow);
	detach(1, flow);
	detach(2, flow);
	assert_int_equal(flow->state, FLOW_LONELY);
}

static void newer_session_replaces_the_second_one_too(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	attached_beside(1, 0, LAPTOP, 1);
	attached(2, LAPTOP, 1);
	assert_int_equal(bed.sessions[0].retired, 1);
	assert_int_equal(bed.sessions[1].retired, 1);
	assert_ptr_equal(flow->session, &bed.sessions[2]);
	assert_null(flow->second);
	assert_int_equal(bed.sessions[1].outlived, 1);
	detach(0, flow);
	detach(2, flow);
	assert_int_equal(flow->state, FLOW_LONELY);
}

static void session_beside_one_that_is_gone_stands_alone(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	attached_beside(1, 3, LAPTOP, 1);
	assert_ptr_equal(flow->session, &bed.sessions[1]);
	assert_null(flow->second);
	assert_int_equal(bed.sessions[0].retired, 1);
	detach(0, flow);
	detach(1, flow);
	attached_beside(2, 0, LAPTOP, 1);
	assert_ptr_equal(flow->session, &bed.sessions[2]);
	detach(2, flow);
}

static void one_retired_session_stays(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	attached(1, LAPTOP, 1);
	assert_int_equal(bed.sessions[0].outlived, 0);
	attached(2, LAPTOP, 1);
	assert_int_equal(bed.sessions[0].outlived, 1);
	assert_int_equal(bed.sessions[1].outlived, 0);
	assert_int_equal(flow->session_count, 2);
	detach(1, flow);
	attached(3, LAPTOP, 1);
	assert_int_equal(bed.sessions[2].outlived, 0);
	detach(2, flow);
	detach(3, flow);
	assert_int_equal(flow->state, FLOW_LONELY);
}

static void other_instance_and_other_client_stand_beside(void **state)
{
	struct hub_flow *one = carried(0, LAPTOP, 1), *two = carried(1, LAPTOP, 2), *three = carried(2, PHONE, 1);

	(void)state;
	assert_true(one != two && two != three && one != three);
	assert_int_equal(bed.sessions[0].retired + bed.sessions[1].retired, 0);
	detach(0, one);
	detach(1, two);
	detach(2, three);
}

static void stock_sessions_stand_beside_and_their_flows_end_with_them(void **state)
{
	struct hub_flow *one = carried(0, LAPTOP, 0), *two = carried(1, LAPTOP, 0);

	(void)state;
	assert_ptr_not_equal(one, two);
	detach(0, one);
	assert_int_equal(one->state, FLOW_CLOSING);
	detach(1, two);
}

static void datagrams_from_target_wake_the_carrier(void **state)
{
	struct hub_flow *flow = attached(0, LAPTOP, 1);
	struct carrier carrier;
	int target = answer();

	(void)state;
	flow->flow.carrier = &carrier;
	assert_int_equal(send(target, "x", 1, 0), 1);
	uv_run(&bed.loop, UV_RUN_NOWAIT);
	assert_int_equal(bed.sends, 1);
	assert_int_equal(flow->flow.counters.sent_datagrams, 1);
	flow->flow.carrier = NULL;
	detach(0, flow);
	close(target);
}

/* --- lonely --- */

static void lonely_flow_is_found_again_with_its_socket(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);
	int fd = flow->socket.fd;

	(void)state;
	detach(0, flow);
	assert_ptr_equal(attached(1, LAPTOP, 1), flow);
	assert_int_equal(flow->state, FLOW_CARRIED);
	assert_int_equal(flow->socket.fd, fd);
	assert_int_equal(bed.questions, 1);
	detach(1, flow);
}

static void lonely_flow_expires(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	detach(0, flow);
	flow_table_tick(&bed.table, flow->lonely_since_us - 1); /* the tick's clock is a little older */
	flow_table_tick(&bed.table, flow->lonely_since_us + FLOW_LINGER_US);
	assert_int_equal(flow->state, FLOW_LONELY);
	flow_table_tick(&bed.table, flow->lonely_since_us + FLOW_LINGER_US + 1);
	assert_int_equal(flow->state, FLOW_CLOSING);
	assert_ptr_not_equal(attached(1, LAPTOP, 1), flow);
}

static void carried_flow_does_not_expire(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1);

	(void)state;
	flow_table_tick(&bed.table, clock_now_us() + 10 * (uint64_t)FLOW_LINGER_US);
	assert_int_equal(flow->state, FLOW_CARRIED);
	detach(0, flow);
}

static void revoked_client_loses_its_lonely_flows_only(void **state)
{
	struct hub_flow *lonely = carried(0, LAPTOP, 1), *busy = carried(1, LAPTOP, 2), *other = carried(2, PHONE, 1);

	(void)state;
	detach(0, lonely);
	detach(2, other);
	flow_table_end_lonely(&bed.table, LAPTOP);
	assert_int_equal(lonely->state, FLOW_CLOSING);
	assert_int_equal(busy->state, FLOW_CARRIED);
	assert_int_equal(other->state, FLOW_LONELY);
	detach(1, busy);
}

/* --- limits --- */

static void client_at_its_limit_is_refused_and_another_one_is_not(void **state)
{
	struct hub_flow *one = carried(0, LAPTOP, 1), *two = attached(1, LAPTOP, 2);

	(void)state;
	assert_false(has_room_for(LAPTOP, 2));
	assert_true(has_room_for(LAPTOP, 3));
	assert_true(has_room_for(PHONE, 1));
	detach(1, two);
	assert_true(has_room_for(LAPTOP, 2));
	detach(0, one);
}

static void client_at_its_limit_gives_up_the_flow_lonely_longest(void **state)
{
	struct hub_flow *older = carried(0, LAPTOP, 1), *newer = carried(1, LAPTOP, 2), *other = carried(2, PHONE, 1);

	(void)state;
	detach(2, other);
	detach(0, older);
	detach(1, newer);
	other->lonely_since_us = 1;
	older->lonely_since_us = 2;
	bed.settings.max_sessions_per_client = 2;
	detach(3, attached(3, LAPTOP, 3));
	assert_int_equal(older->state, FLOW_CLOSING);
	assert_int_equal(newer->state, FLOW_LONELY);
	assert_int_equal(other->state, FLOW_LONELY);
}

static void replacing_needs_no_free_place(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 1), *other;

	(void)state;
	bed.settings.max_sessions_per_client = 1;
	bed.settings.max_clients = 1;
	assert_ptr_equal(attached(1, LAPTOP, 1), flow);
	assert_int_equal(attach(2, PHONE, 1, &other), -ENOSPC);
	detach(0, flow);
	detach(1, flow);
	assert_int_equal(attach(2, PHONE, 1, &other), 0);
	detach(2, other);
}

static void counters_of_flows_that_ended_stay_in_the_sum(void **state)
{
	struct hub_flow *flow = carried(0, LAPTOP, 0);
	struct flow_counters total = {0};
	uint64_t sojourn_us = 0;
	uint32_t depth = 0;

	(void)state;
	flow->flow.counters.received_datagrams = 5;
	detach(0, flow);
	uv_run(&bed.loop, UV_RUN_DEFAULT);
	flow_table_sum(&bed.table, &total, &depth, &sojourn_us);
	assert_int_equal(total.received_datagrams, 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(new_flow_asks_for_its_socket_and_the_session_waits),
		TEST(socket_that_comes_gives_the_flow_to_the_waiter),
		TEST(socket_that_cannot_be_had_ends_the_wait),
		TEST(same_instance_asked_twice_goes_to_the_newer_session),
		TEST(socket_that_comes_after_everybody_has_gone_is_closed),
		TEST(answer_to_an_old_question_is_not_taken_for_a_new_one),
		TEST(same_instance_replaces_the_session_at_once),
		TEST(retired_session_that_outlives_the_newer_one_still_carries),
		TEST(second_session_stands_beside_and_takes_the_place_of_the_first),
		TEST(second_session_replaces_a_second_one_only),
		TEST(newer_session_replaces_the_second_one_too),
		TEST(session_beside_the_second_replaces_the_first),
		TEST(session_beside_one_that_is_gone_stands_alone),
		TEST(one_retired_session_stays),
		TEST(other_instance_and_other_client_stand_beside),
		TEST(stock_sessions_stand_beside_and_their_flows_end_with_them),
		TEST(datagrams_from_target_wake_the_carrier),
		TEST(lonely_flow_is_found_again_with_its_socket),
		TEST(lonely_flow_expires),
		TEST(carried_flow_does_not_expire),
		TEST(revoked_client_loses_its_lonely_flows_only),
		TEST(client_at_its_limit_is_refused_and_another_one_is_not),
		TEST(client_at_its_limit_gives_up_the_flow_lonely_longest),
		TEST(replacing_needs_no_free_place),
		TEST(counters_of_flows_that_ended_stay_in_the_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
