/* tunnel/tls_stream: how much a socket holds of what a slow line has not taken yet. A real TCP connection, in the clear. */
#include "common/tunnel/tls_stream.h"

#include "common/tunnel/tcp_rate.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
/* After those: */
#include <cmocka.h>

enum { PIECE = 1400, LOW_WATER = 3072, RATE = 20000 };

static void on_event(void *owner)
{
	(void)owner;
}

static const struct tls_stream_handlers handlers = {.on_open = on_event, .on_closed = on_event};

/* Return: the near end of a connection; *ret_far is the other one. */
static int connect_pair(int *ret_far)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), near = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(at);

	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(connect(near, (struct sockaddr *)&at, sizeof(at)), 0);
	*ret_far = accept(listener, NULL, NULL);
	assert_true(*ret_far >= 0);
	close(listener);
	return near;
}

static void low_water_holds_though_buffers_are_longer(void **state)
{
	static const uint8_t piece[PIECE];
	struct tls_buffers buffers = {0};
	struct tls_stream stream;
	struct err err = {""};
	int far, fd = connect_pair(&far), unsent = 0, pieces = 0;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(tls_stream_open(&stream, &loop, fd, NULL, true, &buffers, &handlers, NULL, &err), 0);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(tcp_rate_set_limit(fd, RATE), 0);
	assert_int_equal(tcp_rate_set_low_water(fd, LOW_WATER), 0);
	stream.low_water = LOW_WATER;
	while (!stream.is_blocked && pieces++ < 200) {
		assert_int_equal(tls_stream_write(&stream, piece, PIECE), 0);
		assert_in_range(tls_stream_flush(&stream), 0, 1);
	}
	assert_true(stream.is_blocked);
	assert_int_equal(ioctl(fd, SIOCOUTQNSD, &unsent), 0);
	assert_in_range(unsent, 1, 2 * LOW_WATER + PIECE);
	tls_stream_close(&stream);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	tls_buffers_done(&buffers);
	close(far);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(low_water_holds_though_buffers_are_longer)};

	return cmocka_run_group_tests_name("tls_stream", tests, NULL, NULL);
}
