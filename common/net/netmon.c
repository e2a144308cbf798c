#include "common/net/netmon.h"
