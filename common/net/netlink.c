#include "common/net/netlink.h"
