/* The names of the reasons for which datagrams are dropped. */
#include "common/tunnel/drop_reason.h"

const char *drop_reason_name(enum drop_reason reason)
{
	switch (reason) {
	case DROP_QUEUE_LATE:
		return "queue-late";
	case DROP_QUEUE_FULL:
		return "queue-full";
	case DROP_TOO_LARGE:
		return "too-large";
	case DROP_EMPTY:
		return "empty";
	case DROP_HANDSHAKE_REPLACED:
		return "handshake-replaced";
	case DROP_CARRIER_LOST:
		return "carrier-lost";
	case DROP_NO_LOCAL_PEER:
		return "no-local-peer";
	case DROP_FLOWS_FULL:
		return "flows-full";
	case DROP_UDP_REFUSED:
		return "udp-refused";
	case DROP_UDP_FULL:
		return "udp-full";
	case DROP_UDP_FAILED:
		return "udp-failed";
	case DROP_UDP_OVERFLOW:
		return "udp-overflow";
	case DROP_REASON_COUNT:
		break;
	}
	return "unknown";
}
