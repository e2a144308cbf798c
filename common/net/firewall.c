#include "common/net/firewall.h"
