/* TCP_INFO, TCP_CC_INFO, TCP_NOTSENT_LOWAT, SO_MAX_PACING_RATE, TCP_CONGESTION (tcp(7), socket(7), linux/tcp.h,
 * linux/inet_diag.h). */
#include "common/tunnel/tcp_rate.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif

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
		.sent_bytes = info.tcpi_bytes_sent - info.tcpi_bytes_retrans,
		.delivered_bytes = info.tcpi_bytes_acked + (uint64_t)info.tcpi_sacked * info.tcpi_snd_mss,
		.segment_bytes = info.tcpi_snd_mss,
		.unsent_bytes = info.tcpi_notsent_bytes,
		.unacked_segments = info.tcpi_unacked,
		.retransmits = info.tcpi_total_retrans,
		.gaps = info.tcpi_rcv_ooopack,
	};
	/* Other congestion controls return nothing, or a structure of another length. */
	ret->is_bbr = getsockopt(fd, IPPROTO_TCP, TCP_CC_INFO, &control, &control_len) == 0 &&
		      control_len == sizeof(control.bbr);
	return 0;
}

int tcp_rate_set_low_water(int fd, uint32_t bytes)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes)) < 0 ? -errno : 0;
}

int tcp_rate_set_limit(int fd, uint32_t bytes_per_s)
{
	return setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &bytes_per_s, sizeof(bytes_per_s)) < 0 ? -errno : 0;
}

int tcp_rate_retry_soon(int fd)
{
	const int longest_ms = 1000; /* the least that the kernel takes */

	return setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, &longest_ms, sizeof(longest_ms)) < 0 ? -errno : 0;
}

/* The kernel ignores a change to the congestion control that is there already, so another one comes between. */
int tcp_rate_restart_bbr(int fd)
{
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", sizeof("reno") - 1) < 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", sizeof("bbr") - 1) < 0)
		return -errno;
	return 0;
}
