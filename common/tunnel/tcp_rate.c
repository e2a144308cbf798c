/* TCP_INFO and TCP_NOTSENT_LOWAT (tcp(7), linux/tcp.h). */
#include "common/tunnel/tcp_rate.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

int tcp_rate_read(int fd, struct tcp_rate *ret)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	*ret = (struct tcp_rate){
		.delivery_bytes_per_s = info.tcpi_delivery_rate,
		.is_app_limited = info.tcpi_delivery_rate_app_limited,
		.rtt_us = info.tcpi_rtt,
	};
	return 0;
}

int tcp_rate_set_low_water(int fd, uint32_t bytes)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes)) < 0 ? -errno : 0;
}
