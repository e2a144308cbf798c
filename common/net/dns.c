#include "common/net/dns.h"
