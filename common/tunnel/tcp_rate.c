/* TCP_INFO, TCP_CC_INFO, TCP_NOTSENT_LOWAT, SO_MAX_PACING_RATE (tcp(7), socket(7), linux/tcp.h, linux/inet_diag.h). */
#include "common/tunnel/tcp_rate.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define GAIN_UNIT 256u		      /* BBR's gains: 8 bits behind the point */
#define GAIN_STARTING (2 * GAIN_UNIT) /* more than this: the start phase (2.89, in later versions 2.77) */
#define FLOOD_SEGMENTS_MIN 16u	      /* fewer in flight are no flood, whatever the round trip says */
#define FLOOD_SLACK_US 5000u	      /* a round trip varies by itself: late timers, delayed acknowledgements */
#define LIMIT_MIN 65536u /* bytes/s: half a Mbit/s, so that an estimate from a few pings does not hold us back */

int tcp_rate_read(int fd, struct tcp_rate *ret)
{
	struct tcp_info info = {0};
	union tcp_cc_info control = {0};
	socklen_t len = sizeof(info), control_len = sizeof(control);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	*ret = (struct tcp_rate){
		.delivery_bytes_per_s = info.tcpi_delivery_rate,
		.is_app_limited = info.tcpi_delivery_rate_app_limited,
		.rtt_us = info.tcpi_rtt,
		.min_rtt_us = info.tcpi_min_rtt,
		.in_flight = info.tcpi_unacked,
	};
	/* Only BBR has an estimate of its own. Other congestion controls return nothing, or a structure of another
	 * length; then the rate is never limited. */
	if (getsockopt(fd, IPPROTO_TCP, TCP_CC_INFO, &control, &control_len) < 0 || control_len < sizeof(control.bbr))
		return 0;
	ret->is_starting = control.bbr.bbr_pacing_gain > GAIN_STARTING;
	ret->bandwidth_bytes_per_s = (uint64_t)control.bbr.bbr_bw_hi << 32 | control.bbr.bbr_bw_lo;
	return 0;
}

int tcp_rate_set_low_water(int fd, uint32_t bytes)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes)) < 0 ? -errno : 0;
}

/* 7/8 of BBR's bandwidth: a little less than the line carries, so that its queue drains. Only while all three signs
 * of a standing queue are there: start phase, many segments in flight, a round trip well above the smallest. */
uint32_t tcp_rate_limit(const struct tcp_rate *rate)
{
	uint64_t limit = rate->bandwidth_bytes_per_s - rate->bandwidth_bytes_per_s / 8;

	if (!rate->is_starting || rate->in_flight < FLOOD_SEGMENTS_MIN || rate->bandwidth_bytes_per_s == 0)
		return TCP_RATE_UNLIMITED;
	if (rate->rtt_us <= rate->min_rtt_us + rate->min_rtt_us / 4 + FLOOD_SLACK_US)
		return TCP_RATE_UNLIMITED;
	if (limit >= TCP_RATE_UNLIMITED)
		return TCP_RATE_UNLIMITED;
	return limit < LIMIT_MIN ? LIMIT_MIN : (uint32_t)limit;
}

int tcp_rate_set_limit(int fd, uint32_t bytes_per_s)
{
	return setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &bytes_per_s, sizeof(bytes_per_s)) < 0 ? -errno : 0;
}
