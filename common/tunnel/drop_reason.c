/* The names of the reasons for which datagrams are dropped. They are keys of the status answer and words of the log, so
 * scripts of users depend on them: a new reason gets a new name, and no name changes its meaning. */
#include "common/tunnel/drop_reason.h"

/* By enum value. A reason without a row is reported as "unknown". */
static const char *const reason_names[DROP_REASON_COUNT] = {
	[DROP_QUEUE_LATE] = "queue-late",
	[DROP_QUEUE_FULL] = "queue-full",
	[DROP_TOO_LARGE] = "too-large",
	[DROP_EMPTY] = "empty",
	[DROP_HANDSHAKE_REPLACED] = "handshake-replaced",
	[DROP_CARRIER_LOST] = "carrier-lost",
	[DROP_NO_LOCAL_PEER] = "no-local-peer",
	[DROP_FLOWS_FULL] = "flows-full",
	[DROP_UDP_REFUSED] = "udp-refused",
	[DROP_UDP_FULL] = "udp-full",
	[DROP_UDP_FAILED] = "udp-failed",
	[DROP_UDP_OVERFLOW] = "udp-overflow",
};

const char *drop_reason_name(enum drop_reason reason)
{
	return reason < DROP_REASON_COUNT && reason_names[reason] ? reason_names[reason] : "unknown";
}
