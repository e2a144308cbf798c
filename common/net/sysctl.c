#include "common/net/sysctl.h"
